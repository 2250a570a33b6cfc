"""A real Prometheus on a real master: what it stores is true, and what is asked of it exists and can fire."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_server import Prometheus, prometheus, promtool
from rts_processes import FULL, Rts, free_port, limit_files, running, until

from master.metrics.catalogue import METRICS
from rtscore.client import MasterClient, MasterUnreachableError, RequestError, TaskSpec

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALERTS = DOCS / "monitoring/alerts.yml"
DASHBOARD = DOCS / "monitoring/grafana.json"

SHORT = 110
"""Tasks that complete: an epoch of learning needs a hundred."""


class Watched(NamedTuple):
    """A master that is scraped, its worker, and what they have done: all that these tests look at."""

    client: MasterClient
    metrics: str
    prometheus: Prometheus
    master: Rts
    worker: Rts

    def page(self) -> str:
        """What Prometheus reads."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=20) as answer:
            text: str = answer.read().decode()
            return text


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    directory: Path = tmp_path_factory.mktemp("watched")
    address, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    rules = directory / "alerts.yml"
    # As they are, but for the patience.
    rules.write_text(re.sub(r"for: \w+", "for: 1s", ALERTS.read_text()))
    master_args = ("--listen", address, "--store", str(directory / "m.db"), "--metrics-listen", metrics)
    patience = ("--heartbeat-interval", "500ms", "--worker-grace", "3s", "--ga-epoch-interval", "0")
    worker_args = ("--id", "w1", "--cpu", "8", "--memory", "8", "--storage", "10", "--drain-timeout", "0")
    with (
        prometheus(directory, rules, metrics) as server,
        running(directory / "m.log", "master", *master_args, *patience) as master,
        running(
            directory / "w.log",
            "worker",
            *("--master", address, *worker_args, "--work-dir", str(directory / "w1")),
        ) as worker,
        MasterClient(address) as client,
    ):
        until(lambda: _active(client), what="an active worker")
        work(client)
        yield Watched(client, metrics, server, master, worker)


def _active(client: MasterClient) -> bool:
    try:
        return [worker.state for worker in client.workers()] == ["active"]
    except MasterUnreachableError:
        return False


def work(client: MasterClient) -> None:
    """Short tasks, one that fails, two that are late at once, one too large, one refused; then an epoch."""
    short = [TaskSpec("true", cpu=0.5) for _ in range(SHORT)]
    others = [TaskSpec("exit 3", cpu=0.5), *(TaskSpec("true", cpu=0.5, deadline=1.0) for _ in range(2))]
    tasks = client.submit_many([*short, *others])
    client.submit(TaskSpec("true", cpu=1000.0))
    assert client.submit_many([TaskSpec("true", cpu=-1.0)])
    with pytest.raises(RequestError):
        client.task("nobody's")
    until(
        lambda: client.stats().completed + client.stats().failed == len(tasks), 60.0, "the end of all tasks"
    )
    client.train()


def test_what_prometheus_answers_is_what_the_client_is_told(watched: Watched) -> None:
    stats, (worker,) = watched.client.stats(), watched.client.workers()
    told: dict[str, float] = {
        'rts_tasks{state="completed"}': stats.completed,
        'rts_tasks{state="failed"}': stats.failed,
        'rts_tasks{state="queued"}': stats.queued,
        'rts_queue_tasks{reason="impossible"}': 1,
        "sum(rts_queue_tasks)": stats.queued,
        "sum(rts_decisions_total)": stats.decisions,
        "rts_decision_duration_seconds_count": stats.decisions,
        "rts_decision_fallbacks_total": stats.fallbacks,
        "sum(rts_placements_total)": worker.tasks_finished,
        'rts_worker_placements_total{worker="w1"}': worker.tasks_finished,
        'rts_worker_sla_met_total{worker="w1"}': worker.sla_met,
        'rts_worker_sla_missed_total{worker="w1"}': worker.tasks_finished - worker.sla_met,
        'sum(rts_worker_placements_total{worker="other"})': 0,
        "sum(rts_sla_met_total)": worker.sla_met,
        "sum(rts_sla_missed_total)": 3,
        "sum(rts_task_lateness_seconds_count)": 3,
        "sum(rts_task_runtime_seconds_count)": worker.tasks_finished,
        "sum(rts_task_wait_seconds_count)": worker.tasks_finished,
        'rts_attempts_ended_total{end="completed"}': stats.completed,
        'rts_submissions_total{outcome="accepted"}': stats.completed + stats.failed + stats.queued,
        'rts_submissions_total{outcome="refused"}': 1,
        'rts_submission_refusals_total{code="INVALID_ARGUMENT"}': 1,
        'rts_workers{state="active"}': 1,
        "rts_worker_sessions": 1,
        'rts_resource_capacity{resource="cpu"}': worker.total_cpu,
        "rts_live_attempts": 0,
        "rts_params_version": stats.params_version,
        "rts_aod_epoch_duration_seconds_count": 1,
        "sum(rts_aod_epochs_total)": 1,
        "sum(rts_aod_samples)": SHORT + 2,
        "rts_journal_stalled": 0,
        "rts_master_active": 1,
        **{f'rts_tau_seconds{{task_type="{name}"}}': tau for name, tau in stats.tau.items()},
    }
    assert stats.decisions > SHORT
    assert stats.failed == 1

    def different() -> dict[str, Any]:
        answers = {expression: watched.prometheus.number(expression) for expression in told}
        return {e: (found, told[e]) for e, found in answers.items() if found != pytest.approx(told[e])}

    with contextlib.suppress(AssertionError):
        until(lambda: not different())
    assert different() == {}


def test_promtool_finds_nothing_wrong_with_a_live_page(watched: Watched) -> None:
    assert promtool("check", "metrics", stdin=watched.page()) == ""


def test_all_that_is_declared_is_served_and_nothing_else(watched: Watched) -> None:
    served = set(re.findall(r"^# TYPE (rts_\w+) ", watched.page(), re.MULTILINE))
    assert served == set(METRICS)


def test_every_metric_has_its_line_in_the_documentation() -> None:
    lines = re.findall(
        r"^\| `(rts_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", (DOCS / "MONITORING.md").read_text(), re.M
    )
    assert lines == [
        (metric.name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for metric in METRICS.values()
    ]


def test_alerts_and_dashboard_ask_only_for_what_there_is(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert set(rules) == set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    expressions = [*rules.values(), *dashboard_queries()]
    assert len(expressions) > 60
    for expression in expressions:
        watched.prometheus.query(expression)
        for selector in selectors(expression):
            found = watched.prometheus.query(f"count({selector})")
            assert found or 'code="INTERNAL"' in selector, f"nothing is {selector} of {expression}"


def test_a_dashboard_panel_overlaps_no_other() -> None:
    taken = set[tuple[int, int]]()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_alerts_fire_when_a_worker_is_lost_and_when_the_store_takes_no_writes(watched: Watched) -> None:
    server = watched.prometheus
    ours = {"RtsWorkersLost", "RtsStoreStalled", "RtsNoWorkers", "RtsMasterDown"}
    until(lambda: not server.firing() & ours, 60.0, "a time without these alerts")
    watched.worker.kill()
    until(lambda: {"RtsWorkersLost", "RtsNoWorkers"} <= server.firing(), 60.0, "the alert of a lost worker")
    limit_files(watched.master.process.pid, FULL)
    try:
        with pytest.raises(MasterUnreachableError):
            watched.client.submit(TaskSpec("true", cpu=0.5))
        until(lambda: "RtsStoreStalled" in server.firing(), 60.0, "the alert of a stalled store")
    finally:
        limit_files(watched.master.process.pid, -1)
    until(lambda: "RtsStoreStalled" not in server.firing(), 60.0, "the end of the alert")
    watched.master.stop()
    until(
        lambda: {"RtsMasterDown", "RtsNoActiveMaster"} <= server.firing(), 60.0, "the alert of a dead master"
    )


def dashboard_queries() -> list[str]:
    """The expressions of the dashboard, as Grafana would send them, and those of its variables."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    found += re.findall(r"label_values\((\w+), \w+\)", json.dumps(dashboard["templating"]))
    return [each.replace("$__rate_interval", "1m").replace("$instance", ".*") for each in found]


def selectors(expression: str) -> set[str]:
    """The metrics that an expression names, with their matchers."""
    return set(re.findall(r"\b(?:rts|process)_\w+(?:\{[^}]*\})?|\bup\{[^}]*\}", expression))


def test_the_reader_of_expressions_sees_every_selector() -> None:
    expression = (
        'rate(rts_a_total{x="1"}[5m]) / on (instance) rts_b > up{job="rts"} + sum by (le) (process_c)'
    )
    assert selectors(expression) == {'rts_a_total{x="1"}', "rts_b", 'up{job="rts"}', "process_c"}
