"""The page of tasks: what waits, runs and has ended, searched and paged by the master, cancelled by hand."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from nicegui import ui
from starlette.requests import Request

from master.cli import output
from master.cli.complete import STATES
from master.cli.dashboard import words
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.frame import confirm, frame, heading
from master.cli.dashboard.pager import PAGE, Pager
from master.cli.dashboard.picture import Look, Topic
from master.cli.dashboard.tables import Column, fill, instant, link, table, task_href
from master.cli.tasks import sla_word
from rtscore import TASK_TYPES
from rtscore.client import TaskInfo, TaskPage

_COLUMNS = (
    Column("task", "Task", "link"),
    Column("state", "State", "chip"),
    Column("type", "Type", wide=True),
    Column("user", "User", wide=True),
    Column("worker", "Worker", "mono", wide=True),
    Column("submitted", "Submitted", "time", wide=True),
    Column("waited", "Waited", "number", wide=True),
    Column("runtime", "Runtime", "number", wide=True),
    Column("deadline", "Deadline", "time", wide=True),
    Column("sla", "SLA", "chip"),
    Column("act", "", "action"),
)
_UNFINISHED = ("queued", "assigned", "running")
_STATES = {"": "any state", "unfinished": "not finished", **{name: name for name in STATES}}
_TYPES = {"": "any type", **{str(name): str(name) for name in TASK_TYPES}}
_SLA = {"": "any", "met": "met", "missed": "missed"}
_FILTERS = ("text", "state", "type", "sla", "user", "worker")


def install(desk: Desk) -> None:
    """Serve the page."""

    @ui.page("/tasks", title="Tasks - rts")
    async def tasks_page(request: Request) -> None:
        with frame(desk, request, "/tasks"):
            asked = {name: request.query_params.get(name, "") for name in _FILTERS}
            view = _TasksView(desk, asked)
        await view.look.settled()


class _TasksView:
    def __init__(self, desk: Desk, asked: dict[str, str]) -> None:
        self._desk = desk
        self._asked = asked
        with ui.element("div").classes("title"):
            heading("Tasks", 1)
        with ui.element("section").classes("panel"):
            with ui.element("div").classes("filters").props('role="search"'):
                self._input("text", "Search id, user or command").classes("text")
                self._select("state", "State", _STATES)
                self._select("type", "Type", _TYPES)
                self._select("sla", "Deadline", _SLA)
                self._input("user", "User")
                self._input("worker", "Worker")
            act = None if desk.read_only else self._ask_cancel
            self._table = table(_COLUMNS, act)
            self._empty = ui.label("").classes("empty")
            self._empty.set_visibility(False)
            self._pager = Pager("tasks", self._turn)
        self.look = self._look()

    def _input(self, name: str, label: str) -> ui.input:
        made = ui.input(label, value=self._asked[name], on_change=lambda e: self._filter(name, e.value))
        return made.props("dense outlined clearable debounce=300 maxlength=200")

    def _select(self, name: str, label: str, options: dict[str, str]) -> ui.select:
        if self._asked[name] not in options:
            self._asked[name] = ""
        made = ui.select(
            options, label=label, value=self._asked[name], on_change=lambda e: self._filter(name, e.value)
        )
        return made.props("dense outlined options-dense")

    def _filter(self, name: str, value: Any) -> None:
        self._asked[name] = str(value or "").strip()
        self._pager.reset()
        said = urlencode({name: value for name, value in self._asked.items() if value})
        ui.navigate.history.replace(f"/tasks?{said}" if said else "/tasks")
        self._turn()

    def _turn(self) -> None:
        self.look.close()
        self.look = self._look()

    def _look(self) -> Look:
        asked, token = dict(self._asked), self._pager.token
        state = asked["state"]
        states = _UNFINISHED if state == "unfinished" else (state,) if state else ()

        async def ask() -> TaskPage:
            return await self._desk.client.task_page(
                states=states,
                user_id=asked["user"],
                worker_id=asked["worker"],
                task_type=asked["type"],
                text=asked["text"],
                sla=asked["sla"],
                order="queue" if state == "queued" else "newest",
                page_size=PAGE,
                page_token=token,
            )

        return self._desk.look(("tasks", token, *asked.values()), ask, self._show)

    def _show(self, topic: Topic[TaskPage]) -> None:
        found = topic.value
        if topic.refused or found is None:
            self._empty.text = topic.refused
            self._empty.set_visibility(bool(topic.refused))
            self._table.set_visibility(not topic.refused)
            return
        fill(self._table, [_row(task, self._desk.read_only) for task in found.tasks])
        self._table.set_visibility(bool(found.tasks))
        self._empty.set_visibility(not found.tasks)
        if any(self._asked.values()):
            self._empty.text = (
                "No such tasks on this page; the search goes on with Next."
                if found.next_page_token
                else "No such tasks."
            )
        else:
            self._empty.text = (
                f"No tasks yet: submit one with `rts submit --master {self._desk.address} 'echo hello'`."
            )
        order = ", in the order in which they are placed" if self._asked["state"] == "queued" else ""
        self._pager.show(len(found.tasks), found.next_page_token, found.total, order)

    async def _ask_cancel(self, task_id: str) -> None:
        async def cancel() -> str:
            return f"{output.clean(task_id)} is {(await self._desk.cancel(task_id)).state}."

        await confirm(
            f"Cancel {output.clean(task_id)}?",
            "Its command is ended, and what it has done so far is lost.",
            "Cancel task",
            cancel,
        )


def _row(task: TaskInfo, read_only: bool) -> dict[str, Any]:
    now = time.time()
    begun = task.started_at or task.finished_at or now
    ran_s = task.runtime_s if task.finished_at else now - task.started_at
    return {
        "key": task.task_id,
        "task": link(output.clean(task.task_id), task_href(task.task_id)),
        "state": task.state,
        "type": task.task_type,
        "user": output.clean(task.user_id),
        "worker": output.clean(task.worker_id),
        "submitted": instant(words.ago(task.submitted_at), words.exact(task.submitted_at)),
        "waited": words.short(begun - task.submitted_at),
        "runtime": words.short(ran_s) if task.started_at and ran_s else "",
        "deadline": instant(words.ago(task.deadline), words.exact(task.deadline)),
        "sla": sla_word(task),
        "act": "Cancel" if not (read_only or task.finished) else "",
    }
