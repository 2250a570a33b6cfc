"""The page of learning: what is believed of workers, how the search goes, the versions and the way back."""

from __future__ import annotations

import math
import time
from typing import Any

from nicegui import ui
from starlette.requests import Request

from master.cli import output
from master.cli.dashboard import words
from master.cli.dashboard.charts import BLUE, GREY, Series, chart, draw, heat_map, over
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.frame import attempt, button, confirm, frame, heading, panel, tile
from master.cli.dashboard.picture import Topic
from master.cli.dashboard.tables import Column, fill, instant, table
from master.cli.params import came_by, judgement
from rtscore import TASK_TYPES
from rtscore.client import Generation, LearningState, ParamsVersion, PastEpoch
from rtscore.params import params_from_dict

_VERSIONS = (
    Column("version", "Version"),
    Column("since", "In use since", "time"),
    Column("by", "Came by", "chip"),
    Column("fitness", "Fitness", "number", wide=True),
    Column("promised", "SLA promised", "number", wide=True),
    Column("records", "Records", "number", wide=True),
    Column("act", "", "action"),
)
_EPOCHS = (
    Column("began", "Began", "time"),
    Column("verdict", "Verdict", "chip"),
    Column("took", "Took", "number", wide=True),
    Column("fitness", "Fitness", "number", wide=True),
    Column("records", "Records", "number", wide=True),
    Column("reason", "Reason", "long"),
)
_MOST_WORKERS = 24
"""Columns of the heat map; of more workers those with the highest and the lowest affinity are shown."""


def install(desk: Desk) -> None:
    """Serve the page."""

    @ui.page("/learning", title="Learning - rts")
    async def learning_page(request: Request) -> None:
        with frame(desk, request, "/learning"):
            view = _LearningView(desk)
            client = desk.client
            first = desk.look("params", client.params, view.show_params, 5.0)
            desk.look("versions", lambda: client.params_versions(50), view.show_versions, 5.0)
            desk.look("learning", client.learning, view.show_learning)
        await first.settled()


class _LearningView:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with ui.element("div").classes("title"):
            heading("Learning", 1)
            self._state = ui.label("").classes("quiet")
            ui.element("div").classes("grow")
            if not desk.read_only:
                button("Learn now", self._ask_train)
        with ui.element("div").classes("tiles"):
            self._tiles = {
                name: tile(name)
                for name in ("Version in use", "Next epoch", "Probation", "Risk weights", "Theta")
            }
        with ui.element("div").classes("cols two"):
            with panel("Search") as box:
                with box.head:
                    self._search = ui.label("").classes("quiet")
                self._course = chart("Best and mean fitness by generation")
                self._no_course = ui.label(
                    "No search yet: an epoch runs when its time has come and tasks have finished."
                ).classes("empty")
            with panel("Penalties", "by worker; a higher one is chosen less"):
                self._penalties = chart("Penalty of each worker")
                self._no_penalties = _nothing_learned()
        with panel("Affinity", "of task types for workers; blue is faster or more reliable there") as box:
            with box.head:
                self._which = ui.label("").classes("quiet")
            self._map = chart("Affinity of task types for workers", "300px")
            self._no_map = _nothing_learned()
        with panel("Versions", "newest first; the first one is in use"):
            self._versions = table(_VERSIONS, None if desk.read_only else self._ask_roll_back)
        with panel("Epochs", "since this master started"):
            self._epochs = table(_EPOCHS)
            self._no_epochs = ui.label("No epoch has ended since the master started.").classes("empty")

    def show_params(self, topic: Topic[ParamsVersion]) -> None:
        found = topic.value
        if found is None or found.params is None:
            return
        params = params_from_dict(found.params)
        self._tiles["Version in use"](str(found.version), f"since {words.ago(found.created_at)}")
        self._tiles["Risk weights"](
            f"{params.risk.alpha:.3g} / {params.risk.beta:.3g}", "lateness alpha / load beta"
        )
        theta = params.theta
        self._tiles["Theta"](
            f"{theta.theta1:.2g} / {theta.theta2:.2g} / {theta.theta3:.2g} / {theta.theta4:.2g}",
            "cpu / memory / gpu / load",
        )
        types = [str(name) for name in TASK_TYPES]
        workers = {worker for row in params.affinity.values() for worker in row}
        total = {
            worker: sum(params.affinity.get(name, {}).get(worker, 0.0) for name in types)
            for worker in workers
        }
        ranked = sorted(total, key=lambda worker: (-total[worker], worker))
        columns, which = _ends(ranked, "affinity")
        self._which.text = which
        for element, there in ((self._map, bool(columns)), (self._no_map, not columns)):
            element.set_visibility(there)
        if columns:
            values = [[params.affinity.get(name, {}).get(each, 0.0) for each in columns] for name in types]
            largest = max(abs(value) for row in values for value in row)
            bound = next((b for b in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0) if b >= largest), round(largest + 0.5))
            draw(self._map, heat_map([output.clean(each) for each in columns], types, values, bound))
        self._show_penalties(dict(params.penalty))

    def _show_penalties(self, penalty: dict[str, float]) -> None:
        ranked = sorted(penalty, key=lambda worker: (-penalty[worker], worker))[:_MOST_WORKERS]
        self._penalties.set_visibility(bool(ranked))
        self._no_penalties.set_visibility(not ranked)
        if ranked:
            values = [round(penalty[worker], 4) for worker in ranked]
            draw(
                self._penalties,
                over(
                    [output.clean(each) for each in ranked], [Series("penalty", BLUE, values, bars=True)], ""
                ),
            )

    def show_versions(self, topic: Topic[list[ParamsVersion]]) -> None:
        rows = []
        for place, each in enumerate(topic.value or ()):
            fitness, promised, records = judgement(each.evidence)
            rows.append(
                {
                    "key": str(each.version),
                    "version": str(each.version),
                    "since": instant(words.ago(each.created_at), words.exact(each.created_at)),
                    "by": came_by(each),
                    "fitness": fitness,
                    "promised": promised,
                    "records": records,
                    "act": "Roll back" if place and not self._desk.read_only else "",
                }
            )
        fill(self._versions, rows)

    def show_learning(self, topic: Topic[LearningState]) -> None:
        if (found := topic.value) is None:
            self._state.text = topic.refused
            return
        running = found.running
        if running is not None:
            at = running.course[-1].number if running.course else 0
            since = words.span(time.time() - running.started_at)
            self._state.text = f"An epoch has run for {since}: generation {at} of {running.generations}"
        else:
            self._state.text = found.held_back
        if found.next_epoch_at:
            self._tiles["Next epoch"](
                words.ago(found.next_epoch_at) if found.next_epoch_at > time.time() else "due",
                f"{words.count(found.new_outcomes)} new outcomes",
            )
        else:
            self._tiles["Next epoch"]("by hand", f"{words.count(found.new_outcomes)} new outcomes")
        if (probation := found.probation) is not None:
            self._tiles["Probation"](
                f"{probation.seen} of {probation.needed}",
                f"{output.share(probation.met, probation.seen)} met, "
                f"{output.share(probation.promised, 1.0)} promised",
            )
        else:
            self._tiles["Probation"]("none", "no new set is being judged")
        self._show_search(found)
        self._no_epochs.set_visibility(not found.past)
        self._epochs.set_visibility(bool(found.past))
        fill(self._epochs, [_epoch_row(number, each) for number, each in enumerate(found.past)])

    def _show_search(self, found: LearningState) -> None:
        course: tuple[Generation, ...] = ()
        self._search.text = ""
        if found.running is not None and found.running.course:
            course, self._search.text = found.running.course, "the epoch that runs"
        elif past := next((each for each in found.past if each.course), None):
            course, self._search.text = past.course, f"the last epoch, {words.ago(past.started_at)}"
        self._course.set_visibility(bool(course))
        self._no_course.set_visibility(not course)
        if course:
            draw(
                self._course,
                over(
                    [str(each.number) for each in course],
                    [
                        Series("best", BLUE, [_finite(each.best) for each in course]),
                        Series("mean", GREY, [_finite(each.mean) for each in course]),
                    ],
                    "fitness",
                    least=None,
                ),
            )

    async def _ask_roll_back(self, version: str) -> None:
        async def roll_back() -> str:
            made = await self._desk.roll_back(int(version))
            return f"Version {made.version} is in use, with the parameters of version {version}."

        await confirm(
            f"Roll back to version {version}?",
            "Its parameters become a new version that is used from the next placement on, and for ten epochs "
            "nothing that is learned takes their place.",
            "Roll back",
            roll_back,
        )

    async def _ask_train(self) -> None:
        async def train() -> str:
            outcome = await self._desk.train()
            return f"{outcome.verdict}: {outcome.reason}"

        ui.notify("An epoch begins.")
        await attempt(train)


def _nothing_learned() -> ui.label:
    return ui.label(
        "Nothing learned yet: these come with the first accepted epoch, from at least 100 finished tasks."
    ).classes("empty")


def _ends(ranked: list[str], what: str) -> tuple[list[str], str]:
    """At most _MOST_WORKERS of these, from both ends, and a sentence that says which they are."""
    if len(ranked) <= _MOST_WORKERS:
        return ranked, ""
    half = _MOST_WORKERS // 2
    return (
        [*ranked[:half], *ranked[-half:]],
        f"the {half} with the highest and the {half} with the lowest {what} of {words.count(len(ranked))}",
    )


def _finite(fitness: float) -> float | None:
    return round(fitness, 5) if math.isfinite(fitness) else None


def _epoch_row(number: int, epoch: PastEpoch) -> dict[str, Any]:
    fitness = "" if epoch.candidate_fitness is None else f"{epoch.candidate_fitness:.4f}"
    if epoch.candidate_fitness is not None and epoch.current_fitness is not None:
        fitness += f" ({epoch.candidate_fitness - epoch.current_fitness:+.4f})"
    return {
        "key": str(number),
        "began": instant(words.ago(epoch.started_at), words.exact(epoch.started_at)),
        "verdict": epoch.verdict,
        "took": output.duration(epoch.duration_s),
        "fitness": fitness,
        "records": f"{words.count(epoch.usable)} of {words.count(epoch.records)}",
        "reason": output.clean(epoch.reason),
    }
