"""SchedulerService: what clients ask; each handler decodes, calls and encodes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from master import access, convert, convert_explain, convert_views
from master.errors import MasterError, NotAllowedError, UnknownTaskError, UnknownWorkerIdError
from master.forecast import Prediction
from master.interceptors import Context, wire_code
from master.learning import Learning
from master.records import StoredTask, TaskState
from master.runner import Master
from master.store.base import KEPT_VERSIONS, TaskQuery
from master.task_logs import TaskLogs
from master.timeline import MOST
from rtscore import TASK_TYPES, TauStore
from rtscore.rpc import cluster_pb2, scheduler_pb2, scheduler_pb2_grpc


class SchedulerService(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Serves clients from one master."""

    def __init__(self, master: Master, tau: TauStore, logs: TaskLogs, learning: Learning | None) -> None:
        self._master = master
        self._tau = tau
        self._logs = logs
        self._learning = learning

    async def SubmitTask(self, request: scheduler_pb2.TaskSpec, context: Context) -> scheduler_pb2.TaskInfo:
        """Accept one task."""
        request.user_id = access.submitter(request.user_id)
        (outcome,) = await self._master.submit([convert.submission(request)])
        if isinstance(outcome, MasterError):
            raise outcome
        return convert.task_info(outcome, self._predict(outcome.spec.task_id))

    async def SubmitTasks(
        self, request: scheduler_pb2.SubmitTasksRequest, context: Context
    ) -> scheduler_pb2.SubmitTasksReply:
        """Accept many; one answer each."""
        denied = access.claim(request.tasks)
        submissions = convert.submissions(request)
        if denied:
            submissions = [given for number, given in enumerate(submissions) if number not in denied]
        outcomes = await self._master.submit(submissions)
        for number, error in denied.items():
            outcomes.insert(number, error)
        return convert.submit_reply(outcomes, wire_code, self._predict)

    async def GetTask(self, request: scheduler_pb2.TaskRef, context: Context) -> scheduler_pb2.TaskInfo:
        """One task as it is now."""
        return self._info(access.require_task(await self._master.task(request.task_id)))

    async def ListTasks(
        self, request: scheduler_pb2.ListTasksRequest, context: Context
    ) -> scheduler_pb2.ListTasksReply:
        """One page."""
        request.user_id = access.listed_user(request.user_id)
        query = convert.task_query(request)
        total = self._total(query)
        if request.order == scheduler_pb2.QUEUE_ORDER:
            after = convert.queue_position(request)
            queue = await self._master.waiting(query.limit, after, query.matches)
            return convert.task_page(
                ((place, self._info(task)) for place, task in queue.tasks), queue.last, total
            )
        page, last = await self._master.search(query)
        rows = (((task.spec.submitted_at, task.spec.task_id), self._info(task)) for task in page)
        return convert.task_page(rows, last, total)

    async def WatchTasks(
        self, request: scheduler_pb2.WatchTasksRequest, context: Context
    ) -> AsyncIterator[scheduler_pb2.TaskInfo]:
        """Changes from now on, after the present state of the tasks that are named."""
        task_ids = list(dict.fromkeys(request.task_ids))
        watcher = self._master.watchers.add(task_ids, access.listed_user(""))
        try:
            for task in await self._master.tasks(task_ids):
                watcher.begin(access.require_task(task))
            async for task in watcher:
                yield self._info(task)
        finally:
            self._master.watchers.remove(watcher, task_ids)

    async def CancelTask(self, request: scheduler_pb2.TaskRef, context: Context) -> scheduler_pb2.TaskInfo:
        """Ask for a task's end."""
        await self._require_own(request.task_id)
        return self._info(await self._master.cancel(request.task_id))

    async def StreamTaskLogs(  # type: ignore[override]
        self, request: cluster_pb2.TaskLogRequest, context: Context
    ) -> None:
        """What a task prints.

        A coroutine that writes, not a generator: when a reader that stands still hangs up, it ends at once.
        """
        request.user_id = access.listed_user(request.user_id)
        await self._require_own(request.task_id)
        await self._logs.stream(request, context.write)

    async def ListWorkers(
        self, request: scheduler_pb2.ListWorkersRequest, context: Context
    ) -> scheduler_pb2.ListWorkersReply:
        """A page of the workers, or all of them."""
        query = convert_views.worker_query(request)
        return convert_views.worker_page(*self._master.cluster.worker_page(query))

    async def DrainWorker(
        self, request: scheduler_pb2.DrainWorkerRequest, context: Context
    ) -> scheduler_pb2.WorkerState:
        """Place nothing new on a worker, or take that back."""
        await self._master.drain(request.worker_id, request.drain)
        worker = self._master.cluster.worker(request.worker_id)
        if worker is None:
            raise UnknownWorkerIdError(f"worker {request.worker_id!r} has left")
        return convert.worker_state(worker)

    async def Explain(self, request: scheduler_pb2.TaskRef, context: Context) -> scheduler_pb2.Explanation:
        """Why a task is where it is, or why it waits."""
        task = access.require_task(await self._master.task(request.task_id))
        answer = self._master.cluster.explain(task, self._master.clock())
        info = self._info(answer.task)
        # The attempt that was just seen is in the store then.
        await self._master.durable()
        attempts = await self._master.store.attempts(request.task_id)
        return convert_explain.explanation(info, answer, attempts, access.may_see)

    async def Plan(self, request: scheduler_pb2.TaskSpec, context: Context) -> scheduler_pb2.PlanReply:
        """Where a task would go, and whether it would make it."""
        request.user_id = access.submitter(request.user_id)
        # What was submitted before is placed then.
        await self._master.durable()
        plan = self._master.cluster.plan(convert.submission(request), self._master.clock())
        return convert_explain.plan_reply(plan, access.may_see)

    async def GetClusterStats(
        self, request: scheduler_pb2.ClusterStatsRequest, context: Context
    ) -> scheduler_pb2.ClusterStats:
        """Counts, decision latency and τ."""
        master, cluster = self._master, self._master.cluster
        now, tally = master.clock(), cluster.tally
        tau = {str(name): self._tau.get_tau(name) for name in TASK_TYPES}
        finished = sum(count for state, count in cluster.counts().items() if state.terminal)
        return convert_views.cluster_stats(
            master.scheduler.name,
            master.counts(),
            master.scheduler.latency(),
            tau,
            master.started_at,
            0 if self._learning is None else self._learning.versions.number,
            cluster.overview(now),
            cluster.queue_reasons(),
            convert_views.Counters(tally.accepted, finished, tally.met.total(), tally.missed.total()),
            now,
        )

    async def GetParams(
        self, request: scheduler_pb2.ParamsRef, context: Context
    ) -> scheduler_pb2.ParamsVersion:
        """One version's parameters."""
        return convert.params_version(await self._require_learning().versions.find(request.version))

    async def ListParamsVersions(
        self, request: scheduler_pb2.ListParamsVersionsRequest, context: Context
    ) -> scheduler_pb2.ListParamsVersionsReply:
        """The versions that are kept."""
        self._require_learning()
        records = await self._master.store.params_versions(request.limit or KEPT_VERSIONS)
        return scheduler_pb2.ListParamsVersionsReply(
            versions=[convert.params_version(record, listed=True) for record in records]
        )

    async def RollbackParams(
        self, request: scheduler_pb2.ParamsRef, context: Context
    ) -> scheduler_pb2.ParamsVersion:
        """Use an earlier version's parameters again."""
        return convert.params_version(await self._require_learning().roll_back(request.version))

    async def Train(self, request: scheduler_pb2.TrainRequest, context: Context) -> scheduler_pb2.TrainReply:
        """Run an epoch now."""
        epoch = await self._require_learning().epoch()
        return convert.train_reply(epoch.reply, epoch.version)

    async def GetLearning(
        self, request: scheduler_pb2.LearningRequest, context: Context
    ) -> scheduler_pb2.LearningState:
        """How learning goes."""
        return convert_views.learning_state(self._require_learning(), self._master.cluster.model)

    async def GetTimeline(
        self, request: scheduler_pb2.TimelineRequest, context: Context
    ) -> scheduler_pb2.Timeline:
        """Throughput, deadlines and waits over time."""
        span = convert_views.timeline_span(request, self._master.clock())
        found = await self._master.store.timeline(*span, MOST)
        return convert_views.timeline(found, by_type=request.by_type)

    def _total(self, query: TaskQuery) -> int | None:
        """How many tasks a listing has, where the master knows without counting."""
        if query.searches:
            return None
        if not query.user_id:
            counts = self._master.counts()
            return sum(counts[state] for state in query.states or counts)
        if query.states == {TaskState.QUEUED}:
            return self._master.cluster.queued_of(query.user_id)
        return None

    async def _require_own(self, task_id: str) -> None:
        if not access.CALLER.get().sees_all:
            access.require_task(await self._master.task(task_id))

    def _require_learning(self) -> Learning:
        if self._learning is None:
            raise NotAllowedError(
                f"the scheduler is {self._master.scheduler.name}, which has no parameters; rts has"
            )
        return self._learning

    def _info(self, task: StoredTask) -> scheduler_pb2.TaskInfo:
        reason = None
        if task.status.state is TaskState.QUEUED:
            # It may have gone on, and been forgotten, since it was read from the store.
            with contextlib.suppress(UnknownTaskError):
                reason = self._master.cluster.why_waiting(task.spec.task_id, self._master.clock())
        return convert.task_info(task, self._predict(task.spec.task_id), reason)

    def _predict(self, task_id: str) -> Prediction | None:
        return self._master.cluster.predict(task_id, self._master.clock())
