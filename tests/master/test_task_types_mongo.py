"""The migration of task types on MongoDB: the existing cluster's documents, and who may run it when."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from msgspec.structs import replace
from store_samples import spec, status

from master.events import InsertTask
from master.store.base import StoreOpenError
from master.store.mongo import MongoStore
from master.store.mongo_task_types import open_mongo_task_types
from master.store.task_types import migrate

OLD: dict[str, dict[str, Any]] = {
    "cpu": {"task_type": "cpu", "req_cpu": 1, "req_memory": 99.0},
    "gpu": {"task_type": "GPU", "req_gpu": 1.0},
    "dl": {"task_type": "dl"},
    "missing": {"req_cpu": 5.0, "req_memory": 1, "req_gpu": 0},
    "null": {"task_type": None, "req_memory": 9.5},
    "number": {"task_type": 3, "req_cpu": "many", "req_gpu": float("nan")},
    "other": {"task_type": "batch"},
    "valid": {"task_type": "mixed", "req_cpu": 9.0},
}
WANTED = {
    "cpu": "cpu-light",
    "gpu": "gpu-inference",
    "dl": "gpu-training",
    "missing": "cpu-heavy",
    "null": "memory-heavy",
    "number": "mixed",
    "other": "mixed",
    "valid": "mixed",
}


@pytest.fixture
def tasks(mongo_uri: str) -> Iterator[Any]:
    """The collection of an existing cluster: some ids are its own, some are made by MongoDB."""
    with pymongo.MongoClient(mongo_uri) as client:
        collection = client.get_default_database()["TASKS"]
        for number, (task_id, fields) in enumerate(OLD.items()):
            key = task_id if number % 2 else ObjectId()
            collection.insert_one({"_id": key, "task_id": task_id, "command": "true"} | fields)
        collection.insert_one({"note": "of no task"})
        yield collection


def types(tasks: Any) -> dict[str, Any]:
    return {d["task_id"]: d.get("task_type") for d in tasks.find() if "task_id" in d}


def test_documents_of_the_existing_cluster_get_their_types_and_keep_the_rest(
    mongo_uri: str, tasks: Any
) -> None:
    before = {d["task_id"]: d for d in tasks.find() if "task_id" in d}
    with open_mongo_task_types(mongo_uri, write=True) as store:
        assert store.count() == len(OLD)
        outcome = migrate(store, batch=3)
    assert types(tasks) == WANTED
    assert (outcome.tasks, outcome.changed) == (8, 7)
    for document in tasks.find({"task_id": {"$exists": True}}):
        task_id = document["task_id"]
        rest = {k: v for k, v in document.items() if k != "task_type"}
        assert repr(rest) == repr({k: v for k, v in before[task_id].items() if k != "task_type"})
    with open_mongo_task_types(mongo_uri, write=True) as store:
        assert migrate(store).changed == 0


def test_a_dry_run_writes_nothing_and_counts_the_same(mongo_uri: str, tasks: Any) -> None:
    before = types(tasks)
    with open_mongo_task_types(mongo_uri, write=False) as store:
        dry = migrate(store, dry_run=True)
    assert types(tasks) == before
    with open_mongo_task_types(mongo_uri, write=True) as store:
        assert migrate(store) == dry


def test_our_own_documents_keep_everything_but_the_type(mongo_uri: str) -> None:
    async def filled() -> Any:
        store = MongoStore(mongo_uri)
        await store.open()
        await store.commit([InsertTask(spec("t", task_type="mixed"), status())])
        found = await store.find_tasks(["t"])
        await store.close()
        return found["t"]

    async def read() -> Any:
        store = MongoStore(mongo_uri)
        await store.open()
        found = await store.find_tasks(["t"])
        await store.close()
        return found["t"]

    before = asyncio.run(filled())
    with pymongo.MongoClient(mongo_uri) as client:
        client.get_default_database()["TASKS"].update_one({}, {"$set": {"task_type": "dl"}})
    with open_mongo_task_types(mongo_uri, write=True) as store:
        assert migrate(store).changed == 1
    assert asyncio.run(read()) == replace(before, spec=replace(before.spec, task_type="gpu-training"))


def test_it_is_refused_while_a_master_has_the_store_and_a_dry_run_is_not(mongo_uri: str, tasks: Any) -> None:
    async def beside_a_master() -> None:
        store = MongoStore(mongo_uri, lease_period_s=0.5)
        await store.open()
        try:
            await asyncio.to_thread(refused)
        finally:
            await store.close()

    def refused() -> None:
        with pytest.raises(StoreOpenError, match="in use"), open_mongo_task_types(mongo_uri, write=True):
            pass
        with open_mongo_task_types(mongo_uri, write=False) as store:
            assert migrate(store, dry_run=True).changed == 7

    asyncio.run(beside_a_master())


def test_no_master_works_while_it_writes(mongo_uri: str) -> None:
    async def master() -> None:
        store = MongoStore(mongo_uri)
        try:
            await store.open()
        finally:
            await store.close()

    with open_mongo_task_types(mongo_uri, write=True), pytest.raises(StoreOpenError, match="in use"):
        asyncio.run(master())
    asyncio.run(master())


def test_a_server_that_does_not_answer_is_one_sentence() -> None:
    for write in (True, False):
        with pytest.raises(StoreOpenError), open_mongo_task_types("mongodb://127.0.0.1:9/x", write=write):
            pass


def test_the_command_takes_a_uri(mongo_uri: str, tasks: Any) -> None:
    command = [sys.executable, "-m", "master.cli.app", "migrate-task-types", "--json", "--store", mongo_uri]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["types"]["mixed"] == 3
    assert types(tasks) == WANTED


def test_an_interrupt_amid_the_wait_for_the_lease_ends_the_opening_and_what_it_has_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    async def wait(store: MongoStore) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("opening ended")

    async def close(store: MongoStore) -> None:
        said.append("closed")

    monkeypatch.setattr(MongoStore, "open", wait)
    monkeypatch.setattr(MongoStore, "close", close)
    with pytest.raises(KeyboardInterrupt), open_mongo_task_types("mongodb://127.0.0.1:1/rts", write=True):
        pass
    assert said == ["opening ended", "closed"]
