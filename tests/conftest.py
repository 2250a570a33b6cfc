"""What tests of more than one package share: a MongoDB server, a container engine."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
import pytest
from mongo_server import MongoServer, NoServerError, start_server

if TYPE_CHECKING:
    from container_engine import Registry, TestEngine

# Workers under test have the engine that a test gives them, not one of this machine.
os.environ.pop("DOCKER_HOST", None)
# Run by a shell in the background, the tests and what they start would be deaf to the interrupts sent here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _start(directory: Path) -> MongoServer:
    try:
        return start_server(directory)
    except NoServerError as error:
        # Where the tests decide about a change, a missing server must not pass for success.
        if os.environ.get("RTS_TEST_MONGODB_REQUIRED"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a server without a database."""
    if uri := os.environ.get("RTS_TEST_MONGODB_URI"):
        yield uri
        return
    server = _start(tmp_path_factory.mktemp("mongo"))
    yield server.uri
    server.end()


@pytest.fixture
def mongo_uri(mongo_server: str) -> Iterator[str]:
    """The URI of an empty database, which is dropped afterwards."""
    name = f"rts_test_{uuid.uuid4().hex[:12]}"
    base, mark, options = mongo_server.partition("?")
    yield f"{base.rstrip('/')}/{name}{mark}{options}"
    with pymongo.MongoClient(mongo_server) as client:
        client.drop_database(name)


@pytest.fixture
def own_mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A server of the test's own, which it may suspend and kill."""
    server = _start(tmp_path_factory.mktemp("mongo"))
    yield server
    server.end()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry with one image."""
    from container_engine import Registry

    running = Registry()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[TestEngine]:
    """A container engine with the test images; the test is skipped where there is none."""
    from container_engine import NoEngineHereError, container_engine

    try:
        with container_engine(tmp_path_factory.mktemp("engine"), registry.address) as running:
            yield running
    except NoEngineHereError as missing:
        if os.environ.get("RTS_TEST_CONTAINER_REQUIRED"):
            raise
        pytest.skip(f"no container engine: {missing}")
