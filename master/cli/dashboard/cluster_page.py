"""The first page: the cluster in numbers, what it has left, and its workers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from nicegui import ui
from starlette.requests import Request

from master.cli import output
from master.cli.dashboard import words
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.frame import confirm, frame, heading, panel, tile
from master.cli.dashboard.pager import PAGE, Pager
from master.cli.dashboard.picture import Look, Topic
from master.cli.dashboard.tables import Column, bar, fill, instant, link, table
from rtscore.client import ClusterStats, WorkerInfo, WorkerPage

_COLUMNS = (
    Column("worker", "Worker", "link"),
    Column("state", "State", "chip"),
    Column("cpu", "Cores in use", "bar"),
    Column("memory", "Memory, GiB", "bar", wide=True),
    Column("gpu", "GPU", "bar", wide=True),
    Column("load", "Load", "number"),
    Column("running", "Running", "number", wide=True),
    Column("done", "Done", "number", wide=True),
    Column("sla", "SLA met", "number", wide=True),
    Column("heard", "Heard", "time", wide=True),
    Column("act", "", "action"),
)
_STATES = ("", "active", "draining", "stopping", "inactive", "lost")
_ORDERS = {
    "id": "id",
    "load": "load",
    "use": "use",
    "running": "tasks running",
    "finished": "tasks done",
    "missed": "deadlines missed",
}
_RESOURCES = (("cpu", "cores"), ("memory", "GiB memory"), ("gpu", "GPU"), ("storage", "GiB storage"))


def install(desk: Desk) -> None:
    """Serve the page."""

    @ui.page("/", title="Cluster - rts")
    async def cluster_page(request: Request) -> None:
        with frame(desk, request, "/"):
            heading("Cluster", 1).classes("plain")
            first = desk.look("stats", desk.client.stats, _Numbers().show)
            view = _Workers(desk)
        await first.settled()
        await view.look.settled()


class _Numbers:
    """Counters, resources, and why the queue waits."""

    def __init__(self) -> None:
        with ui.element("div").classes("tiles"):
            self._tiles = {
                name: tile(name)
                for name in (
                    "Workers",
                    "Queued",
                    "Running",
                    "Completed",
                    "Failed",
                    "Deadlines met",
                    "Decision",
                )
            }
        with ui.element("div").classes("cols two"):
            with panel("In use", "of what all workers have"), ui.element("div").classes("body resources"):
                self._resources = {name: _resource(unit) for name, unit in _RESOURCES}
            with panel("Why tasks wait"), ui.element("div").classes("body"):
                self._reasons = ui.element("div").classes("facts")
                self._none = ui.label("Nothing waits.").classes("quiet")
        self._shown: list[tuple[str, str]] = []

    def show(self, topic: Topic[ClusterStats]) -> None:
        if (found := topic.value) is None:
            return
        tell = self._tiles
        workers = sum(found.workers.values())
        others = ", ".join(
            f"{number} {state}"
            for state, number in sorted(found.workers.items())
            if state != "active" and number
        )
        tell["Workers"](
            words.count(found.workers.get("active", 0)), others or f"active of {words.count(workers)}"
        )
        tell["Queued"](
            words.count(found.queued), f"{words.count(found.queued_hopeless)} can no longer be in time"
        )
        tell["Running"](words.count(found.running), f"{words.count(found.assigned)} on their way")
        tell["Completed"](words.count(found.completed), f"{words.count(found.cancelled)} cancelled")
        tell["Failed"](words.count(found.failed), "ended with an error")
        judged = found.sla_met_since_start + found.sla_missed_since_start
        tell["Deadlines met"](
            f"{100 * found.sla_met_since_start / judged:.1f} %" if judged else "-",
            f"of {words.count(judged)} since the start {words.ago(found.started_at)}",
        )
        tell["Decision"](
            f"{found.decision_p50_us:.1f} µs", f"p99 {found.decision_p99_us:.1f} µs, {found.scheduler}"
        )
        for name, _ in _RESOURCES:
            total, free = getattr(found, f"total_{name}"), getattr(found, f"{name}_avail")
            self._resources[name](words.percent(total - free, total), output.used(total, free))
        reasons = why_tasks_wait(found)
        self._none.set_visibility(not reasons)
        if reasons != self._shown:
            self._shown = reasons
            self._reasons.clear()
            with self._reasons:
                for number, reason in reasons:
                    ui.label(number)
                    ui.label(reason)


def why_tasks_wait(found: ClusterStats) -> list[tuple[str, str]]:
    """How many tasks wait, and why, each as text; together they are all that wait."""
    reasons = [(words.count(number), output.clean(why)) for why, number in found.queue_reasons]
    # Only the largest groups of like tasks have told theirs.
    others = found.queued - sum(number for _, number in found.queue_reasons)
    if others > 0:
        reasons.append((words.count(others), "others; the page of each says why"))
    return reasons


def _resource(unit: str) -> Any:
    with ui.element("div"):
        with ui.element("div").classes("line"):
            ui.label(unit).classes("quiet")
            text = ui.label("-")
        with ui.element("span").classes("bar") as whole:
            part = ui.element("i")

    def show(percent: float, used: str) -> None:
        text.text = f"{used} ({percent:.0f} %)"
        part.style(f"width: {percent}%")
        whole.classes(replace="bar high" if percent > 90 else "bar")

    return show


class _Workers:
    """The table of workers, searched, sorted and paged by the master."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._text, self._state, self._order = "", "", "id"
        with panel("Workers"):
            with ui.element("div").classes("filters").props('role="search"'):
                ui.input("Search id", on_change=lambda e: self._turn(text=str(e.value or "").strip())).props(
                    "dense outlined clearable debounce=300 maxlength=200"
                ).classes("text")
                ui.select(
                    {name: name or "any state" for name in _STATES},
                    value="",
                    label="State",
                    on_change=lambda e: self._turn(state=str(e.value)),
                ).props("dense outlined options-dense")
                ui.select(
                    _ORDERS, value="id", label="Order", on_change=lambda e: self._turn(order=str(e.value))
                ).props("dense outlined options-dense")
            self._table = table(_COLUMNS, None if desk.read_only else self._ask_drain)
            self._empty = ui.label("").classes("empty")
            self._empty.set_visibility(False)
            self._pager = Pager("workers", self._look_anew)
        self._states: dict[str, str] = {}
        self.look = self._look()

    def _turn(self, text: str | None = None, state: str | None = None, order: str | None = None) -> None:
        self._text = self._text if text is None else text
        self._state = self._state if state is None else state
        self._order = self._order if order is None else order
        self._pager.reset()
        self._look_anew()

    def _look_anew(self) -> None:
        self.look.close()
        self.look = self._look()

    def _look(self) -> Look:
        text, state, order, token = self._text, self._state, self._order, self._pager.token

        async def ask() -> WorkerPage:
            return await self._desk.client.worker_page(
                (state,) if state else (),
                text=text,
                order=order,
                descending=order != "id",
                page_size=PAGE,
                page_token=token,
            )

        return self._desk.look(("workers", text, state, order, token), ask, self._show)

    def _show(self, topic: Topic[WorkerPage]) -> None:
        if (found := topic.value) is None or topic.refused:
            self._empty.text = topic.refused
            self._empty.set_visibility(bool(topic.refused))
            return
        self._states = {each.worker_id: each.state for each in found.workers}
        fill(self._table, [_row(each, self._desk.read_only) for each in found.workers])
        self._table.set_visibility(bool(found.workers))
        self._empty.set_visibility(not found.workers)
        self._empty.text = (
            "No such workers."
            if self._text or self._state
            else f"No workers yet: start one with `rts worker --master {self._desk.address}`."
        )
        self._pager.show(len(found.workers), found.next_page_token, found.total)

    async def _ask_drain(self, worker_id: str) -> None:
        drain = self._states.get(worker_id) != "draining"

        async def act() -> str:
            return f"{output.clean(worker_id)} is {(await self._desk.drain(worker_id, drain)).state}."

        if drain:
            await confirm(
                f"Drain {output.clean(worker_id)}?",
                "Nothing new is placed on it; what runs there goes on.",
                "Drain",
                act,
            )
        else:
            await confirm(
                f"Use {output.clean(worker_id)} again?", "Tasks are placed on it again.", "Use", act
            )


def _row(worker: WorkerInfo, read_only: bool) -> dict[str, Any]:
    action = {"active": "Drain", "inactive": "Drain", "draining": "Use"}.get(worker.state, "")
    return {
        "key": worker.worker_id,
        "worker": link(output.clean(worker.worker_id), f"/tasks?worker={quote(worker.worker_id, safe='')}"),
        "state": worker.state,
        "cpu": _used(worker.total_cpu, worker.cpu_avail),
        "memory": _used(worker.total_memory, worker.memory_avail),
        "gpu": _used(worker.total_gpu, worker.gpu_avail) if worker.total_gpu else None,
        "load": f"{worker.load:.2f}",
        "running": words.count(worker.live_attempts),
        "done": words.count(worker.tasks_finished),
        "sla": output.share(worker.sla_met, worker.tasks_finished),
        "heard": instant(words.ago(worker.last_heartbeat_at), words.exact(worker.last_heartbeat_at)),
        "act": "" if read_only else action,
    }


def _used(total: float, free: float) -> dict[str, Any]:
    return bar(words.percent(total - free, total), output.used(total, free))
