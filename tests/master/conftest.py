"""The stores that the contract is tested on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from master.store.base import Store
from master.store.mongo import MongoStore
from master.store.sqlite import SqliteStore


@pytest.fixture(params=["sqlite", "mongo"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Each call gives an unopened store of the same data."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "rts.db")
    uri = request.getfixturevalue("mongo_uri")
    return lambda: MongoStore(uri, lease_period_s=1.0)


@pytest.fixture
async def store(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    store = make_store()
    await store.open()
    yield store
    await store.close()
