"""What tests of more than one package share: a container engine, made once when the first of them asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from container_engine import Registry, TestEngine

# Workers under test have the engine that a test gives them, not one of this machine.
os.environ.pop("DOCKER_HOST", None)


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
        pytest.skip(f"no container engine: {missing}")
