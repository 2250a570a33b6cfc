"""A short run of `make chaos`, every time with another seed: `RTS_CHAOS_SEED` repeats one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from chaos import run, table
from sqlite_under_test import SqliteUnderTest

SEED = int(os.environ.get("RTS_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
SECONDS = 12.0


@pytest.mark.slow
def test_after_random_faults_every_acknowledged_task_has_exactly_one_outcome(tmp_path: Path) -> None:
    print(f"RTS_CHAOS_SEED={SEED}")
    proof, measured = run(tmp_path, SqliteUnderTest(tmp_path), SECONDS, SEED)
    print(f"{table(measured)}\n{proof}")
    assert proof.broken == []
    assert proof.acknowledged
    assert measured
