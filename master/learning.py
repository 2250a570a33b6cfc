"""Learning as the master sees it: when an epoch runs, what becomes of it, when a set is sent back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import structlog

from master.config import MasterConfig
from master.epoch_log import EpochLog, RunningEpoch
from master.epochs import ComparisonRequest, EpochReply, EpochRequest, Totals
from master.errors import InvalidRequestError, NotAllowedError, StoppingError, StoreUnavailableError
from master.probation import NEEDED, Probation
from master.records import ParamsReason, ParamsVersion, TaskSpec, TaskStatus
from master.runner import Master
from master.training import Trainer, TrainerError
from master.versions import Versions
from rtscore.errors import ParamsError
from rtscore.params import params_from_dict, params_to_dict
from rtscore.runtime_model import RuntimeModel, RuntimeModelError

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 300.0
REST_EPOCHS = 10
"""Epochs after a rollback whose sets are not put to use, or what was sent back would be learned at once."""


class Epoch(msgspec.Struct, frozen=True):
    """An epoch's outcome, and the version that is in use after it."""

    reply: EpochReply
    version: ParamsVersion


class Learning:
    """Asks the trainer for epochs, puts accepted sets to use, and sends back those that break their promise.

    A set is put to use only when the last one has kept its promise, and not soon after one was sent back.
    The runtime model of every epoch is used, whatever becomes of its parameters.

    Parameters
    ----------
    master : Master
        Started before `start` is called.
    versions : Versions
        Not started.
    trainer : Trainer
    config : MasterConfig
    """

    def __init__(self, master: Master, versions: Versions, trainer: Trainer, config: MasterConfig) -> None:
        self._master = master
        self.versions = versions
        self._trainer = trainer
        self._config = config
        self._tasks: list[asyncio.Task[None]] = []
        self._new_outcomes = 0
        self._rest_until = 0.0
        self._broken = asyncio.Event()
        self.probation: Probation | None = None
        self.epochs = EpochLog()
        # When the next one begins if there are outcomes by then; 0: none is planned, or one runs.
        self.next_epoch_at = 0.0

    async def start(self) -> None:
        """Put the newest version to use, and begin to learn."""
        await self.versions.start()
        self._use_model(dict(self.versions.params.meta).get("model"))
        await self._resume_probation()
        self._master.on_outcome = self._outcome
        self._tasks = [
            asyncio.create_task(self.versions.watch(), name="parameter file"),
            asyncio.create_task(self._send_back(), name="probation"),
        ]
        if self._config.ga_epoch_interval_s > 0.0:
            self._tasks.append(asyncio.create_task(self._epochs(), name="epochs"))
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Learn no more, and end the trainer; calling it again does nothing."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.versions.stop()
        await self._trainer.stop()

    async def epoch(self) -> Epoch:
        """Run an epoch now because somebody asks for it: what it accepts is put to use in any case.

        Raises
        ------
        NotAllowedError
            When the trainer fails; the sentence says how.
        """
        try:
            reply = await self._ask(requested=True)
        except TrainerError as error:
            raise NotAllowedError(str(error)) from None
        if reply.verdict == "failed":
            raise NotAllowedError(f"the epoch failed: {reply.reason}")
        assert self.versions.current is not None
        return Epoch(reply, self.versions.current)

    async def roll_back(self, version: int) -> ParamsVersion:
        """Put an earlier version's set to use again, and leave it in use for a while.

        Raises
        ------
        InvalidRequestError, NotAllowedError
            As `Versions.restore`.
        """
        restored = await self.versions.restore(version, ParamsReason.ROLLBACK)
        self.probation = None
        self._rest()
        return restored

    @property
    def epoch_interval_s(self) -> float:
        """Seconds between two epochs; 0: none by themselves."""
        return self._config.ga_epoch_interval_s

    @property
    def new_outcomes(self) -> int:
        """Tasks that have had their outcome since the last epoch; without any there is no next one."""
        return self._new_outcomes

    # ---- epochs ----

    async def _epochs(self) -> None:
        interval_s, retry_s = self._config.ga_epoch_interval_s, RETRY_FIRST_S
        while True:
            self.next_epoch_at = self._master.clock() + interval_s
            await asyncio.sleep(interval_s)
            self.next_epoch_at = 0.0
            while self._new_outcomes:
                try:
                    await self._one_epoch()
                except TrainerError as error:
                    log.error("the trainer failed and will be started again", error=str(error), in_s=retry_s)
                    await asyncio.sleep(retry_s)
                    retry_s = min(2.0 * retry_s, RETRY_MAX_S)
                else:
                    retry_s = RETRY_FIRST_S
                    break

    async def _one_epoch(self) -> None:
        reply = await self._ask(requested=False)
        if reply.verdict == "failed":
            log.error("epoch failed", reason=reply.reason)

    async def _ask(self, *, requested: bool) -> EpochReply:
        """An epoch's outcome; its runtime model is in use, and its set unless something holds it back."""
        epochs, made = self.epochs, 0
        running = epochs.begin(self._master.clock(), self._config.ga_generations, requested=requested)
        verdict, reason, reply = "cancelled", "nobody waits for it", None
        try:
            reply = await self._outcome_of(running)
            kept = "" if requested else self.held_back()
            if reply.params is not None and not kept:
                made = await self._accept(reply)
            verdict, reason = reply.verdict, reply.reason
            if reply.params is not None and not made:
                verdict, reason = ("kept", kept) if kept else ("failed", "its parameters are not valid")
            if not made and verdict != "failed" and not requested:
                log.info("epoch", verdict=verdict, reason=reason)
            return reply
        except Exception as error:
            verdict, reason = "failed", str(error)
            epochs.trainer_failures += isinstance(error, TrainerError)
            raise
        finally:
            now = self._master.clock()
            epochs.end(running, now, verdict, reason, reply=reply, params_version=made)

    async def _outcome_of(self, running: RunningEpoch) -> EpochReply:
        outcomes, now, config = self._new_outcomes, self._master.clock(), self._config
        request = EpochRequest(
            store=config.store,
            since=now - config.train_window_s,
            until=now,
            workers=self._totals(),
            params=params_to_dict(self.versions.params),
            seed=int(now),
            population_size=config.ga_population_size,
            generations=config.ga_generations,
            mutation_rate=config.ga_mutation_rate,
            crossover_rate=config.ga_crossover_rate,
        )
        reply = await self._trainer.epoch(request, running.course.append)
        self._new_outcomes -= outcomes
        self._use_model(reply.model)
        return reply

    def _totals(self) -> dict[str, Totals]:
        return {
            worker.worker_id: (worker.cpu, worker.memory, worker.gpu, worker.storage)
            for worker in self._master.cluster.workers()
        }

    def held_back(self) -> str:
        """Why a new set would not be put to use now; empty when it would."""
        if self.probation is not None:
            return f"version {self.versions.number} is on probation, {self.probation.seen} of {NEEDED} tasks"
        if self._master.clock() < self._rest_until:
            return f"version {self.versions.number} was restored and stays for a while"
        return ""

    async def _accept(self, reply: EpochReply) -> int:
        """The version that is in use now; 0 when what was learned cannot be used."""
        try:
            params = params_from_dict(reply.params)
        except ParamsError as error:
            log.error("the trainer's parameters are not valid; those in use stay", error=str(error))
            return 0
        evidence = {**reply.evidence, "verdict": reply.verdict, "reason": reply.reason}
        version = await self.versions.use(params, ParamsReason.ACCEPTED, evidence)
        self._begin_probation(version)
        return version.version

    def _use_model(self, document: Any) -> None:
        if document is None:
            return
        try:
            self._master.cluster.model = RuntimeModel.from_document(document)
        except RuntimeModelError as error:
            log.error("a runtime model cannot be used; the last one stays", error=str(error))

    # ---- probation ----

    def _outcome(self, spec: TaskSpec, status: TaskStatus) -> None:
        self._new_outcomes += 1
        if self.probation is not None:
            self._judge(self.probation, spec.submitted_at, status.sla_success is True)

    def _judge(self, probation: Probation, submitted_at: float, met: bool) -> None:
        verdict = probation.add(submitted_at, met)
        if verdict == "kept its promise":
            log.info("parameters kept their promise", version=self.versions.number, evidence=str(probation))
            self.probation = None
        elif verdict == "broke its promise":
            self._broken.set()

    def _begin_probation(self, version: ParamsVersion) -> None:
        self.probation = None
        promised = json.loads(version.evidence).get("promised")
        if version.reason is ParamsReason.ACCEPTED and promised:
            self.probation = Probation(version.created_at, promised["sla"], promised["tasks"])

    async def _resume_probation(self) -> None:
        """Count what has finished since the newest version, as a master that was not restarted would have."""
        current = self.versions.current
        assert current is not None
        self._begin_probation(current)
        since, step_s = current.created_at, 1.0
        while self.probation is not None and not self._broken.is_set() and since < self._master.clock():
            columns = await self._master.store.history(since, since + step_s)
            for submitted_at, met in zip(columns["arrival"], columns["sla_success"], strict=True):
                if self.probation is not None and not self._broken.is_set():
                    self._judge(self.probation, submitted_at, met)
            since, step_s = since + step_s, 2.0 * step_s

    async def _send_back(self) -> None:
        while True:
            await self._broken.wait()
            probation, current = self.probation, self.versions.current
            if probation is not None and current is not None:
                try:
                    await self._judge_broken(probation, current)
                except StoreUnavailableError:
                    await asyncio.sleep(RETRY_FIRST_S)
                    continue
            self.probation = None
            self._broken.clear()

    async def _judge_broken(self, probation: Probation, current: ParamsVersion) -> None:
        """Send the version in use back, unless the one before would have done no better with these tasks."""
        evidence = {
            "reason": str(probation),
            "met": probation.met,
            "seen": probation.seen,
            "promised": probation.promised,
            "bar": probation.bar,
        }
        try:
            here, before = await self._replayed(probation, current)
        except (TrainerError, ParamsError, InvalidRequestError) as error:
            log.error("what the version before would have made of these tasks is not known", error=str(error))
        else:
            evidence |= {"replayed": here, "replayed_before": before}
            if before - here <= probation.bar:
                log.info("a promise was broken by the times, not by the parameters: they stay", **evidence)
                return
        if self.versions.current is not current:
            return
        log.warning("parameters broke their promise", version=current.version, **evidence)
        try:
            await self.versions.restore(current.replaced, ParamsReason.AUTO_ROLLBACK, evidence)
        except (InvalidRequestError, NotAllowedError) as error:
            log.error("the parameters stay", version=current.version, reason=str(error))
        self._rest()

    async def _replayed(self, probation: Probation, current: ParamsVersion) -> tuple[float, float]:
        """Shares of deadlines that the version in use and the one before it meet, the same tasks replayed."""
        replaced = await self.versions.find(current.replaced)
        request = ComparisonRequest(
            store=self._config.store,
            since=probation.since,
            until=self._master.clock(),
            workers=self._totals(),
            sets=[params_to_dict(self.versions.params), json.loads(replaced.params)],
        )
        here, before = (await self._trainer.compare(request)).sla
        return here, before

    def _rest(self) -> None:
        self._rest_until = self._master.clock() + REST_EPOCHS * self._config.ga_epoch_interval_s


def _report(task: asyncio.Task[None]) -> None:
    """Say so when a part of learning ended by an error: the master goes on without it."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, StoppingError):
        log.error("learning goes on without a part of it", part=task.get_name(), exc_info=error)
