"""The replay: its runtimes, its figures, its queue orders, and that it changes nothing between two runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aod.policies import Policy
from aod.replay import Machines, QueueOrder, Replay, Replayer, Workload
from aod.theta import train_theta
from aod.transport import machines_of, workload_of
from aod.workloads import Pattern, make_machines, make_workload
from rtscore import TASK_TYPES, GAParams, Risk, Theta


def machines(
    totals: list[list[float]], slowdown: float = 1.0, theta: tuple[float, ...] = (0, 0, 0, 0)
) -> Machines:
    n = len(totals)
    return Machines(
        tuple(f"w{j}" for j in range(n)),
        np.array(totals).reshape(n, 4),
        np.full((6, n), slowdown),
        np.array(theta),
    )


def tasks(
    arrival: list[float],
    cpu: list[float],
    *,
    base_s: float = 10.0,
    tau: float = 10.0,
    deadline: list[float] | None = None,
) -> Workload:
    n = len(arrival)
    return Workload(
        tuple(f"t{i}" for i in range(n)),
        arrival=np.array(arrival),
        type=np.zeros(n, np.int8),
        cpu=np.array(cpu),
        memory=np.zeros(n),
        gpu=np.zeros(n),
        storage=np.zeros(n),
        tau=np.full(n, tau),
        deadline=np.array(deadline) if deadline else np.array(arrival) + 2 * tau,
        base_s=np.full(n, base_s),
        sla_multiplier=np.full(n, 2.0),
    )


ONE = [[4.0, 16.0, 0.0, 10.0]]


def test_the_runtime_is_base_times_slowdown_times_the_stretch_found_at_placement() -> None:
    at = machines(ONE, slowdown=2.0, theta=(0.5, 0.0, 0.0, 1.0))
    replay = Replayer(at, tasks([0.0, 1.0], [1.0, 2.0])).run()
    # Second: 2 of 3 cores left, and a load of 1 core in 4 weighed beside 16 GiB / 10.
    load = 4.0 * 0.25 / (4.0 + 1.6)
    assert replay.finish.tolist() == pytest.approx([20 * (1 + 0.5 / 4), 1 + 20 * (1 + 0.5 * 2 / 3 + load)])
    assert replay.found[1].tolist() == pytest.approx([3.0, 16.0, 0.0, load])


def test_what_does_not_fit_waits_and_starts_when_room_comes_free() -> None:
    replay = Replayer(machines(ONE), tasks([0.0, 1.0], [3.0, 2.0])).run()
    assert replay.start.tolist() == [0.0, 10.0]
    assert replay.summary().wait_mean_s == 4.5


def test_a_task_that_no_worker_could_run_is_unplaced_and_missed() -> None:
    summary = Replayer(machines(ONE), tasks([0.0, 1.0], [5.0, 2.0])).run().summary()
    assert (summary.unplaced, summary.misses, summary.sla) == (1, 1, 0.5)


def test_without_workers_nothing_runs_and_the_figures_are_numbers() -> None:
    summary = Replayer(machines([]), tasks([0.0, 1.0], [1.0, 1.0])).run().summary()
    assert (summary.unplaced, summary.sla, summary.utilisation, summary.overload) == (2, 0.0, 0.0, 0.0)


def test_without_tasks_the_figures_are_numbers() -> None:
    summary = Replayer(machines(ONE), tasks([], [])).run().summary()
    assert (summary.tasks, summary.sla, summary.wait_p95_s, summary.overload) == (0, 1.0, 0.0, 0.0)


def order_of_starts(order: QueueOrder, deadline: list[float]) -> list[int]:
    # One at a time; the first occupies the worker while the others arrive.
    load = tasks([0.0, 1.0, 2.0, 3.0], [4.0] * 4, deadline=deadline)
    return np.argsort(Replayer(machines(ONE), load, order).run().start).tolist()


def test_the_orders_differ_as_their_names_say() -> None:
    deadline = [20.0, 60.0, 15.0, 40.0]
    assert order_of_starts(QueueOrder.FIFO, deadline) == [0, 1, 2, 3]
    assert order_of_starts(QueueOrder.EDF, deadline) == [0, 2, 3, 1]
    # At 10 s the third can no longer end by 15: hopeless, behind those that can.
    assert order_of_starts(QueueOrder.OURS, deadline) == [0, 3, 1, 2]


def test_least_laxity_counts_the_expected_runtime() -> None:
    load = tasks([0.0, 1.0, 1.0], [4.0] * 3, deadline=[20.0, 50.0, 52.0])
    tau = np.array([10.0, 5.0, 30.0])
    load = replace(load, tau=tau)
    assert np.argsort(Replayer(machines(ONE), load, QueueOrder.LEAST_LAXITY).run().start).tolist() == [
        0,
        2,
        1,
    ]
    assert np.argsort(Replayer(machines(ONE), load, QueueOrder.EDF).run().start).tolist() == [0, 1, 2]


def test_the_figures_of_a_replay_that_can_be_done_by_hand() -> None:
    # Both workers have 4 cores and 16 GiB; one runs 4 cores from 0 to 10, the other nothing; window 0 to 20.
    replay = Replayer(machines(ONE * 2), tasks([0.0, 20.0], [4.0, 1.0])).run()
    summary = replay.summary()
    assert summary.utilisation == pytest.approx(0.5 * 10 / 20 / 2)
    assert summary.energy == pytest.approx(1.0)
    # Load 4 / 5.6 is below the threshold of 0.9.
    assert summary.overload == 0.0
    cpu_only = machines([[4.0, 0.0, 0.0, 0.0]] * 2)
    assert Replayer(cpu_only, tasks([0.0, 20.0], [4.0, 1.0])).run().summary().overload == pytest.approx(0.25)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(Policy),
    st.sampled_from(QueueOrder),
    st.sampled_from(Pattern),
    st.sampled_from([0.5, 1.0, 4.0]),
)
def test_no_worker_is_ever_over_committed_and_every_possible_task_runs_once(
    seed: int, policy: Policy, order: QueueOrder, pattern: Pattern, offered: float
) -> None:
    at = make_machines(6, seed)
    load = make_workload(150, at, offered, seed, pattern=pattern)
    replay = Replayer(at, load, order).run(policy, seed=seed)
    assert replay.ran.all()
    assert (replay.start >= load.arrival).all()
    assert (replay.finish > replay.start).all()
    for j in range(len(at)):
        mine = np.flatnonzero(replay.worker == j)
        instants = np.concatenate([replay.finish[mine], replay.start[mine]])
        change = np.concatenate([-load.request[mine], load.request[mine]])
        # At one instant room is given back before it is taken.
        by_time = np.lexsort((np.repeat([0, 1], len(mine)), instants))
        held = np.cumsum(change[by_time], axis=0)
        assert (held <= at.totals[j] + 1e-9).all()


def test_the_same_seed_gives_the_same_replay_and_another_seed_another() -> None:
    at = make_machines(10, 1)
    replayer = Replayer(at, make_workload(500, at, 1.0, 1))

    def course(seed: int) -> bytes:
        return replayer.run(Policy.RANDOM, seed=seed).finish.tobytes()

    assert course(1) == course(1) != course(2)


def test_a_replay_leaves_nothing_behind_for_the_next() -> None:
    at = make_machines(10, 1)
    replayer = Replayer(at, make_workload(500, at, 2.0, 1))
    first = replayer.run()
    replayer.run(params=GAParams(risk=Risk(alpha=0.0, beta=50.0)))
    assert replayer.run().finish.tobytes() == first.finish.tobytes()


def rerun(replay: Replay, params: GAParams, rows: int) -> Replay:
    """The history of a replay, transported by the model that it was made with."""
    history, true = replay.history(), replay.machines
    exact = replace(
        train_theta(history),
        theta=Theta(*true.theta.tolist()),
        worker_ids=true.worker_ids,
        slowdown_tw=true.slowdown_tw,
    )
    totals = dict(zip(true.worker_ids, map(tuple, true.totals.tolist()), strict=True))
    load = workload_of(history, exact)
    assert np.allclose(load.base_s, replay.workload.base_s, rtol=1e-9)
    assert len(load) == rows
    return Replayer(machines_of(totals, exact), load).run(params=params)


@pytest.mark.parametrize("offered", [0.7, 2.0])
def test_the_replay_with_the_recorded_parameters_reproduces_the_record_when_the_model_is_exact(
    offered: float,
) -> None:
    at = make_machines(20, 5)
    load = make_workload(1000, at, offered, 6)
    rng = np.random.default_rng(7)
    params = GAParams(
        affinity={
            str(name): dict(zip(at.worker_ids, rng.normal(0, 1, len(at)).tolist(), strict=True))
            for name in TASK_TYPES
        }
    )
    record = Replayer(at, load).run(params=params)
    again = rerun(record, params, len(load))
    assert (again.worker == record.worker).all()
    assert np.allclose(again.start, record.start, rtol=0, atol=1e-6)
    other = rerun(record, GAParams.default(), len(load))
    assert (other.worker != record.worker).mean() > 0.2
