"""The benchmarks judge the project, so they are judged here: their clusters, their peers, their verdicts."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng

from benchmarks import bars, decision, exactness, footprint, machine, report, trace
from benchmarks.clusters import KINDS, PLACEABLE, PROMISED, Cluster, make_cluster, make_clusters
from benchmarks.openb import Pod
from benchmarks.peers import Peer, compared, least_risk_loop, numba_loop, own_ways, reference
from benchmarks.timing import LEAST_CALLS, time_calls
from benchmarks.trace import CHECKED_EVERY, Checked, replay
from rtscore import TASK_TYPES, RTSScheduler, Task, WorkerTable
from rtscore.reference import Columns, Terms, columns_of, terms

ROOT = Path(__file__).resolve().parents[2]
SEED = 7


def terms_of(cluster: Cluster, count: int = 40) -> list[Terms]:
    """What the reference says of the first tasks on every worker."""
    params = cluster.scheduler.params
    return [
        terms(task, columns_of(cluster.table, params, task.task_type), params)
        for task in cluster.tasks[:count]
    ]


@pytest.fixture(scope="module")
def clusters() -> dict[str, Cluster]:
    return {cluster.kind: cluster for cluster in make_clusters(KINDS, 700, 300, SEED)}


def test_a_busy_cluster_has_no_room_for_a_task_on_nine_workers_in_ten(clusters: dict[str, Cluster]) -> None:
    assert 0.88 <= clusters["busy"].infeasible < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_something_fits_exactly_where_a_kind_promises_it(clusters: dict[str, Cluster], kind: str) -> None:
    cluster = clusters[kind]
    decided = [cluster.scheduler.select_worker(task).worker_id is not None for task in cluster.tasks]
    assert any(decided) == (kind in PLACEABLE)
    assert (cluster.infeasible == 1.0) == (kind not in PLACEABLE)


def test_every_task_is_late_on_every_worker_of_the_late_cluster(clusters: dict[str, Cluster]) -> None:
    for t in terms_of(clusters["late"]):
        assert (t.lateness_s[t.feasible] > 0).all()


def test_tasks_of_the_idle_cluster_make_their_deadline_somewhere(clusters: dict[str, Cluster]) -> None:
    for t in terms_of(clusters["idle"]):
        assert t.lateness_s[t.feasible].min() == 0.0


def test_all_risks_of_the_identical_cluster_are_equal(clusters: dict[str, Cluster]) -> None:
    for t in terms_of(clusters["identical"]):
        assert t.feasible.all()
        assert np.ptp(t.risk) == 0.0


def test_each_worker_of_the_fragmented_cluster_is_short_of_one_thing_and_has_all_of_another(
    clusters: dict[str, Cluster],
) -> None:
    column = clusters["fragmented"].table.columns()
    full = np.array([column[f"{name}_avail"] == 0.0 for name in ("cpu", "memory")])
    empty = np.array([column[f"{name}_avail"] == column[f"{name}_total"] for name in ("cpu", "memory")])
    assert (full.sum(axis=0) == 1).all()
    assert full.any(axis=1).all()
    assert (empty.sum(axis=0) == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_made_alone_is_the_kind_made_with_others(clusters: dict[str, Cluster], kind: str) -> None:
    alone, among = make_cluster(kind, 700, 300, SEED), clusters[kind]
    assert alone.tasks == among.tasks
    assert alone.table.ids() == among.table.ids()
    for name, column in alone.table.columns().items():
        assert np.array_equal(column, among.table.columns()[name]), name


@pytest.mark.parametrize("kind", exactness.KINDS, ids=lambda kind: kind.__name__)
def test_the_numba_loop_chooses_the_worker_of_the_reference(kind: Callable[..., Any]) -> None:
    rng = default_rng(SEED)
    table = WorkerTable()
    params = kind(rng, table, 300)
    columns = [columns_of(table, params, task_type) for task_type in TASK_TYPES]
    tasks = [exactness.random_task(rng, number, kind.__name__) for number in range(500)]
    cluster = Cluster(
        kind=kind.__name__,
        table=table,
        scheduler=RTSScheduler(table, params=params),
        affinity_tw=np.array([of_type.affinity for of_type in columns]),
        penalty=columns[0].penalty,
        tasks=tasks,
        infeasible=0.0,
    )
    spec, loop = reference(cluster), numba_loop(cluster)
    chosen = [loop.call(*args) for args in loop.args]
    assert chosen == [spec.slot(spec.call(*args)) for args in spec.args]
    assert len(set(chosen)) > 1, "no choice was made"


def test_the_numba_loop_is_compiled_without_fastmath() -> None:
    options = least_risk_loop().targetoptions  # type: ignore[attr-defined]
    assert not options.get("fastmath")


def test_a_wrong_answer_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lying(cluster: Cluster) -> list[Peer]:
        own, spec, loop = compared(cluster)
        return [own, spec, replace(loop, call=lambda *args: loop.call(*args) + 1)]

    monkeypatch.setattr(decision, "compared", lying)
    assert decision.main(["--quick", "--sizes", "150", "--seed", str(SEED)]) == 1
    assert "numba, idle, 150 workers, task-000000" in capsys.readouterr().err


def test_a_bar_that_is_missed_does_not_fail_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars, "MOST_US", {150: 0.0})
    assert decision.main(["--quick", "--sizes", "150"]) == 0
    assert "FAIL  select_worker at 150" in capsys.readouterr().out


def test_a_table_that_timing_changed_is_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(cluster: Cluster) -> list[Peer]:
        table, worker = cluster.table, cluster.table.ids()[0]
        return [*own_ways(cluster), Peer("leak", table.set_load, [(worker, 1.5)], lambda _: 0)]

    monkeypatch.setattr(decision, "own_ways", careless)
    counted = decision.Exactness()
    effort = replace(decision.QUICK, rounds=1, seconds=0.001)
    decision.measure(make_cluster("idle", 50, 20, SEED), effort, counted)
    assert counted.wrong == 1
    assert "load" in counted.examples[0]


def test_the_command_prints_json_for_machines() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decision", "--quick", "--json", "--sizes", "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    assert {measured["cluster"] for measured in document["cases"]} == set(KINDS)
    assert document["exactness"]["wrong"] == 0
    assert document["exactness"]["answers"] >= 1_000
    assert document["machine"]["numpy"] == np.__version__
    assert all(bar["reached"] in (True, False) for bar in document["bars"])


def case(cluster: str, workers: int, us: float, numpy: float = 1e9, numba: float = 1e9) -> dict[str, Any]:
    """A measured case as the report has it."""
    return {
        "cluster": cluster,
        "workers": workers,
        "infeasible": 0.1,
        "us": {name: {"p50": us, "p99": us} for name in ("rtscore", "numpy", "numba")},
        "ratio": {"numpy": numpy, "numba": numba},
    }


def verdict(cases: list[dict[str, Any]], figure: str) -> bars.Verdict:
    return next(v for v in bars.judge(cases, None) if v.figure.startswith(figure))


def test_a_bar_is_reached_at_its_bound_and_not_beyond() -> None:
    assert verdict([case("idle", 1_000, 1.0)], "select_worker").reached
    assert not verdict([case("idle", 1_000, 1.001)], "select_worker").reached
    assert verdict([case("idle", 1_000, 1.0, numpy=25.0)], "times faster than numpy").reached
    assert not verdict([case("idle", 1_000, 1.0, numpy=24.9)], "times faster than numpy").reached
    assert not verdict([case("idle", 1_000, float("nan"))], "select_worker").reached


def test_a_bar_is_judged_by_the_worst_promised_cluster() -> None:
    cases = [case("idle", 1_000, 0.5), case("late", 1_000, 0.9), case("fragmented", 1_000, 99.0)]
    worst = verdict(cases, "select_worker at 1,000")
    assert (worst.cluster, worst.value, worst.reached) == ("late", 0.9, True)
    assert {v.cluster for v in bars.judge(cases, None)} <= set(PROMISED)


def test_growth_compares_each_cluster_with_itself() -> None:
    cases = [case("idle", 10_000, 1.0), case("idle", 1_000_000, 20.0)]
    cases += [case("late", 10_000, 2.0), case("late", 1_000_000, 62.0)]
    growth = verdict(cases, "growth")
    assert (growth.cluster, growth.value, growth.reached) == ("late", 31.0, False)
    assert not any(v.figure.startswith("growth") for v in bars.judge(cases[:1], None))


def test_memory_is_judged_when_it_was_measured() -> None:
    assert [v.reached for v in bars.judge([], 300.0)] == [True]
    assert [v.reached for v in bars.judge([], 300.1)] == [False]


def test_the_markdown_table_has_a_row_per_size() -> None:
    cases = [case(kind, size, 1.0) for size in (1_000, 10_000) for kind in PROMISED]
    measured_on = {"cpu": "A CPU", "python": "3.11"}
    rows = report.markdown({"cases": cases, "machine": measured_on}).splitlines()
    assert [row.split("|")[1].strip() for row in rows if row.startswith("|")] == [
        "workers",
        "---:",
        "1,000",
        "10,000",
    ]
    assert len({row.count("|") for row in rows if row.startswith("|")}) == 1


@pytest.mark.parametrize(("load", "warned"), [(0.4, False), (1.0, False), (1.1, True), (9.0, True)])
def test_figures_of_a_busy_machine_say_so(load: float, warned: bool) -> None:
    document = {
        "exactness": {"wrong": 0, "answers": 1, "examples": []},
        "machine": {**machine.facts(), "cpus": 2, "load_average": load},
    }
    assert any("was busy" in line for line in report.summary(document)) == warned


def test_each_peer_is_timed_in_every_round_on_other_tasks() -> None:
    seen: list[int] = []
    slow = Peer("slow", seen.append, [(i,) for i in range(100)], lambda _: 0)
    quick = Peer("quick", abs, [(1,)], int)
    assert gc.isenabled()
    samples = time_calls([slow, quick], rounds=4, seconds=0.0)
    assert gc.isenabled()
    assert {name: len(taken) for name, taken in samples.items()} == {
        "slow": 4 * LEAST_CALLS,
        "quick": 4 * LEAST_CALLS,
    }
    assert seen == list(range(5 * LEAST_CALLS)), "the first calls warm up, then one task after another"


def test_random_decisions_agree_with_the_reference() -> None:
    done, wrong = exactness.run(4_000, SEED)
    assert (done, wrong) == (4_000, [])


def test_a_differing_decision_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(task: object, columns: Columns, params: object, now: object) -> tuple[int, float]:
        return len(columns.load), 0.0

    monkeypatch.setattr(exactness, "select", other)
    done, wrong = exactness.run(10, SEED)
    assert len(wrong) == done == 10


def pods(count: int) -> list[Pod]:
    """A pod a second, each running for twenty."""
    return [Pod(Task(f"p{i}", cpu=1, memory=1, arrival_time=float(i)), float(i + 20)) for i in range(count)]


def test_a_replayed_trace_places_what_fits_and_leaves_the_table_as_it_was() -> None:
    table = WorkerTable()
    for name in ("a", "b"):
        table.add(name, cpu=8, memory=64)
    before = {name: column.copy() for name, column in table.columns().items()}
    checked = Checked(RTSScheduler(table))
    outcome = replay(checked, table, pods(200))
    # Sixteen fit; the first is released at 20, when the four between were refused: 16 of every 20.
    assert (outcome.placed, outcome.refused) == (160, 40)
    assert (checked.asked, checked.checked, checked.wrong) == (200, 200 // CHECKED_EVERY, [])
    assert all(np.array_equal(column, before[name]) for name, column in table.columns().items())
    table.check()


def test_a_wrong_decision_in_a_trace_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "select", lambda *_: (7, 0.0))
    table = WorkerTable()
    table.add("a", cpu=8, memory=64)
    checked = Checked(RTSScheduler(table))
    replay(checked, table, pods(CHECKED_EVERY))
    assert len(checked.wrong) == 1
    assert "slot 7" in checked.wrong[0]


def test_memory_and_import_are_measured_in_fresh_processes() -> None:
    measured = footprint.footprint(20_000, 1)
    # Twelve columns of eight bytes and a string are what no table could do without.
    assert 100.0 < measured["bytes_per_worker"]["bytes"] < 1_000.0
    assert measured["import"]["rtscore_ms"] > 0.0


def test_a_measuring_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="invalid literal"):
        footprint._child(footprint._WORKERS, "many")


def test_asv_finds_no_problem_in_the_suite() -> None:
    pytest.importorskip("asv")
    done = subprocess.run(
        [sys.executable, "-m", "asv", "check", "--python=same"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problems found" in done.stdout
