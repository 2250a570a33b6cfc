"""The page of trends: what came in and was done, deadlines met, and how long tasks waited."""

from __future__ import annotations

import time

from nicegui import ui
from starlette.requests import Request

from master.cli.dashboard import words
from master.cli.dashboard.charts import BLUE, GREEN, GREY, ORANGE, RED, Series, chart, draw, over
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.frame import frame, heading, panel
from master.cli.dashboard.picture import Look, Topic
from rtscore import TASK_TYPES
from rtscore.client import Timeline

_SPANS = {"15 min": 900.0, "1 h": 3600.0, "6 h": 21600.0, "24 h": 86400.0, "7 d": 604800.0}
_ALL = "all types"
_BUCKETS = 60


def install(desk: Desk) -> None:
    """Serve the page."""

    @ui.page("/trends", title="Trends - rts")
    async def trends_page(request: Request) -> None:
        with frame(desk, request, "/trends"):
            view = _TrendsView(desk)
        await view.look.settled()


class _TrendsView:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with ui.element("div").classes("title"):
            heading("Trends", 1)
            ui.element("div").classes("grow")
            self._span = ui.select(list(_SPANS), value="1 h", label="Window", on_change=self._turn)
            self._type = ui.select(
                [_ALL, *map(str, TASK_TYPES)], value=_ALL, label="Task type", on_change=self._turn
            )
            for each in (self._span, self._type):
                each.props("dense outlined options-dense").style("width: 150px")
        self._note = ui.label("").classes("quiet")
        with ui.element("div").classes("cols two"):
            with panel("Deadlines met", "of the tasks that ended"):
                self._sla = chart("Share of deadlines met over time")
            with panel("Wait", "from submission to start"):
                self._wait = chart("Mean and 95th percentile of the wait over time")
            with panel("Tasks", "submitted, and how they ended"):
                self._tasks = chart("Tasks submitted and ended over time")
            with panel("Lateness", "after the deadline; in time counts as 0"):
                self._late = chart("Mean lateness over time")
        self.look = self._look()

    def _look(self) -> Look:
        span_s = _SPANS[str(self._span.value)]
        client = self._desk.client

        async def ask() -> Timeline:
            # Whole buckets, so that a picture moves on by one bar at a time.
            size_s = span_s / _BUCKETS
            until = (time.time() // size_s + 1) * size_s
            return await client.timeline(until - span_s, until, buckets=_BUCKETS, by_type=True)

        return self._desk.look(("timeline", span_s), ask, self._show, max(2.0, span_s / 600))

    def _turn(self) -> None:
        self.look.close()
        self.look = self._look()

    def _show(self, topic: Topic[Timeline]) -> None:
        if (found := topic.value) is None or topic.refused:
            self._note.text = topic.refused
            return
        wanted = "" if self._type.value == _ALL else str(self._type.value)
        buckets = found.series.get(wanted, ())
        format = "%H:%M:%S" if found.bucket_s < 60 else "%H:%M" if found.bucket_s < 3600 else "%d %b %H:%M"
        names = [
            time.strftime(format, time.localtime(found.since + number * found.bucket_s))
            for number in range(len(buckets))
        ]
        ended = sum(each.finished for each in buckets)
        met = sum(each.met for each in buckets)
        submitted = sum(each.submitted for each in buckets)
        self._note.text = (
            f"{words.plural(submitted, 'task')} submitted, {words.count(ended)} ended, "
            + (f"{100 * met / ended:.1f} % of them by their deadline" if ended else "no deadlines judged yet")
            + f"; one point is {words.span(found.bucket_s)}."
            + (
                f" Counted since {words.exact(found.counted_since)}: earlier tasks are too many to count."
                if found.counted_since > found.since
                else ""
            )
        )
        judged = [bool(each.met + each.missed) for each in buckets]
        draw(
            self._sla,
            over(
                names,
                [
                    Series(
                        "deadlines met",
                        GREEN,
                        [
                            round(100 * b.met / (b.met + b.missed), 1) if j else None
                            for b, j in zip(buckets, judged, strict=True)
                        ],
                    )
                ],
                "%",
                most=100.0,
            ),
        )
        done = [bool(each.finished) for each in buckets]
        draw(
            self._wait,
            over(
                names,
                [
                    Series("95th percentile", ORANGE, _known(done, [b.wait_p95_s for b in buckets])),
                    Series("mean", BLUE, _known(done, [b.wait_mean_s for b in buckets])),
                ],
                "s",
            ),
        )
        draw(
            self._tasks,
            over(
                names,
                [
                    Series("in time", GREEN, [b.met for b in buckets], bars=True),
                    Series("late", ORANGE, [max(0, b.missed - b.failed) for b in buckets], bars=True),
                    Series("failed", RED, [b.failed for b in buckets], bars=True),
                    Series("submitted", GREY, [b.submitted for b in buckets]),
                ],
                "tasks",
            ),
        )
        draw(
            self._late,
            over(
                names,
                [Series("mean lateness", RED, _known(done, [b.lateness_mean_s for b in buckets]))],
                "s",
            ),
        )


def _known(known: list[bool], values: list[float]) -> list[float | None]:
    return [round(value, 3) if k else None for k, value in zip(known, values, strict=True)]
