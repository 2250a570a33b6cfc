"""What becomes of an epoch's outcome: versions, the file, probation, rollback, and a trainer that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import SessionWorker, config, serving, until

from master.config import MasterConfig
from master.epochs import ComparisonReply, ComparisonRequest, EpochProgress, EpochReply, EpochRequest
from master.errors import InvalidRequestError, NotAllowedError
from master.learning import Learning
from master.records import ParamsReason, Submission
from master.server import MasterServer
from master.training import TrainerError
from rtscore import GAParams, Risk, Theta, load_ga_params, save_ga_params
from rtscore.params import params_from_dict, params_to_dict
from rtscore.runtime_model import RuntimeModel, TypeRuntime

MODEL = RuntimeModel(
    (0.1, 0.1, 0.1, 0.1), {"mixed": TypeRuntime(2.0, 1.0, (0.0,) * 99, (0.0,) * 99, {"w1": 2.0}, 50)}
)


def params(alpha: float) -> GAParams:
    """A set that differs from others in one number."""
    return GAParams(theta=Theta(0.2, 0.2, 0.2, 0.2), risk=Risk(alpha, 1.0))


def accepted(alpha: float, *, sla: float = 0.9, tasks: int = 900) -> EpochReply:
    return EpochReply(
        verdict="accepted",
        reason="better",
        params=params_to_dict(params(alpha)),
        model=MODEL.to_document(),
        evidence={"promised": {"sla": sla, "tasks": tasks}},
    )


KEPT = EpochReply(verdict="kept", reason="no better", model=MODEL.to_document())


class Script:
    """Stands in for the trainer: answers as the test wants it."""

    def __init__(self, *answers: EpochReply | Exception | Callable[[EpochRequest], EpochReply]) -> None:
        self.answers = list(answers)
        self.requests: list[EpochRequest] = []
        self.comparison: ComparisonReply | TrainerError = ComparisonReply(sla=[0.5, 0.9])
        self.compared: list[ComparisonRequest] = []

    async def compare(self, request: ComparisonRequest) -> ComparisonReply:
        self.compared.append(request)
        if isinstance(self.comparison, TrainerError):
            raise self.comparison
        return self.comparison

    async def epoch(
        self, request: EpochRequest, progress: Callable[[EpochProgress], None] = lambda _: None
    ) -> EpochReply:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else KEPT
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, EpochReply) else answer(request)

    async def stop(self) -> None:
        return


class Server(MasterServer):
    """A master whose trainer is a script."""

    def __init__(self, settings: MasterConfig, *answers: Any) -> None:
        super().__init__(settings)
        assert self.learning is not None
        self.script = Script(*answers)
        self.learned: Learning = self.learning
        self.learned._trainer = self.script  # type: ignore[assignment]

    @property
    def used(self) -> GAParams:
        return self.learned.versions.params

    async def versions(self) -> list[tuple[int, int, str]]:
        records = await self.store.params_versions(99)
        return [(r.version, r.replaced, r.reason.value) for r in reversed(records)]

    async def finish(self, count: int, met: int | None = None, prefix: str = "t") -> None:
        """Let so many tasks run on a worker of their own, the first `met` of them in time."""
        met = count if met is None else met
        names = [f"{prefix}{number}" for number in range(count)]
        async with SessionWorker(self.address, f"worker of {prefix}", total_cpu=1e4) as worker:
            deadlines = [(1e4 if number < met else 1e-3) for number in range(count)]
            now = self.master.clock()
            await self.master.submit(
                [
                    Submission(name, command="true", cpu=1.0, task_type="mixed", deadline=now + deadline)
                    for name, deadline in zip(names, deadlines, strict=True)
                ]
            )
            await until(lambda: len(worker.assignments) == count)
            for task in worker.assignments:
                await worker.finished(task, runtime_s=0.002)
            await until(lambda: len(worker.recorded) == count)


def learning(tmp_path: Path, *answers: Any, **changes: Any) -> Server:
    return Server(config(tmp_path, **{"ga_epoch_interval_s": 0.05, **changes}), *answers)


async def test_a_new_store_begins_with_the_defaults_as_version_1(tmp_path: Path) -> None:
    async with learning(tmp_path) as server:
        assert await server.versions() == [(1, 0, "initial")]
        assert server.used == params_from_dict({"Meta": {"version": 1}})


async def test_without_new_outcomes_there_is_no_epoch(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.01) as server:
        await server.finish(1)
        await until(lambda: server.learned.versions.number == 2)
        asked = len(server.script.requests)
        await asyncio.sleep(0.1)
        assert len(server.script.requests) == asked


async def test_an_accepted_set_is_stored_used_and_published(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    async with learning(tmp_path, accepted(5.0), params=str(file)) as server:
        await server.finish(3)
        await until(lambda: server.learned.versions.number == 2)
        # It is used first and written then, over the file of the first version.
        await until(lambda: file.exists() and load_ga_params(file) == server.used)
        record = await server.store.params_version(2)
        assert record is not None
        assert (record.replaced, record.reason) == (1, ParamsReason.ACCEPTED)
        assert json.loads(record.evidence)["promised"]["sla"] == 0.9
        assert server.used.risk == Risk(5.0, 1.0)
        assert load_ga_params(file) == server.used == params_from_dict(json.loads(record.params))
        assert server.used.meta["version"] == 2
        assert server.master.cluster.model == MODEL
        (request,) = server.script.requests[:1]
        assert request.workers["worker of t"] == (1e4, 16.0, 0.0, 100.0)
        assert request.until - request.since == 86_400.0


async def test_an_epoch_that_keeps_still_gives_its_runtime_model(tmp_path: Path) -> None:
    async with learning(tmp_path, KEPT) as server:
        await server.finish(1)
        await until(lambda: server.master.cluster.model)
        assert await server.versions() == [(1, 0, "initial")]


async def test_parameters_that_are_not_valid_are_never_used_or_published(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    bad = accepted(5.0)
    assert bad.params is not None
    bad.params["Theta"]["Theta1"] = 3.0
    async with learning(tmp_path, bad, params=str(file)) as server:
        await server.finish(1)
        await until(lambda: server.script.requests)
        await server.learned.epoch()
        assert await server.versions() == [(1, 0, "initial")]
        assert load_ga_params(file) == server.used


async def test_a_runtime_model_that_is_none_leaves_the_last_one(tmp_path: Path) -> None:
    broken = EpochReply(verdict="kept", reason="", model={"theta": [9, 9, 9, 9], "types": {}})
    async with learning(tmp_path, KEPT, broken, ga_epoch_interval_s=0.0) as server:
        await server.learned.epoch()
        await server.learned.epoch()
        assert server.master.cluster.model == MODEL


async def test_a_restarted_master_uses_the_newest_version_and_its_model(tmp_path: Path) -> None:
    reply = accepted(5.0)
    assert reply.params is not None
    reply.params["Meta"]["model"] = reply.model
    async with learning(tmp_path, reply, ga_epoch_interval_s=0.0) as server:
        await server.learned.epoch()
        used = server.used
    async with learning(tmp_path) as server:
        assert server.used == used
        assert server.master.cluster.model == MODEL
        assert await server.versions() == [(1, 0, "initial"), (2, 1, "accepted")]


async def test_a_trainer_that_fails_is_asked_again_and_the_master_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.learning.RETRY_FIRST_S", 0.01)
    failed = EpochReply(verdict="failed", reason="no")
    async with learning(
        tmp_path, TrainerError("died"), TrainerError("died"), failed, accepted(5.0)
    ) as server:
        await server.finish(2)
        await until(lambda: len(server.script.requests) >= 3)
        await server.finish(2, prefix="more")
        await until(lambda: server.learned.versions.number == 2)
        epochs = server.learned.epochs
        await until(lambda: sum(epochs.durations.counts) == 4)
        assert epochs.trainer_failures == 2
        assert (epochs.verdicts["failed"], epochs.verdicts["accepted"]) == (3, 1)


# ---- rollback ----


async def test_a_set_that_breaks_its_promise_is_sent_back_with_the_reason(tmp_path: Path) -> None:
    async with learning(tmp_path, ga_epoch_interval_s=0.0) as server:
        server.script.answers = [accepted(5.0)]
        await server.learned.epoch()
        await server.finish(200, met=100)
        await until(lambda: server.learned.versions.number == 3)
        assert server.used.risk == Risk()
        assert await server.versions() == [(1, 0, "initial"), (2, 1, "accepted"), (3, 2, "auto-rollback")]
        record = await server.store.params_version(3)
        assert record is not None
        evidence = json.loads(record.evidence)
        assert (evidence["met"], evidence["seen"], evidence["restored"]) == (100, 200, 1)
        assert "promised 90.0%" in evidence["reason"]
        assert (evidence["replayed"], evidence["replayed_before"]) == (0.5, 0.9)
        (compared,) = server.script.compared
        assert [params_from_dict(each).risk for each in compared.sets] == [Risk(5.0, 1.0), Risk()]
        accepted_at = (await server.store.params_versions(2))[1].created_at
        assert compared.since == accepted_at
        assert server.learned.probation is None
        assert server.learned.versions.changes == {"initial": 1, "accepted": 1, "auto-rollback": 1}


async def test_a_promise_that_the_set_before_would_have_broken_too_sends_nothing_back(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.0) as server:
        # The error bar is 4.7 percentage points.
        server.script.comparison = ComparisonReply(sla=[0.5, 0.54])
        await server.learned.epoch()
        await server.finish(200, met=100)
        await until(lambda: server.script.compared and server.learned.probation is None)
        assert server.used.risk == Risk(5.0, 1.0)
        assert await server.versions() == [(1, 0, "initial"), (2, 1, "accepted")]


async def test_where_the_sets_cannot_be_compared_a_broken_promise_is_enough(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.0) as server:
        server.script.comparison = TrainerError("died")
        await server.learned.epoch()
        await server.finish(200, met=100)
        await until(lambda: server.learned.versions.number == 3)
        assert server.used.risk == Risk()


async def test_a_set_that_keeps_its_promise_stays(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.0) as server:
        await server.learned.epoch()
        assert server.learned.probation is not None
        await server.finish(200, met=190)
        await until(lambda: server.learned.probation is None)
        assert server.used.risk == Risk(5.0, 1.0)


async def test_while_one_set_is_on_probation_no_other_is_put_to_use(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), accepted(6.0)) as server:
        await server.finish(1)
        await until(lambda: server.learned.versions.number == 2)
        await server.finish(1, prefix="u")
        await until(lambda: len(server.script.requests) == 2)
        assert server.used.risk == Risk(5.0, 1.0)
        await server.finish(199, prefix="v")
        server.script.answers = [accepted(7.0)]
        await server.finish(1, prefix="w")
        await until(lambda: server.used.risk == Risk(7.0, 1.0))


async def test_a_probation_goes_on_through_a_restart(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.0) as server:
        await server.finish(40, met=0, prefix="before")
        await server.learned.epoch()
        await server.finish(120, met=60)
    async with learning(tmp_path, ga_epoch_interval_s=0.0) as server:
        probation = server.learned.probation
        assert probation is not None
        assert (probation.seen, probation.met) == (120, 60)
        await server.finish(80, met=40, prefix="after")
        await until(lambda: server.learned.versions.number == 3)
        assert (await server.versions())[-1] == (3, 2, "auto-rollback")


async def test_a_verdict_that_was_due_when_the_master_died_is_made_at_the_start(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.0) as server:
        await server.learned.epoch()
        server.learned.probation = None
        await server.finish(210, met=100)
    async with learning(tmp_path, ga_epoch_interval_s=0.0) as server:
        await until(lambda: server.learned.versions.number == 3)
        assert server.used.risk == Risk()


async def test_rolling_back_by_hand_restores_an_earlier_set_as_a_new_version(tmp_path: Path) -> None:
    answers = [accepted(5.0), accepted(6.0)]
    async with learning(tmp_path, *answers, ga_epoch_interval_s=0.0) as server:
        await server.learned.epoch()
        await server.learned.epoch()
        record = await server.learned.roll_back(2)
        assert (record.version, record.replaced, record.reason) == (4, 3, ParamsReason.ROLLBACK)
        assert json.loads(record.evidence) == {"restored": 2}
        assert server.used.risk == Risk(5.0, 1.0)
        with pytest.raises(NotAllowedError, match="in use already"):
            await server.learned.roll_back(2)
        with pytest.raises(InvalidRequestError, match=r"9 is not kept; allowed are 1 to 4"):
            await server.learned.roll_back(9)
        assert server.used.risk == Risk(5.0, 1.0)


async def test_after_a_rollback_nothing_new_is_put_to_use_for_a_while(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), accepted(5.0), ga_epoch_interval_s=0.1) as server:
        now = server.master.clock()
        server.master.clock = lambda: now
        await server.finish(1)
        await until(lambda: server.learned.versions.number == 2)
        await server.learned.roll_back(1)
        await server.finish(1, prefix="u")
        await until(lambda: len(server.script.requests) == 2)
        assert server.learned.versions.number == 3
        now += 1.1
        server.script.answers = [accepted(5.0)]
        await server.finish(1, prefix="v")
        await until(lambda: server.learned.versions.number == 4)


async def test_a_change_whose_caller_hangs_up_is_made_whole(tmp_path: Path) -> None:
    async with learning(tmp_path, accepted(5.0), ga_epoch_interval_s=0.0) as server:
        epoch = asyncio.create_task(server.learned.epoch())
        while not server.learned.versions._changes:  # noqa: ASYNC110 (it lasts a millisecond)
            await asyncio.sleep(0)
        epoch.cancel()
        await until(lambda: server.learned.versions.number == 2)
        assert await server.versions() == [(1, 0, "initial"), (2, 1, "accepted")]
        assert (await server.learned.roll_back(1)).version == 3


# ---- the file ----


async def test_what_somebody_writes_into_the_file_becomes_a_version(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    async with learning(
        tmp_path, accepted(5.0), params=str(file), params_reload_interval_s=0.05, ga_epoch_interval_s=0.0
    ) as server:
        await server.learned.epoch()
        await until(file.exists)
        save_ga_params(params(7.0), file)
        await until(lambda: server.learned.versions.number == 3)
        assert server.used.risk == Risk(7.0, 1.0)
        assert (await server.versions())[-1] == (3, 2, "manual")
        file.write_text("{")
        await asyncio.sleep(0.15)
        assert server.learned.versions.number == 3


async def test_a_file_that_was_written_while_no_master_ran_becomes_the_newest_version(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    settings = {"params": str(file), "ga_epoch_interval_s": 0.0}
    save_ga_params(params(3.0), file)
    async with learning(tmp_path, accepted(5.0), **settings) as server:
        assert await server.versions() == [(1, 0, "initial")]
        assert server.used.risk == Risk(3.0, 1.0)
        await server.learned.epoch()
    save_ga_params(params(7.0), file)
    async with learning(tmp_path, **settings) as server:
        assert server.used.risk == Risk(7.0, 1.0)
        assert (await server.versions())[-1] == (3, 2, "manual")


async def test_a_file_with_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    settings = {"params": str(file), "ga_epoch_interval_s": 0.0}
    save_ga_params(params(3.0), file)
    async with learning(tmp_path, accepted(5.0), **settings) as server:
        await server.learned.epoch()
    save_ga_params(params(3.0), file)
    async with learning(tmp_path, **settings) as server:
        assert server.used.risk == Risk(5.0, 1.0)
        assert load_ga_params(file).risk == Risk(5.0, 1.0)
        assert len(await server.versions()) == 2


async def test_a_file_that_is_no_parameter_set_is_not_overwritten_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"Theta": {"Theta1": 9}}')
    async with learning(tmp_path, params=str(file)) as server:
        assert server.used.theta == Theta()
    assert file.read_text() == '{"Theta": {"Theta1": 9}}'


async def test_with_round_robin_nothing_is_learned(tmp_path: Path) -> None:
    async with serving(config(tmp_path, scheduler="round-robin")) as (server, _):
        assert server.learning is None
        assert await server.store.params_versions(9) == []
