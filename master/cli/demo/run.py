"""The demo's course: start, wait until ready, submit, watch, report, stop, and compare with the store."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from master.cli import output
from master.cli.changes import changes
from master.cli.demo import work, workload
from master.cli.demo.earlier import last_run, user_of
from master.cli.demo.processes import Processes, SignalWatch, free_port
from master.cli.demo.report import Learning, Report, make_report
from master.cli.demo.verify import differences
from master.cli.demo.view import Progress, View, finished

if TYPE_CHECKING:
    from rtscore.client import ClusterStats, MasterClient, ParamsVersion, TaskInfo, TaskSpec, WorkerInfo

DASHBOARD_PORT = 8600
READY_LIMIT_S = 30.0
COURSE_LIMIT_S = 600.0
TASK_LIMIT_S = 120.0
_STEP_S = 0.15


class NotReadyError(Exception):
    """The cluster did not come up in time."""


def run_demo(
    tasks: int,
    workers: int,
    seed: int,
    keep: Path | None,
    view: View,
    tell: Callable[[Report], None] | None = None,
) -> Report:
    """Run the whole demo and return its report; nothing that it started is left when this returns or raises.

    Parameters
    ----------
    tasks, workers : int
        How many.
    seed : int
        Of the workload: the same seed submits the same commands at the same moments.
    keep : Path or None
        Where to leave the store, the logs and the workers' directories; a store of earlier runs is gone on
        with, parameters and τ included. None: a temporary directory.
    view : View
        Shows the progress.
    tell : function of Report, optional
        With it a dashboard runs, too, and everything goes on after the report, which it is given as far as it
        goes then, until a signal comes; that is then no reason to raise.

    Raises
    ------
    StoppedBySignalError
        When SIGINT, SIGTERM or SIGHUP ended it.
    ChildFailedError, NotReadyError
        When the master or a worker did not start or did not stay.
    """
    signals = SignalWatch()
    with _directory(keep) as directory:
        fleet = workload.workers(workers)
        store = directory / "rts.db"
        earlier = last_run(store)
        run = 1 if earlier is None else earlier.number + 1
        with Processes(directory) as processes:
            output.say(f"Starting a master and {workers} workers.")
            begun = time.monotonic()
            address = f"127.0.0.1:{free_port()}"
            # Only the epoch at the end learns: one version places all the tasks of a run.
            processes.start(
                "master", "master", "--listen", address, "--store", str(store), GA_EPOCH_INTERVAL="0"
            )
            for worker in fleet:
                _start_worker(processes, worker, address, directory)
            if tell is not None:
                _start_dashboard(processes, address)
            course = _Course(processes, signals, address, fleet, begun, run)
            report, ended = course.run(workload.tasks(tasks, seed, run), view)
            if tell is not None:
                tell(report)
                output.say("The cluster and its dashboard go on; Ctrl-C ends them.")
                signals.wait(processes.check)
                processes.stop("dashboard", grace_s=5.0)
            processes.stop(*(worker.worker_id for worker in fleet), grace_s=10.0)
            if tell is None:
                signals.check()
            processes.stop("master", grace_s=10.0)
        return msgspec.structs.replace(
            report,
            run=run,
            earlier=earlier,
            # With a dashboard people have used the cluster since.
            problems=(*report.problems, *differences(store, report, ended, user_of(run), alone=tell is None)),
        )


def _start_worker(processes: Processes, worker: workload.DemoWorker, master: str, directory: Path) -> None:
    processes.start(
        worker.worker_id,
        *("worker", "--master", master, "--id", worker.worker_id),
        *("--cpu", str(worker.cpu), "--memory", str(worker.memory)),
        *("--gpu", str(worker.gpu), "--storage", str(worker.storage)),
        *("--work-dir", str(directory / worker.worker_id), "--drain-timeout", "0"),
        **{work.TIMES_VARIABLE: str(worker.times)},
    )


def _start_dashboard(processes: Processes, master: str) -> None:
    try:
        socket.create_server(("127.0.0.1", DASHBOARD_PORT)).close()
        port = DASHBOARD_PORT
    except OSError:
        port = free_port()
    listen = f"127.0.0.1:{port}"
    processes.start("dashboard", "dashboard", "--master", master, "--listen", listen)
    output.say(f"The dashboard is at http://{listen} in a few seconds.")


class _Course:
    """The time from the first process to the last outcome."""

    def __init__(
        self,
        processes: Processes,
        signals: SignalWatch,
        address: str,
        fleet: Sequence[workload.DemoWorker],
        begun: float,
        run: int,
    ) -> None:
        self._processes = processes
        self._signals = signals
        self._address = address
        self._fleet = fleet
        self._begun = begun
        self._user_id = user_of(run)

    def run(self, tasks: Sequence[workload.DemoTask], view: View) -> tuple[Report, list[TaskInfo]]:
        """Submit the tasks in time and wait for their outcomes; also returns them as the master tells."""
        # Imported here: the children start while this process still loads gRPC.
        from rtscore.client import ClientError

        try:
            return self._run(tasks, view)
        except ClientError:
            # That the master has died says more than that it does not answer.
            self._processes.check()
            raise

    def _run(self, tasks: Sequence[workload.DemoTask], view: View) -> tuple[Report, list[TaskInfo]]:
        from rtscore.client import MasterClient

        self._until_listening()
        with MasterClient(self._address, retry_for_s=1.0) as client, view:
            before = self._until_ready(client)
            used = client.params()
            ready_s = time.monotonic() - self._begun
            begun = time.monotonic()
            after = self._until_finished(client, tasks, view, finished(before))
            elapsed_s = time.monotonic() - begun
            # The counters are ahead of the store, which the listing reads; what a watch tells is durable.
            client.wait([task.task_id for task in tasks], timeout_s=READY_LIMIT_S)
            ended = list(client.tasks(user_id=self._user_id))
            problems = list(_task_problems(tasks, ended))
            problems += _counter_problems(client.workers(), ended)
        report = make_report(ended, self._fleet, before, after, elapsed_s=elapsed_s, ready_s=ready_s)
        learning = self._learn(used)
        return msgspec.structs.replace(report, learning=learning, problems=tuple(problems)), ended

    def _learn(self, used: ParamsVersion) -> Learning:
        """Have the master learn from the run, and say what that changed."""
        from concurrent.futures import ThreadPoolExecutor

        from rtscore.client import MasterClient
        from rtscore.params import params_from_dict

        output.say("Learning from it (the first time on a machine compiles for half a minute).")
        with MasterClient(self._address, retry_for_s=1.0) as client, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.train)
            try:
                while not asked.done():
                    self._pause()
            except BaseException:
                # Ends the call, so that leaving the pool does not wait for the epoch.
                client.close()
                raise
            epoch, after = asked.result(), client.params()
        return Learning(
            used.version,
            used.reason,
            epoch.verdict,
            epoch.reason,
            after.version,
            after.reason,
            tuple(changes(params_from_dict(used.params), params_from_dict(after.params))),
        )

    def _pause(self) -> None:
        self._signals.check()
        self._processes.check()
        time.sleep(_STEP_S)

    def _until_listening(self) -> None:
        # gRPC's own reconnects come at growing intervals, and this is part of the time until ready.
        host, _, port = self._address.rpartition(":")
        while time.monotonic() - self._begun < READY_LIMIT_S:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
                return
            self._pause()
        raise NotReadyError(f"the master did not listen after {READY_LIMIT_S:.0f} s")

    def _until_ready(self, client: MasterClient) -> ClusterStats:
        from rtscore.client import MasterUnreachableError

        active = 0
        while time.monotonic() - self._begun < READY_LIMIT_S:
            with contextlib.suppress(MasterUnreachableError):
                active = sum(worker.state == "active" for worker in client.workers())
                if active == len(self._fleet):
                    return client.stats()
            self._pause()
        raise NotReadyError(
            f"{active} of {len(self._fleet)} workers were ready after {READY_LIMIT_S:.0f} s; "
            f"--keep DIR leaves their logs in DIR"
        )

    def _until_finished(
        self, client: MasterClient, tasks: Sequence[workload.DemoTask], view: View, finished_before: int
    ) -> ClusterStats:
        begun = time.monotonic()
        waiting = deque(tasks)
        while True:
            elapsed_s = time.monotonic() - begun
            due = []
            while waiting and waiting[0].at_s <= elapsed_s:
                due.append(waiting.popleft())
            for task in due:
                client.submit(_spec(task, self._user_id))
            stats = client.stats()
            sent = len(tasks) - len(waiting)
            progress = Progress(elapsed_s, sent, len(tasks), stats, client.workers(), finished_before)
            view.update(progress)
            if progress.finished == len(tasks) or elapsed_s > COURSE_LIMIT_S:
                return stats
            self._pause()


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    directory = Path(tempfile.mkdtemp(prefix="rts-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _spec(task: workload.DemoTask, user_id: str) -> TaskSpec:
    from rtscore.client import TaskSpec

    return TaskSpec(
        task_id=task.task_id,
        user_id=user_id,
        command=task.command,
        cpu=task.cpu,
        memory=task.memory,
        gpu=task.gpu,
        task_type=task.task_type,
        deadline=time.time() + task.deadline_s,
        time_limit_s=TASK_LIMIT_S,
    )


def _task_problems(sent: Sequence[workload.DemoTask], ended: Sequence[TaskInfo]) -> Iterator[str]:
    found = {task.task_id: task for task in ended}
    for task, expected in zip(sent, workload.expected_types(len(sent)), strict=True):
        info = found.get(task.task_id)
        if info is None:
            yield f"{task.task_id} was submitted and the master does not know it."
        elif info.state != "completed":
            yield f"{task.task_id} ({task.command}) is {info.state}: {info.reason}."
        elif info.task_type != expected:
            yield f"{task.task_id} was taken for {info.task_type}, it is {expected}."


def _counter_problems(workers: Sequence[WorkerInfo], ended: Sequence[TaskInfo]) -> Iterator[str]:
    """Where the master's own counters differ from the tasks that it tells."""
    for worker in workers:
        own = [task for task in ended if task.worker_id == worker.worker_id]
        met = sum(task.sla_success is True for task in own)
        if (worker.tasks_finished, worker.sla_met) != (len(own), met):
            yield (
                f"{worker.worker_id}: the master counts {worker.sla_met} of {worker.tasks_finished} in time, "
                f"its tasks say {met} of {len(own)}."
            )
