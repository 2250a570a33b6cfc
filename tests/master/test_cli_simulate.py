"""The comparison behind `rts simulate`: intervals, sources, the judged part of a replay, cluster files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import learned_samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aod.genetic import GAConfig
from aod.judged import judged
from aod.policies import Policy
from aod.replay import QueueOrder, Replayer
from aod.workloads import Pattern, make_machines, make_workload, span_for
from master.cli.failure import CommandError
from master.cli.simulate import command, inputs
from master.cli.simulate.cluster import machines_of_lines, read_cluster
from master.cli.simulate.comparison import (
    MIN_SEEDS,
    PLAYERS,
    RECORDED,
    RTS,
    compare,
    count_steps,
    interval,
    percent,
    t_quantile,
)
from master.cli.simulate.plots import _LOOK
from master.cli.simulate.recorded import Recorded
from master.cli.simulate.report import write_report
from master.cli.simulate.sources import FromFile, Generated, check_tasks, compressed, deal_luck
from master.cli.simulate.table import print_comparison
from rtscore.tasks import TASK_TYPES

AT = make_machines(10, 1)
TASKS = make_workload(600, AT, 0.8, 1)


# ---- intervals ----


@pytest.mark.parametrize(
    ("freedom", "exact"), [(4, 2.77645), (5, 2.57058), (9, 2.26216), (29, 2.04523), (999, 1.96234)]
)
def test_students_t_is_that_of_the_tables(freedom: int, exact: float) -> None:
    assert t_quantile(freedom) == pytest.approx(exact, abs=1e-3)


def test_an_interval_holds_the_truth_nineteen_times_of_twenty() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(4000):
        figure = interval(rng.normal(3.0, 2.0, MIN_SEEDS).tolist())
        assert figure.half_width is not None
        held += abs(figure.mean - 3.0) <= figure.half_width
    assert 0.94 < held / 4000 < 0.96


def test_fewer_seeds_than_five_have_a_mean_and_no_interval() -> None:
    figure = interval([1.0, 2.0, 3.0, 6.0])
    assert (figure.mean, figure.half_width) == (3.0, None)


# ---- what a seed and a load change ----


def test_a_generated_case_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    source = Generated(Pattern.MIXED, 50, 5)
    one, again, other = (source.case(0.7, seed).tasks for seed in (1, 1, 2))
    assert np.array_equal(one.arrival, again.arrival)
    assert not np.array_equal(one.base_s, other.base_s)


def test_what_is_learned_from_is_never_what_is_judged_on() -> None:
    case = Generated(Pattern.STEADY, 300, 5).case(0.7, 1)
    past = case.past()
    assert len(past) == 600
    assert not set(past.actual_runtime_s.tolist()) & set(case.tasks.base_s.tolist())


@given(st.integers(1, 1000))
def test_luck_dealt_anew_stays_within_its_type(seed: int) -> None:
    dealt = deal_luck(TASKS, seed)
    for code in range(len(TASK_TYPES)):
        rows = TASKS.type == code
        before, after = ((w.base_s / w.tau)[rows] for w in (TASKS, dealt))
        assert np.allclose(np.sort(before), np.sort(after))
    for name in ("arrival", "deadline", "tau", "cpu", "type"):
        assert np.array_equal(getattr(dealt, name), getattr(TASKS, name))


def test_the_luck_of_the_first_seed_is_that_of_the_file() -> None:
    source = FromFile(Path("x"), TASKS, 10, cluster=AT)
    assert np.array_equal(source.case(None, 1).tasks.base_s, TASKS.base_s)
    assert not np.array_equal(source.case(None, 2).tasks.base_s, TASKS.base_s)


@given(st.floats(0.05, 5.0))
def test_compressed_arrivals_offer_the_load_and_keep_the_time_to_the_deadline(load: float) -> None:
    made = compressed(TASKS, AT, load)
    span = float(made.arrival[-1] - made.arrival[0])
    assert span == pytest.approx(span_for(TASKS.request, TASKS.base_s, AT, load))
    assert made.arrival[0] == TASKS.arrival[0]
    assert np.allclose(made.deadline - made.arrival, TASKS.deadline - TASKS.arrival)


def test_no_load_can_be_made_of_tasks_that_all_come_at_once() -> None:
    at_once = replace(TASKS, arrival=np.zeros(len(TASKS)))
    with pytest.raises(ValueError, match="at one instant"):
        compressed(at_once, AT, 0.5)


# ---- histories ----


def test_the_judged_part_has_the_tasks_of_the_whole_as_they_went() -> None:
    whole = Replayer(AT, TASKS).run(Policy.ROUND_ROBIN)
    part = judged(whole, 400)
    assert part.summary().misses == int((~whole.met[400:]).sum())
    assert part.workload.task_ids == TASKS.task_ids[400:]
    assert part.window == (TASKS.arrival[400], TASKS.arrival[-1])
    assert judged(whole, 0) is whole


def test_overload_of_a_part_is_what_the_whole_had_after_it_began() -> None:
    busy = make_workload(600, AT, 2.0, 1)
    whole = Replayer(AT, busy).run()
    parts = [judged(whole, since) for since in (1, 200, 400)]
    seconds = [part.overload_s.sum() for part in parts]
    assert seconds[0] == pytest.approx(whole.overload_s.sum(), rel=0.01)
    assert seconds[0] > seconds[1] > seconds[2] > 0.0


def test_a_history_in_time_is_not_met_where_its_run_failed() -> None:
    history = Replayer(AT, TASKS).run().history()
    failed = np.zeros(len(history), np.bool_)
    failed[np.flatnonzero(history.sla_success)[:7]] = True
    history = replace(history, succeeded=~failed, sla_success=history.sla_success & ~failed)
    source = Recorded(Path("x"), history, None, split=False)
    found = compare(source, [None], [QueueOrder.OURS], ["first-fit"], 1)
    (row,) = [row for row in found.rows if row.policy == RECORDED]
    assert row.runs[0].summary.misses == int((~history.sla_success).sum())


def test_a_history_of_which_nothing_can_be_used_says_why() -> None:
    history = Replayer(AT, TASKS).run().history()
    bad = replace(history, actual_runtime_s=np.full(len(history), np.nan))
    with pytest.raises(ValueError, match=r"x holds no attempt that can be replayed \(600 missing number\)"):
        Recorded(Path("x"), bad, None, split=True)


async def test_a_store_is_a_history(tmp_path: Path) -> None:
    history = learned_samples.recorded(n=500)
    store = tmp_path / "master.db"
    await learned_samples.write_history(store, history)
    found = inputs.history(store, None, split=False)
    assert (
        found.case(None, 1).tasks.task_ids
        == Recorded(Path("x"), history, None, split=False).case(None, 1).tasks.task_ids
    )
    store.write_bytes(store.read_bytes()[:100])
    with pytest.raises(CommandError, match=r"^--history: .*master\.db"):
        inputs.history(store, None, split=False)


def test_recorded_is_only_beside_the_load_that_it_had() -> None:
    source = Recorded(Path("x"), Replayer(AT, TASKS).run().history(), None, split=False)
    found = compare(source, [None, 1.5], [QueueOrder.OURS], ["random"], 2)
    assert [(row.load, row.policy, len(row.runs)) for row in found.rows] == [
        (None, RECORDED, 1),
        (None, "random", 2),
        (1.5, "random", 2),
    ]


# ---- the course of a comparison ----


def test_the_bar_ends_where_the_comparison_does() -> None:
    done: list[int] = []
    source, loads, orders = Generated(Pattern.STEADY, 200, 5), [0.5, 0.9], [QueueOrder.OURS, QueueOrder.EDF]
    players = [RTS, "oracle"]
    config = GAConfig(population_size=4, generations=20, patience=2)
    compare(source, loads, orders, players, 2, config=config, advance=lambda n, what: done.append(n))
    assert sum(done) == count_steps(loads, orders, players, 2, config)


def test_a_history_too_short_to_learn_from_is_reported_and_judged_by_the_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = compare(
        Generated(Pattern.STEADY, 20, 5), [0.7], [QueueOrder.OURS], [RTS, "rts-untrained"], MIN_SEEDS
    )
    learned, untrained = found.rows
    assert [run.summary.misses for run in learned.runs] == [run.summary.misses for run in untrained.runs]
    print_comparison(found)
    said = capsys.readouterr().out
    assert "seed 1: rts has the default parameters; not enough data: 40 records can be used" in said


def test_every_policy_is_named_in_the_help_and_has_a_look_of_its_own() -> None:
    help_text = str(command.simulate.__annotations__["policy"])
    assert all(name in help_text for name in PLAYERS)
    assert set(_LOOK) == {*PLAYERS, RECORDED}
    assert len(set(_LOOK.values())) == len(_LOOK)


def test_the_same_comparison_gives_the_same_page(tmp_path: Path) -> None:
    found = compare(Generated(Pattern.BURST, 200, 5), [0.7, 1.5], [QueueOrder.OURS], PLAYERS, MIN_SEEDS)
    pages = [tmp_path / name for name in ("one.html", "two.html")]
    for page in pages:
        write_report(page, found, {"kind": "generated"})
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(pages)


def test_a_load_that_is_given_twice_is_replayed_once() -> None:
    assert command._loads(["0.7,1", "0.70"], recorded=False) == [0.7, 1.0]


@pytest.mark.parametrize(("share", "text"), [(0.7, "70 %"), (0.725, "72.5 %"), (3.0, "300 %")])
def test_a_load_reads_as_percent(share: float, text: str) -> None:
    assert percent(share) == text


# ---- files ----


def test_a_cluster_file_says_amounts_and_speeds(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(
        '{"worker_id": "a", "cpu": 4, "memory": 8, "gpu": 1, "storage": 100, "speed": {"gpu-inference": 2}}\n'
        "\n"
        '{"worker_id": "b", "cpu": 2, "memory": 4, "speed": 0.5}\n'
        '{"worker_id": "c", "cpu": 1, "memory": 1}\n'
    )
    machines = machines_of_lines(read_cluster(path))
    assert machines.worker_ids == ("a", "b", "c")
    assert machines.totals.tolist() == [[4, 8, 1, 100], [2, 4, 0, 0], [1, 1, 0, 0]]
    assert machines.slowdown_tw[:, 0].tolist() == [0.5 if t == "gpu-inference" else 1.0 for t in TASK_TYPES]
    assert machines.slowdown_tw[:, 1].tolist() == [2.0] * 6
    assert machines.slowdown_tw[:, 2].tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cpu": -1}, "cpu is -1.0; a number in"),
        ({"gpu": 1e12}, "gpu is"),
        ({"speed": 0}, "speed is 0.0; 0.001 to 1000 is allowed"),
        ({"speed": {"gpu": 1}}, "speed names 'gpu'; allowed are cpu-light"),
        ({"speed": {"mixed": -1}}, "speed of mixed is -1.0"),
        ({"cpus": 4}, "unknown field `cpus`"),
    ],
)
def test_a_bad_line_of_a_cluster_file_is_named(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("\n" + json.dumps({"worker_id": "a", "cpu": 1, "memory": 1} | changed))
    with pytest.raises(ValueError, match=f":2:.*{words.split(';')[0]}") as error:
        read_cluster(path)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("base_s", 0.0, "runtime_s"),
        ("tau", np.inf, "tau"),
        ("cpu", -1.0, "cpu"),
        ("deadline", np.nan, "deadline"),
    ],
)
def test_a_task_with_an_impossible_number_is_named(column: str, value: float, field: str) -> None:
    values = getattr(TASKS, column).copy()
    values[3] = value
    with pytest.raises(ValueError, match=rf"task 't000003': {field} is"):
        check_tasks(replace(TASKS, **{column: values}))
