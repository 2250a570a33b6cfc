"""What `rts top` shows and what each key does; it knows lines and names of keys, and no terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from master.cli import output
from master.cli.tasks import task_fields
from master.cli.top.columns import TASK_COLUMNS, WORKER_COLUMNS
from master.cli.top.header import clock, header
from master.cli.top.pane import Pane
from master.cli.top.picture import FEW, MANY, Course, Picture, Rates, Wanted
from master.cli.top.text import Line, fit, one_line, wrap
from rtscore.client import ClientError, Explanation, RequestError, TaskInfo, WorkerInfo

if TYPE_CHECKING:
    from master.cli.top.poller import Poller

LEAST_WIDTH, LEAST_HEIGHT = 60, 15
# From here on the header may take more lines than it has to.
_TALL = 22

HELP = """\
w t Tab       workers, tasks, the other of them
up down j k   move; PgUp PgDn Home End move further
< > s         sort by the column to the left, the right; beyond the ends: as the master lists
r             reverse the order
/             filter by words in any column; Esc takes the filter away
Enter         all about the selected: why a task is there or waits, what a worker runs
d             drain the selected worker, or take that back
c             cancel the selected task
p             pause, and go on
? h           this help
q             back, or quit

CPU, MEM and GPU are promised/total, LOAD is what a placement counts with. WAIT is the time until
a task was placed, SLACK what is left until its deadline, CHANCE that of meeting it.

Tasks stand as the master lists them: those that run, the newest first, then those that wait, the
next to go first. Of each 100 are read, and 1,000 when you sort, filter or scroll; a filter also
finds further tasks by their id, user or command, whichever part of it is the longest word.

After a look that took long the next one comes later, so that the master is spared."""

# The orders of workers that the master knows, by heading.
_ORDERS = {"LOAD": "load", "RUN": "running", "DONE": "finished"}

_HINTS = {
    "workers": ("q quit", "? help", "t tasks", "Enter details", "d drain", "/ filter", "<> sort", "p pause"),
    "tasks": ("q quit", "? help", "w workers", "Enter details", "c cancel", "/ filter", "<> sort", "p pause"),
    "page": ("q back", "up down PgUp PgDn move"),
}


class View:
    """The state of the screen.

    Parameters
    ----------
    address : str
        The master's, as it is shown.

    Attributes
    ----------
    done : bool
        Whether the user wants to leave.
    """

    def __init__(self, address: str) -> None:
        self.done = False
        self._address = address
        self._poller: Poller | None = None
        self._course = Course()
        self._rates = Rates()
        self._picture: Picture | None = None
        self._late = False
        self._error = ""
        self._workers: Pane[WorkerInfo] = Pane(WORKER_COLUMNS, lambda _: "")
        self._tasks: Pane[TaskInfo] = Pane(TASK_COLUMNS, lambda t: t.command)
        self._shown = "workers"
        self._paused = False
        self._message = ""
        self._typing = False
        self._question: tuple[str, Callable[[], None]] | None = None
        # A page of text over the pane: its title, its lines, and the first one that is shown.
        self._page: tuple[str, list[str]] | None = None
        self._page_top = 0

    def attach(self, poller: Poller) -> None:
        """Ask this poller."""
        self._poller = poller

    def wanted(self) -> Wanted:
        """What the next picture should have."""
        tasks, workers = self._tasks, self._workers
        return Wanted(
            tasks=MANY if tasks.looked_into else FEW,
            workers=MANY if workers.looked_into else FEW,
            task_text=tasks.text,
            worker_text=workers.text,
            worker_order=_ORDERS.get(workers.order, "id"),
            descending=workers.reversed,
        )

    def take(self) -> bool:
        """Show what the poller has got; says whether anything changed."""
        assert self._poller is not None
        answered = self._poller.deliver()
        before = self._picture, self._late, self._error
        picture = self._poller.picture
        self._late = self._poller.late
        self._error = _trouble(self._poller.error)
        if picture is not None and picture is not self._picture and not self._paused:
            self._rates = self._course.add(picture.stats)
            self._picture = picture
            self._arrange()
        return answered or before != (self._picture, self._late, self._error)

    @property
    def _now(self) -> float:
        assert self._picture is not None
        return self._picture.now

    # ---- keys ----

    def key(self, name: str) -> None:
        """Carry out a key: a character, or the name of one that is none, as in `screen`."""
        if self._typing:
            self._type(name)
        elif self._question is not None:
            self._answer(name)
        elif self._page is not None:
            self._turn(name)
        else:
            self._message = ""
            self._command(name)

    @property
    def _pane(self) -> Pane[Any]:
        return self._workers if self._shown == "workers" else self._tasks

    def _command(self, name: str) -> None:
        pane = self._pane
        match name:
            case "q":
                self.done = True
            case "esc":
                pane.filter = ""
                self._arrange()
            case "w" | "t":
                self._show("workers" if name == "w" else "tasks")
            case "\t":
                self._show("tasks" if self._shown == "workers" else "workers")
            case "up" | "k":
                pane.move(-1)
            case "down" | "j":
                pane.move(1)
            case "pgup" | "pgdn":
                pane.page(-1 if name == "pgup" else 1)
            case "home" | "end":
                pane.move(len(pane.rows) * (-1 if name == "home" else 1))
            case "<" | ">" | "s" | "left" | "right":
                pane.sort_next(-1 if name in ("<", "left") else 1)
                self._arrange(hurry=True)
            case "r":
                pane.reversed = not pane.reversed
                self._arrange(hurry=True)
            case "/":
                self._typing = True
            case "p":
                self._paused = not self._paused
            case "?" | "h":
                self._open("help", HELP.splitlines())
            case "enter":
                self._details()
            case "d":
                self._drain()
            case "c":
                self._cancel()
            case _:
                self._message = f"{one_line(name)} does nothing here; ? lists the keys"

    def _show(self, pane: str) -> None:
        self._shown = pane

    def _type(self, name: str) -> None:
        pane = self._pane
        if name == "enter":
            self._typing = False
        elif name == "esc":
            self._typing = False
            pane.filter = ""
        elif name == "backspace":
            pane.filter = pane.filter[:-1]
        elif len(name) == 1 and name.isprintable():
            pane.filter += name
        self._arrange(hurry=True)

    def _answer(self, name: str) -> None:
        assert self._question is not None
        _, yes = self._question
        self._question = None
        if name in ("y", "Y"):
            yes()
        else:
            self._message = "Nothing was done."

    def _turn(self, name: str) -> None:
        assert self._page is not None
        match name:
            case "q" | "esc" | "enter" | "?":
                self._page = None
            case "up" | "k":
                self._page_top -= 1
            case "down" | "j":
                self._page_top += 1
            case "pgup":
                self._page_top -= LEAST_HEIGHT // 2
            case "pgdn" | " ":
                self._page_top += LEAST_HEIGHT // 2
            case "home":
                self._page_top = 0
            case "end":
                self._page_top = len(self._page[1])

    def _arrange(self, *, hurry: bool = False) -> None:
        if self._picture is not None:
            self._workers.take(self._picture.workers, self._now)
            self._tasks.take(self._picture.tasks, self._now)
        if hurry and self._poller is not None:
            self._poller.hurry()

    # ---- what a key asks of the master ----

    def _say(self, message: str) -> None:
        self._message = message
        if self._poller is not None:
            self._poller.hurry()

    def _drain(self) -> None:
        worker = self._workers.selected
        if self._shown != "workers" or worker is None:
            self._message = "d drains a worker: w shows the workers, the arrows select one."
            return
        worker_id, undo = worker.worker_id, worker.state == "draining"
        what = (
            f"Place tasks on {worker_id} again?" if undo else f"Drain {worker_id}? What runs there goes on."
        )

        def yes() -> None:
            assert self._poller is not None
            self._poller.ask(
                lambda client: client.drain(worker_id, drain=not undo),
                lambda found: self._say(f"{found.worker_id} is {found.state}."),
                self._say,
            )

        self._question = what, yes

    def _cancel(self) -> None:
        task = self._tasks.selected
        if self._shown != "tasks" or task is None:
            self._message = "c cancels a task: t shows the tasks, the arrows select one."
            return
        task_id = task.task_id

        def yes() -> None:
            assert self._poller is not None
            self._poller.ask(
                lambda client: client.cancel(task_id),
                lambda found: self._say(f"{found.task_id} {found.state}."),
                self._say,
            )

        self._question = f"Cancel {task_id}, which is {task.state}?", yes

    def _details(self) -> None:
        assert self._poller is not None
        if self._shown == "tasks" and (task := self._tasks.selected) is not None:
            task_id = task.task_id
            fill = self._open_later(f"task {task_id}")
            self._poller.ask(
                lambda client: client.explain(task_id),
                lambda found: fill(_task_page(found)),
                lambda no: fill([no]),
            )
        elif self._shown == "workers" and (worker := self._workers.selected) is not None:
            fill = self._open_later(f"worker {worker.worker_id}")
            self._poller.ask(
                lambda client: client.task_page(
                    ["running", "assigned"], worker_id=worker.worker_id, page_size=MANY
                ),
                lambda found: fill(_worker_page(worker, found.tasks)),
                lambda no: fill([no]),
            )

    def _open(self, title: str, lines: list[str]) -> None:
        self._page = title, lines
        self._page_top = 0

    def _open_later(self, title: str) -> Callable[[list[str]], None]:
        """Open a page; what this returns fills it, unless it has been left by then."""
        self._open(title, ["asking the master ..."])
        opened = self._page

        def fill(lines: list[str]) -> None:
            if self._page is opened:
                self._open(title, lines)

        return fill

    # ---- lines ----

    def draw(self, width: int, height: int) -> list[Line]:
        """The screen: at most `height` lines of at most `width` cells."""
        if width < LEAST_WIDTH or height < LEAST_HEIGHT:
            said = (
                f"rts top needs {LEAST_WIDTH}x{LEAST_HEIGHT} characters, here are {width}x{height}. q quits."
            )
            return [[(said[at : at + width], "")] for at in range(0, len(said), width)][:height]
        if self._picture is None:
            return [[("rts top", "bold")], [(f"asking the master at {one_line(self._address)} ...", "")]]
        lines = header(self._address, self._picture, self._rates, width, short=height < _TALL)
        stale = self._late and not self._paused
        lines.append(self._bar(width, stale))
        left = height - len(lines) - 1
        lines += self._page_lines(width, left) if self._page else self._pane.lines(width, left, self._now)
        if stale:
            lines = [
                [(text, "reverse" if style == "reverse" else "dim") for text, style in line] for line in lines
            ]
        lines += [[]] * (height - 1 - len(lines))
        lines.append(self._footer(width, stale))
        return lines

    def _bar(self, width: int, stale: bool) -> Line:
        assert self._picture is not None
        pane = self._pane
        if self._page is not None:
            parts = [one_line(self._page[0])]
        else:
            parts = [self._shown, f"{pane.cursor + 1 if pane.rows else 0} of {len(pane.rows)}"]
            tasks = self._shown == "tasks"
            if more := self._picture.more_tasks if tasks else self._picture.more_workers:
                parts.append(f"({more} more)")
            if pane.order or pane.reversed:
                parts.append(f"by {pane.order or 'default'}{', reversed' if pane.reversed else ''}")
            if pane.filter:
                parts.append(f"/{one_line(pane.filter)}")
        right = (
            f"{'STALE since ' if stale else 'PAUSED at ' if self._paused else ''}{clock(self._picture.at)}"
        )
        left = fit("  ".join(parts), width - len(right) - 1)
        return [(left + " " + right, "reverse")]

    def _page_lines(self, width: int, height: int) -> list[Line]:
        assert self._page is not None
        lines = [part for line in self._page[1] for part in _folded(one_line(line), width)]
        self._page_top = max(0, min(self._page_top, len(lines) - height))
        return [[(line, "")] for line in lines[self._page_top : self._page_top + height]]

    def _footer(self, width: int, stale: bool) -> Line:
        if self._typing:
            return [(fit(f"filter: {one_line(self._pane.filter)}_", width), "bold")]
        if self._question is not None:
            return [(fit(f"{one_line(self._question[0])} y/n", width), "warn")]
        if self._message:
            return [(fit(one_line(self._message), width), "bold")]
        if stale:
            return [(fit(one_line(self._error), width), "bad")]
        hints = _HINTS["page" if self._page is not None else self._shown]
        return [(span[0], "dim") for span in wrap([[(hint, "")] for hint in hints], width, 0)[0]]


def _trouble(error: ClientError | None) -> str:
    """Why the picture is not replaced."""
    does = "refuses" if isinstance(error, RequestError) else "is away"
    return f"The master {does}, trying again: {error or 'its answer takes long'}"


def _folded(line: str, width: int) -> list[str]:
    indent = 14 if line[12:14] == "  " else 0
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]


def _fields(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"{name:<12}  {value}" for name, value in pairs if value]


def _task_page(found: Explanation) -> list[str]:
    lines = [found.summary, "", *_fields(task_fields(found.task))]
    if found.rows:
        lines += ["", "the workers as they are now, best first:"]
    for row in found.rows:
        told = (
            f"risk {row.risk:.3f}, runtime {output.duration(row.predicted_runtime_s)}, "
            f"late {output.duration(row.lateness_s)}, load {row.load:.2f}"
            if row.feasible
            else row.lacks
        )
        lines.append(f"{row.worker_id:<12}  {told}")
    return lines


def _worker_page(worker: WorkerInfo, tasks: Sequence[TaskInfo]) -> list[str]:
    lines = _fields(
        [
            ("state", worker.state),
            ("load", f"{worker.load:.2f}"),
            ("cores", output.used(worker.total_cpu, worker.cpu_avail)),
            ("memory", f"{output.used(worker.total_memory, worker.memory_avail)} GiB"),
            ("gpu", output.used(worker.total_gpu, worker.gpu_avail)),
            ("storage", f"{output.used(worker.total_storage, worker.storage_avail)} GiB"),
            ("heard", output.instant(worker.last_heartbeat_at)),
            (
                "finished",
                f"{worker.tasks_finished}, {output.share(worker.sla_met, worker.tasks_finished)} in time",
            ),
            ("attempts", str(worker.live_attempts)),
        ]
    )
    if tasks:
        lines += ["", "its tasks:"]
    lines += [
        f"{task.task_id}  {task.state}  {task.task_type}  due {output.instant(task.deadline)}"
        for task in tasks
    ]
    return lines
