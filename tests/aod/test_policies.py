"""Every policy places where its name says, seen through a replay with one decision."""

from __future__ import annotations

import numpy as np
import pytest

from aod.policies import Policy
from aod.replay import Machines, Replayer, Workload
from rtscore import GAParams, Risk

# Cores, GiB, devices, GiB.
ROOM = {
    "empty": (8.0, 32.0, 0.0, 100.0),
    "small": (4.0, 16.0, 0.0, 100.0),
    "large": (32.0, 128.0, 0.0, 100.0),
}


def where(
    policy: Policy, totals: list[tuple[float, ...]], asks: list[tuple[float, float]], **more: object
) -> list[int]:
    """The slots of tasks that ask (cores, GiB), arriving one after the other and running for ever."""
    n = len(asks)
    slowdown = np.array([more.get("slowdown", [1.0] * len(totals))] * 6)
    at = Machines(tuple(f"w{j}" for j in range(len(totals))), np.array(totals), slowdown, np.zeros(4))
    load = Workload(
        tuple(f"t{i}" for i in range(n)),
        arrival=np.arange(n, dtype=float),
        type=np.zeros(n, np.int8),
        cpu=np.array([a for a, _ in asks]),
        memory=np.array([b for _, b in asks]),
        gpu=np.zeros(n),
        storage=np.zeros(n),
        tau=np.full(n, 1e6),
        deadline=np.full(n, 1e7),
        base_s=np.full(n, 1e6),
        sla_multiplier=np.full(n, 2.0),
    )
    params = more.get("params")
    assert params is None or isinstance(params, GAParams)
    return Replayer(at, load).run(policy, params, seed=int(str(more.get("seed", 0)))).worker.tolist()


SAME = [(8.0, 32.0, 0.0, 100.0)] * 3


def test_round_robin_takes_turns_and_skips_the_full() -> None:
    assert where(Policy.ROUND_ROBIN, SAME, [(6, 1), (1, 1), (1, 1), (6, 1), (1, 1)]) == [0, 1, 2, 1, 2]


def test_first_fit_takes_the_lowest_slot_with_room() -> None:
    assert where(Policy.FIRST_FIT, SAME, [(6, 1), (6, 1), (2, 1), (2, 1)]) == [0, 1, 0, 1]


def test_least_loaded_takes_the_least_load_and_of_equals_the_lowest_slot() -> None:
    assert where(Policy.LEAST_LOADED, SAME, [(4, 1), (2, 1), (1, 1), (1, 1)]) == [0, 1, 2, 2]


def test_least_allocated_keeps_the_largest_share_of_cpu_and_memory_free() -> None:
    shapes = [ROOM["small"], ROOM["large"], ROOM["empty"]]
    assert where(Policy.LEAST_ALLOCATED, shapes, [(4, 16), (16, 64)]) == [1, 1]


def test_best_fit_leaves_the_least() -> None:
    shapes = [ROOM["large"], ROOM["small"], ROOM["empty"]]
    assert where(Policy.BEST_FIT, shapes, [(3, 12), (1, 4), (5, 20)]) == [1, 1, 2]


def test_tetris_sends_a_task_where_what_it_asks_most_is_plentiful() -> None:
    cores_left, memory_left = (8.0, 4.0, 0.0, 9.0), (2.0, 32.0, 0.0, 9.0)
    # In shares: 2/8·1 + 1/4·1 against 2/2·1 + 1/32·1.
    assert where(Policy.TETRIS, [cores_left, memory_left], [(2, 1)]) == [1]


def test_power_of_two_takes_the_less_loaded_of_two_and_the_only_one_that_fits() -> None:
    asks = [(8, 1), (1, 1)]
    for seed in range(20):
        first, second = where(Policy.POWER_OF_TWO, SAME[:2], asks, seed=seed)
        # Two workers: both are looked at, the first task goes to slot 0, the second to the empty one.
        assert (first, second) == (0, 1)
    placed = [where(Policy.POWER_OF_TWO, SAME, [(4, 1), (1, 1)], seed=seed) for seed in range(40)]
    assert all(first != second for first, second in placed)
    assert {second for _, second in placed} == {0, 1, 2}


def test_random_reaches_every_worker_that_fits_about_equally_often() -> None:
    shapes = [
        (8000.0, 32.0, 0.0, 0.0),
        (0.5, 32.0, 0.0, 0.0),
        (8000.0, 32.0, 0.0, 0.0),
        (8000.0, 32.0, 0.0, 0.0),
    ]
    slots = where(Policy.RANDOM, shapes, [(1, 0)] * 3000, seed=3)
    counts = np.bincount(slots, minlength=4)
    assert counts[1] == 0
    assert (np.abs(counts[[0, 2, 3]] - 1000) < 130).all(), counts


def test_the_oracle_knows_who_is_fast() -> None:
    assert where(Policy.ORACLE, SAME, [(6, 1), (6, 1), (2, 1)], slowdown=[2.0, 0.5, 1.0]) == [1, 2, 1]


def test_rts_follows_its_parameters() -> None:
    params = GAParams(
        risk=Risk(alpha=0.0, beta=0.0), affinity={"cpu-light": {"w2": 1.0}}, penalty={"w0": 1.0}
    )
    assert where(Policy.RTS, SAME, [(6, 1), (6, 1), (6, 1)], params=params) == [2, 1, 0]


def test_a_policy_is_found_by_its_name_and_an_unknown_name_lists_the_known() -> None:
    assert [Policy.of(policy.label) for policy in Policy] == list(Policy)
    with pytest.raises(ValueError, match="power-of-two"):
        Policy.of("best")
