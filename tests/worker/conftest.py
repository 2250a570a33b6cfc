"""A master to talk to, and agents that never outlive their test."""

from __future__ import annotations

import pytest
from worker_peer import AgentProcess, ScriptedMaster


@pytest.fixture
async def master():
    peer = ScriptedMaster()
    await peer.start()
    yield peer
    await peer.stop()


@pytest.fixture
def agent_process():
    """Starts agents as processes."""
    started = []

    def start(settings):
        started.append(AgentProcess(settings))
        return started[-1]

    yield start
    for agent in started:
        agent.kill()
