"""A task's page: its course, why it is where it is, what it prints, and its end by hand."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from starlette.requests import Request

from master.cli import output
from master.cli.dashboard import words
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.frame import button, confirm, frame, heading, panel, set_chip
from master.cli.dashboard.log_view import LogView
from master.cli.dashboard.picture import Topic
from master.cli.dashboard.tables import Column, fill, table
from rtscore.client import Explanation, TaskInfo

_CANDIDATES = (
    Column("worker", "Worker", "mono"),
    Column("risk", "Risk", "number"),
    Column("runtime", "Runtime", "number", wide=True),
    Column("late", "Late", "number", wide=True),
    Column("load", "Load", "number"),
    Column("affinity", "Affinity", "number", wide=True),
    Column("penalty", "Penalty", "number", wide=True),
    Column("lacks", "Lacks", "long"),
)


def install(desk: Desk) -> None:
    """Serve the page."""

    @ui.page("/task", title="Task - rts")
    async def task_page(request: Request, id: str = "") -> None:
        with frame(desk, request, "/tasks"):
            look = desk.look(("explain", id), lambda: desk.client.explain(id), _TaskView(desk, id).show)
            await look.settled()


class _TaskView:
    """The page's elements, and how an explanation fills them."""

    def __init__(self, desk: Desk, task_id: str) -> None:
        self._desk = desk
        self._id = task_id
        with ui.element("div").classes("title"):
            heading(output.clean(task_id), 1).classes("mono")
            self._state = ui.label("").classes("chip")
            self._sla = ui.label("").classes("chip")
            ui.element("div").classes("grow")
            if not desk.read_only:
                self._cancel = button("Cancel task", self._ask_cancel, "danger")
                self._cancel.set_visibility(False)
        self._missing = ui.label("").classes("panel empty")
        self._missing.set_visibility(False)
        self._whole = ui.element("div").style("display: contents")
        with self._whole:
            self._steps = ui.element("div").classes("steps").props('aria-label="Course"')
            with ui.element("div").classes("cols wide-first"):
                with panel("Why"), ui.element("div").classes("body"):
                    self._why = ui.label("")
                    self._placed = ui.label("").classes("quiet").style("margin-top: 6px")
                with panel("Task"), ui.element("div").classes("body"):
                    self._facts = ui.element("div").classes("facts")
            with panel("Candidates", "the workers as they are now, best first"):
                self._rows = table(_CANDIDATES)
                self._more = ui.label("").classes("pager")
            with panel("Output") as head:
                with head:
                    ui.element("div").classes("grow")
                    follow = ui.switch("Follow", value=True).props("dense")
                log = LogView(desk, task_id)
                follow.on_value_change(lambda event: log.follow(event.value))
        self._shown: dict[str, Any] = {}

    def show(self, topic: Topic[Explanation]) -> None:
        if topic.value is None or topic.refused:
            self._missing.text = topic.refused or "No master has answered yet."
            self._missing.set_visibility(True)
            self._whole.set_visibility(topic.value is not None)
        if topic.value is None:
            return
        self._missing.set_visibility(bool(topic.refused))
        self._whole.set_visibility(True)
        found = topic.value
        task = found.task
        set_chip(self._state, task.state)
        set_chip(self._sla, {True: "met", False: "missed", None: ""}[task.sla_success])
        self._sla.set_visibility(task.sla_success is not None)
        if not self._desk.read_only:
            self._cancel.set_visibility(not task.finished)
        self._why.text = output.clean(found.summary)
        self._placed.text = _placed(found)
        self._redraw("steps", _steps(task), self._draw_steps)
        self._redraw("facts", _facts(task), self._draw_facts)
        fill(self._rows, _candidates(found))
        hidden = len(found.rows) - len(self._rows.rows)
        self._more.text = f"and {words.plural(hidden, 'more worker')}"
        self._more.set_visibility(hidden > 0)

    def _redraw(self, name: str, what: Any, draw: Any) -> None:
        if self._shown.get(name) != what:
            self._shown[name] = what
            draw(what)

    def _draw_steps(self, steps: list[tuple[str, str, str, str, str]]) -> None:
        self._steps.clear()
        with self._steps:
            for name, value, note, kind, hover in steps:
                with ui.element("div").classes(f"step {kind}") as step:
                    step._props["title"] = hover
                    ui.label(name).classes("name")
                    ui.label(value or "-").classes("value")
                    ui.label(note).classes("note")

    def _draw_facts(self, facts: list[tuple[str, str]]) -> None:
        self._facts.clear()
        with self._facts:
            for name, value in facts:
                ui.label(name)
                mono = "mono" if name in ("command", "image", "worker") else ""
                ui.label(value).classes(mono)

    async def _ask_cancel(self) -> None:
        async def cancel() -> str:
            return f"The task is {(await self._desk.cancel(self._id)).state}."

        await confirm(
            f"Cancel {output.clean(self._id)}?",
            "Its command is ended, and what it has done so far is lost.",
            "Cancel task",
            cancel,
        )


def _steps(task: TaskInfo) -> list[tuple[str, str, str, str, str]]:
    """Name, time, what it says, kind and exact time of each step of a task's course."""
    expected = task.predicted_start_at if not task.started_at else 0.0
    steps = [
        ("Submitted", task.submitted_at, "", "done"),
        ("Placed", task.assigned_at, _after(task.assigned_at, task.submitted_at), "done"),
        ("Started", task.started_at, _after(task.started_at, task.submitted_at), "done"),
        (
            {"failed": "Failed", "cancelled": "Cancelled"}.get(task.state, "Finished"),
            task.finished_at,
            f"ran {output.duration(task.runtime_s)}" if task.finished_at and task.started_at else "",
            "good" if task.state == "completed" else "bad",
        ),
    ]
    drawn = [
        (name, words.clock(at), note, kind if at else "", words.exact(at)) for name, at, note, kind in steps
    ]
    if expected:
        drawn[2] = ("Started", "", f"probably {words.clock(expected)}", "", words.exact(expected))
    if task.predicted_finish_at and not task.finished:
        at = task.predicted_finish_at
        drawn[3] = ("Finished", "", f"probably {words.clock(at)}", "", words.exact(at))
    if task.sla_success is not None and task.finished_at:
        late_s = task.finished_at - task.deadline
        note = f"{output.duration(abs(late_s))} {'late' if late_s > 0 else 'to spare'}"
        kind = "good" if task.sla_success else "bad"
    else:
        chance = task.deadline_chance
        note = "" if chance is None else f"{chance:.0%} chance to make it"
        kind = ""
    drawn.append(("Deadline", words.clock(task.deadline), note, kind, words.exact(task.deadline)))
    return drawn


def _after(at: float, since: float) -> str:
    return f"after {output.duration(max(0.0, at - since))}" if at else ""


def _facts(task: TaskInfo) -> list[tuple[str, str]]:
    amounts = (
        ("cores", task.cpu),
        ("GiB memory", task.memory),
        ("gpu", task.gpu),
        ("GiB storage", task.storage),
    )
    facts = [
        ("command", task.command),
        ("image", task.docker_image),
        ("user", task.user_id),
        ("type", f"{task.task_type}, expected to run {output.duration(task.tau)}"),
        (
            "request",
            ", ".join(f"{output.amount(value)} {name}" for name, value in amounts if value) or "nothing",
        ),
        ("time limit", output.duration(task.time_limit_s) if task.time_limit_s else ""),
        ("worker", task.worker_id),
        ("attempt", str(task.attempt) if task.attempt else ""),
        ("exit code", "" if task.exit_code is None else str(task.exit_code)),
        ("reason", task.reason),
    ]
    return [(name, output.clean(value)) for name, value in facts if value]


def _placed(found: Explanation) -> str:
    if (placed := found.placement) is None:
        return ""
    risk = "" if placed.risk is None else f" at risk {placed.risk:.3f}"
    return output.clean(
        f"Attempt {placed.attempt} was placed on {placed.worker_id} at {words.clock(placed.assigned_at)} by "
        f"{placed.source}{risk}, when its load was {placed.load_at_start:.2f} and it had "
        f"{output.amount(placed.cpu_avail)} cores, {output.amount(placed.memory_avail)} GiB and "
        f"{output.amount(placed.gpu_avail)} gpu free."
    )


def _candidates(found: Explanation, most: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "key": row.worker_id,
            "worker": output.clean(row.worker_id),
            "risk": f"{row.risk:.3f}" if row.feasible else "-",
            "runtime": output.duration(row.predicted_runtime_s) if row.feasible else "-",
            "late": output.duration(row.lateness_s) if row.feasible else "-",
            "load": f"{row.load:.2f}",
            "affinity": f"{row.affinity:+.2f}",
            "penalty": f"{row.penalty:.2f}",
            "lacks": row.lacks,
        }
        for row in found.rows[:most]
    ]
