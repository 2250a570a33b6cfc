"""A short run of `make chaos`, every time with another seed: `RTS_CHAOS_SEED` repeats one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from chaos import run, table
from fault_cluster import StoreUnderTest
from mongo_server import MongoServer
from mongo_under_test import MongoUnderTest
from sqlite_under_test import SqliteUnderTest

SEED = int(os.environ.get("RTS_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
SECONDS = 12.0


# With a standby a take-over alone lasts up to three seconds; one or two faults of each target.
STANDBY_SECONDS = 5.0


@pytest.mark.slow
def test_after_random_faults_every_acknowledged_task_has_exactly_one_outcome(tmp_path: Path) -> None:
    prove(tmp_path, SqliteUnderTest(tmp_path), SECONDS)


@pytest.mark.slow
def test_with_a_standby_too_every_acknowledged_task_has_exactly_one_outcome(
    tmp_path: Path, own_mongo: MongoServer
) -> None:
    prove(tmp_path, MongoUnderTest(own_mongo), STANDBY_SECONDS)


def prove(directory: Path, store: StoreUnderTest, seconds: float) -> None:
    print(f"RTS_CHAOS_SEED={SEED}")
    proof, measured = run(directory, store, seconds, SEED)
    print(f"{table(measured)}\n{proof}")
    assert proof.broken == []
    assert proof.acknowledged
    assert measured
