"""The trainer as a process, and its keeper: answers, deaths, nonsense, orphans."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from learned_samples import machines, recorded, totals, write_history
from peers import until

from master.epochs import ComparisonRequest, EpochRequest
from master.training import Trainer, TrainerError
from rtscore import TASK_TYPES, GAParams
from rtscore.params import params_from_dict, params_to_dict
from rtscore.runtime_model import RuntimeModel


def request(store: Path, **changes: Any) -> EpochRequest:
    fields: dict[str, Any] = {
        "store": str(store),
        "since": 0.0,
        "until": 1e12,
        "workers": totals(),
        "params": params_to_dict(GAParams.default()),
        "seed": 1,
        "population_size": 8,
        "generations": 2,
        "mutation_rate": 0.1,
        "crossover_rate": 0.7,
    }
    return EpochRequest(**{**fields, **changes})


def saying(text: str, then: str = "") -> list[str]:
    """A process that answers every line with this."""
    script = f"import sys, time\nfor line in sys.stdin:\n print({text!r}, flush=True)\n {then or 'pass'}"
    return [sys.executable, "-c", script]


@contextlib.asynccontextmanager
async def keeping(command: list[str] | None = None) -> AsyncIterator[Trainer]:
    trainer = Trainer() if command is None else Trainer(command)
    try:
        yield trainer
    finally:
        await trainer.stop()


async def test_the_trainer_learns_from_a_store_and_stays_for_the_next_epoch(tmp_path: Path) -> None:
    store = tmp_path / "rts.db"
    await write_history(store, recorded())
    async with keeping() as trainer:
        reply = await trainer.epoch(request(store))
        assert reply.verdict == "accepted", reply.reason
        first = trainer.pid
        assert first is not None
        assert psutil.Process(first).nice() >= 10
        params = params_from_dict(reply.params)
        assert params != GAParams.default()
        assert RuntimeModel.from_document(reply.model).types
        assert params.meta["model"] == reply.model
        assert reply.evidence["usable"] == len(recorded())
        assert reply.evidence["candidate"]["fitness"] > reply.evidence["current"]["fitness"]
        again = await trainer.epoch(request(store))
        assert (trainer.pid, again.params) == (first, reply.params)
        few = await trainer.epoch(request(store, until=float(recorded().actual_finish[20])))
        assert few.verdict == "not enough data"
        types = few.evidence["regression"]["types"].values()
        assert sum(found["used"] for found in types) == few.evidence["usable"] == 20


async def test_sets_are_compared_by_what_they_make_of_the_same_tasks(tmp_path: Path) -> None:
    store = tmp_path / "rts.db"
    await write_history(store, recorded())
    at = machines()
    worst = {
        name: dict(zip(at.worker_ids, (np.clip(3.0 * row - 3.0, -5.0, 5.0)).tolist(), strict=True))
        for name, row in zip(TASK_TYPES, at.slowdown_tw, strict=True)
    }
    sets = [params_to_dict(GAParams.default()), params_to_dict(GAParams(affinity=worst))]
    asked = ComparisonRequest(store=str(store), since=0.0, until=1e12, workers=totals(), sets=sets)
    async with keeping() as trainer:
        sensible, slow = (await trainer.compare(asked)).sla
        assert sensible > slow + 0.1
        with pytest.raises(TrainerError, match="none of the tasks"):
            await trainer.compare(msgspec.structs.replace(asked, since=1e11))
        with pytest.raises(TrainerError, match="theta1"):
            await trainer.compare(msgspec.structs.replace(asked, sets=[{"Theta": {"Theta1": 9.0}}]))
    async with keeping(saying('{"sla": [0.5]}')) as trainer:
        with pytest.raises(TrainerError, match="1 of 2 sets"):
            await trainer.compare(asked)


async def test_a_request_that_fails_is_answered_and_the_trainer_stays(tmp_path: Path) -> None:
    async with keeping() as trainer:
        reply = await trainer.epoch(request(tmp_path / "absent.db"))
        assert reply.verdict == "failed"
        assert "StoreOpenError" in reply.reason
        first = trainer.pid
        reply = await trainer.epoch(request(tmp_path / "absent.db", params={"Theta": {"Theta1": 9.0}}))
        assert reply.verdict == "failed"
        assert trainer.pid == first


async def test_a_trainer_that_is_killed_is_an_error_and_the_next_request_starts_another(
    tmp_path: Path,
) -> None:
    store = tmp_path / "rts.db"
    await write_history(store, recorded())
    async with keeping() as trainer:
        epoch = asyncio.create_task(trainer.epoch(request(store, generations=10_000, population_size=500)))
        pid = await until(lambda: trainer.pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TrainerError, match="ended with code -9"):
            await epoch
        assert (await trainer.epoch(request(store))).verdict == "accepted"
        assert trainer.pid != pid


@pytest.mark.parametrize("text", ["", "Traceback", "{}", '{"verdict": 5, "reason": ""}', "[1"])
async def test_what_is_no_reply_is_an_error_and_ends_the_trainer(tmp_path: Path, text: str) -> None:
    async with keeping(saying(text)) as trainer:
        with pytest.raises(TrainerError, match="no reply"):
            await trainer.epoch(request(tmp_path))
        assert trainer.pid is None


async def test_a_trainer_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.training.EPOCH_LIMIT_S", 0.2)
    async with keeping([sys.executable, "-c", "import time; time.sleep(60)"]) as trainer:
        epoch = asyncio.create_task(trainer.epoch(request(tmp_path)))
        pid = await until(lambda: trainer.pid)
        with pytest.raises(TrainerError, match="longer than"):
            await epoch
        assert not psutil.pid_exists(pid)


async def test_a_trainer_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    async with keeping([str(tmp_path / "absent")]) as trainer:
        with pytest.raises(TrainerError, match="cannot be started"):
            await trainer.epoch(request(tmp_path))


async def test_cancelling_an_epoch_ends_the_trainer(tmp_path: Path) -> None:
    store = tmp_path / "rts.db"
    await write_history(store, recorded())
    async with keeping() as trainer:
        epoch = asyncio.create_task(trainer.epoch(request(store, generations=10_000, population_size=500)))
        pid = await until(lambda: trainer.pid)
        epoch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await epoch
        assert not psutil.pid_exists(pid)


async def test_a_trainer_whose_master_is_gone_ends_at_once(tmp_path: Path) -> None:
    store = tmp_path / "rts.db"
    await write_history(store, recorded())
    async with keeping() as trainer:
        epoch = asyncio.create_task(trainer.epoch(request(store, generations=10_000, population_size=500)))
        process = psutil.Process(await until(lambda: trainer.pid))
        # Past the start: it learns.
        await until(lambda: process.cpu_times().user > 1.5, 60.0)
        assert trainer._process is not None
        assert trainer._process.stdin is not None
        trainer._process.stdin.close()
        with pytest.raises(TrainerError):
            await epoch
        assert not process.is_running()
