"""A task's page: its course, why it is where it is, what it prints, and its end by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui
from starlette.requests import Request

from master.cli import output
from master.cli.dashboard import words
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.frame import button, confirm, frame, heading, panel, set_chip
from master.cli.dashboard.log_view import LogView
from master.cli.dashboard.picture import Topic
from master.cli.dashboard.tables import Column, fill, table, task_href
from rtscore.client import Candidate, Decision, Explanation, ExplanationRow, TaskInfo, Waiting, WorkerLack

_TERMS = (
    Column("worker", "Worker", "mono"),
    Column("risk", "Risk", "number"),
    Column("runtime", "Runtime", "number"),
    Column("late", "Late", "number"),
    Column("load", "Load", "number"),
    Column("affinity", "Affinity", "number"),
    Column("penalty", "Penalty", "number"),
)
_CANDIDATES = (*_TERMS, Column("more", "Behind the first", "number"))
_NOW = (*_TERMS, Column("lacks", "Lacks", "long"))
_LACKS = (
    Column("worker", "Worker", "mono"),
    Column("cpu", "Cores short", "number"),
    Column("memory", "GiB memory short", "number"),
    Column("gpu", "GPU short", "number"),
    Column("storage", "GiB storage short", "number", wide=True),
    Column("why", "Takes none because", "long"),
)


_MOST = 20
"""Rows of a table of workers on this page."""


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
                    self._ahead = ui.element("div").classes("inline")
                with panel("Task"), ui.element("div").classes("body"):
                    self._facts = ui.element("div").classes("facts")
            with panel("Candidates", "at the moment of the decision, the chosen one first") as box:
                self._candidates_panel = box.whole
                self._candidates = table(_CANDIDATES)
                self._formula = ui.label("").classes("pager")
            with panel("What is short", "on each worker, the nearest to fitting first") as box:
                self._lacks_panel = box.whole
                self._lacks = table(_LACKS)
                self._more_lacks = ui.label("").classes("pager")
            with panel("Output") as box:
                with box.head:
                    ui.element("div").classes("grow")
                    follow = ui.switch("Follow", value=True).props("dense")
                printed = LogView(desk, task_id)
                follow.on_value_change(lambda event: printed.follow(event.value))
            with panel("Workers now", "how they would rank at this moment, best first") as box:
                self._now_panel = box.whole
                self._now = table(_NOW)
                self._more_now = ui.label("").classes("pager")
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
        self._redraw(
            "ahead", found.waiting and (found.waiting.ahead, found.waiting.ahead_ids), self._draw_ahead
        )
        self._show_candidates(found.decision)
        self._show_lacks(found.waiting)
        # Where a task that has ended would go now says nothing about it.
        now = not found.waiting and bool(found.rows) and not (found.decision and task.finished)
        self._now_panel.set_visibility(now)
        if now:
            _fill(self._now, [_now(row) for row in found.rows], self._more_now)

    def _show_candidates(self, decision: Decision | None) -> None:
        there = decision is not None and bool(decision.candidates)
        self._candidates_panel.set_visibility(there)
        if decision is None or not there:
            return
        least = decision.candidates[0].risk
        fill(
            self._candidates,
            [
                {**_terms(row), "more": f"{row.risk - least:+.3f}" if place else ""}
                for place, row in enumerate(decision.candidates)
            ],
        )
        version = f"version {decision.params_version}" if decision.params_version else "the defaults"
        formula = (
            f"{decision.alpha:.4g} \u00d7 lateness + {decision.beta:.4g} \u00d7 load - affinity + penalty"
        )
        left = output.duration(decision.slack_s)
        self._formula.text = (
            f"risk = {formula}, with the weights of {version}; {left} were left until the deadline"
        )

    def _show_lacks(self, waiting: Waiting | None) -> None:
        there = waiting is not None and bool(waiting.lacks)
        self._lacks_panel.set_visibility(there)
        if waiting is None or not there:
            return
        fill(self._lacks, [_lack(each) for each in waiting.lacks[:_MOST]])
        self._more_lacks.text = f"Of {words.plural(waiting.workers, 'worker')}: " + _counts(
            waiting.lacking, waiting.closed
        )

    def _draw_ahead(self, ahead: tuple[int, tuple[str, ...]] | None) -> None:
        self._ahead.clear()
        if not ahead:
            return
        number, ids = ahead
        with self._ahead:
            ui.label(f"{words.plural(number, 'task')} ahead of it{':' if ids else '.'}").classes("quiet")
            for each in ids:
                ui.link(output.clean(each), task_href(each)).classes("mono")
            if number > len(ids) > 0:
                ui.label(f"and {words.count(number - len(ids))} more").classes("quiet")

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
            f"ran {output.duration(task.runtime_s)}" if task.runtime_s else "",
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
        note = "" if chance is None else f"{100 * chance:.0f} % chance to make it"
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
        ("reason", task.reason if task.finished else ""),
    ]
    return [(name, output.clean(value)) for name, value in facts if value]


def _placed(found: Explanation) -> str:
    if (placed := found.placement) is None:
        return ""
    risk = "" if placed.risk is None else f" at risk {placed.risk:.3f}"
    sentences = [
        f"Attempt {placed.attempt} was placed on {placed.worker_id} at {words.clock(placed.assigned_at)} by "
        f"{placed.source}{risk}, when its load was {placed.load_at_start:.2f} and it had "
        f"{output.amount(placed.cpu_avail)} cores, {output.amount(placed.memory_avail)} GiB and "
        f"{output.amount(placed.gpu_avail)} gpu free."
    ]
    if (decision := found.decision) is not None:
        if decision.runner_up and decision.margin is not None:
            sentences.append(f"The runner-up, {decision.runner_up}, lost by {decision.margin:.3f}.")
        if decision.fitting is not None:
            of = f"{words.count(decision.fitting)} of {words.plural(decision.workers, 'worker')}"
            sentences.append(f"{of} could take it; {_counts(decision.lacking, decision.closed)}.")
        if decision.note:
            sentences.append(f"{decision.note[0].upper()}{decision.note[1:].rstrip('.')}.")
    return output.clean(" ".join(sentences))


def _counts(lacking: Mapping[str, int], closed: int) -> str:
    """How many workers lack what."""
    parts = [
        f"{words.count(number)} {'lacks' if number == 1 else 'lack'} {name}"
        for name, number in lacking.items()
        if number
    ]
    if closed:
        parts.append(f"{words.count(closed)} {'takes' if closed == 1 else 'take'} nothing now")
    return ", ".join(parts) or "none lacks anything"


def _terms(row: Candidate | ExplanationRow) -> dict[str, Any]:
    return {
        "key": row.worker_id,
        "worker": output.clean(row.worker_id),
        "risk": f"{row.risk:.3f}",
        "runtime": output.duration(row.predicted_runtime_s),
        "late": output.duration(row.lateness_s),
        "load": f"{row.load:.2f}",
        "affinity": f"{row.affinity:+.2f}",
        "penalty": f"{row.penalty:.2f}",
    }


def _now(row: ExplanationRow) -> dict[str, Any]:
    unknown = {} if row.feasible else dict.fromkeys(("risk", "runtime", "late"), "-")
    return {**_terms(row), **unknown, "lacks": row.lacks}


def _lack(each: WorkerLack) -> dict[str, Any]:
    return {
        "key": each.worker_id,
        "worker": output.clean(each.worker_id),
        **{
            name: output.amount(amount) if (amount := getattr(each, name)) else ""
            for name in ("cpu", "memory", "gpu", "storage")
        },
        "why": output.clean(each.why),
    }


def _fill(made: ui.table, rows: list[dict[str, Any]], more: ui.label) -> None:
    fill(made, rows[:_MOST])
    hidden = len(rows) - _MOST
    more.text = f"and {words.plural(hidden, 'more worker')}"
    more.set_visibility(hidden > 0)
