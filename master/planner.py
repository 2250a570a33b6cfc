"""MasterAgent: an outside planner reads the cluster and proposes placements, each is answered for itself."""

from __future__ import annotations

import asyncio

from master import convert_planner
from master.errors import MasterError
from master.events import Assign, Propose
from master.interceptors import Context
from master.runner import SLICE, Master
from rtscore.rpc import agent_pb2, agent_pb2_grpc

# More do not fit into the message.
TASKS_MAX = 50_000


class PlannerService(agent_pb2_grpc.MasterAgentServicer):
    """Serves planners, as many as there are."""

    def __init__(self, master: Master) -> None:
        self._master = master

    async def FetchClusterState(self, request: agent_pb2.Empty, context: Context) -> agent_pb2.ClusterState:
        """The workers and the tasks that wait."""
        state = self._master.cluster.planner_state(TASKS_MAX, self._master.clock())
        await self._master.durable()
        return convert_planner.cluster_state(state)

    async def SubmitAssignments(
        self, request: agent_pb2.TaskAssignments, context: Context
    ) -> agent_pb2.AgentAck:
        """Validate and carry out proposals, in order: each sees what those before it took."""
        proposals = convert_planner.proposals(request)
        self._master.require_placing()
        outcomes: list[int | MasterError] = []
        for number, proposal in enumerate(proposals):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            outcomes.append(self._attempt(proposal))
        await self._master.durable()
        return convert_planner.answer(proposals, outcomes)

    def _attempt(self, proposal: Propose) -> int | MasterError:
        try:
            effects = self._master.post(proposal)
        except MasterError as error:
            return error
        (assign,) = (effect for effect in effects if isinstance(effect, Assign))
        return assign.attempt
