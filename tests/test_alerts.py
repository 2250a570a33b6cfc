"""The alert rules on made-up series, by promtool: each fires when it should, and not when it should not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_server import promtool
from typer.testing import CliRunner

from master.cli.app import app

RULES = Path(__file__).resolve().parent.parent / "docs/monitoring/alerts.yml"

FIVE_HOURS = 300


class Case(NamedTuple):
    """An alert, minute by minute, in promtool's notation: `0+2x60` is 0, 2, 4, and so on for an hour."""

    alert: str
    fires: dict[str, str]
    silent: dict[str, str]
    minutes: int = 90


def queued(values: str) -> dict[str, str]:
    return {'rts_tasks{state="queued"}': values, 'rts_queue_tasks{reason="room"}': values}


FINISHING = {'rts_attempts_ended_total{end="completed"}': "0+5x300", "rts_live_attempts": "4x300"}
FAST = 'rts_decision_duration_seconds_bucket{le="0.0001"}'
ALL_DECISIONS = 'rts_decision_duration_seconds_bucket{le="+Inf"}'
SLOW = 'rts_decision_duration_seconds_bucket{le="0.01"}'

CASES = (
    Case("RtsMasterDown", {"up": "1x10 0x90"}, {"up": "1x100"}),
    Case(
        "RtsNoActiveMaster",
        {'rts_master_active{n="1"}': "1x10 _x90", 'rts_master_active{n="2"}': "0x100"},
        {'rts_master_active{n="1"}': "1x100", 'rts_master_active{n="2"}': "0x100"},
    ),
    Case("RtsStoreStalled", {"rts_journal_stalled": "0x10 1x90"}, {"rts_journal_stalled": "0x10 1x5 0x85"}),
    Case(
        "RtsStoreDiskFull",
        {"rts_store_disk_free_bytes": "4x100", "rts_store_disk_size_bytes": "100x100"},
        {"rts_store_disk_free_bytes": "6x100", "rts_store_disk_size_bytes": "100x100"},
    ),
    Case(
        "RtsSlowCommits",
        {
            'rts_journal_commit_duration_seconds_bucket{le="0.25"}': "0+90x100",
            'rts_journal_commit_duration_seconds_bucket{le="1.0"}': "0+100x100",
            'rts_journal_commit_duration_seconds_bucket{le="+Inf"}': "0+100x100",
        },
        {
            'rts_journal_commit_duration_seconds_bucket{le="0.25"}': "0+100x100",
            'rts_journal_commit_duration_seconds_bucket{le="1.0"}': "0+100x100",
            'rts_journal_commit_duration_seconds_bucket{le="+Inf"}': "0+100x100",
        },
    ),
    Case(
        "RtsEventLoopLag",
        {
            'rts_event_loop_lag_seconds_bucket{le="0.1"}': "0+30x100",
            'rts_event_loop_lag_seconds_bucket{le="0.25"}': "0+60x100",
            'rts_event_loop_lag_seconds_bucket{le="+Inf"}': "0+60x100",
        },
        {
            'rts_event_loop_lag_seconds_bucket{le="0.1"}': "0+59x100",
            'rts_event_loop_lag_seconds_bucket{le="0.25"}': "0+60x100",
            'rts_event_loop_lag_seconds_bucket{le="+Inf"}': "0+60x100",
        },
    ),
    Case(
        "RtsCallsFail",
        {'rts_grpc_calls_total{code="INTERNAL",method="m"}': "0+1x100"},
        {'rts_grpc_calls_total{code="NOT_FOUND",method="m"}': "0+1x100"},
    ),
    Case(
        "RtsQueueNotPlacing",
        # Room is given back, and nobody gets it.
        {**queued("7x100"), **FINISHING, "rts_placements_total": "50x100"},
        # A full cluster of long tasks.
        {
            **queued("7x100"),
            "rts_live_attempts": "4x100",
            'rts_attempts_ended_total{end="completed"}': "50x100",
            "rts_placements_total": "50x100",
        },
    ),
    Case(
        "RtsQueueGrowing",
        {**queued("0+50x100"), "rts_placements_total": "0+10x100"},
        {**queued("5000-20x100"), "rts_placements_total": "0+10x100"},
    ),
    Case(
        "RtsQueueNearlyFull",
        {**queued("95x100"), "rts_queue_limit_tasks": "100x100"},
        {**queued("95x100"), "rts_queue_limit_tasks": "0x100"},
    ),
    Case(
        "RtsImpossibleTasks",
        {'rts_queue_tasks{reason="impossible"}': "1x100"},
        {'rts_queue_tasks{reason="impossible"}': "0x100", 'rts_queue_tasks{reason="room"}': "9x100"},
    ),
    Case(
        "RtsDeadlinesMissed",
        {
            'rts_sla_missed_total{task_type="mixed"}': "0+3x100",
            'rts_sla_met_total{task_type="mixed"}': "0+7x100",
        },
        {
            'rts_sla_missed_total{task_type="mixed"}': "0+1x100",
            'rts_sla_met_total{task_type="mixed"}': "0+9x100",
        },
    ),
    Case(
        "RtsWorkerMissesDeadlines",
        {
            'rts_worker_sla_missed_total{worker="w1"}': "0+3x100",
            'rts_worker_sla_met_total{worker="w1"}': "0+1x100",
        },
        {
            'rts_worker_sla_missed_total{worker="w1"}': "0+1x100",
            'rts_worker_sla_met_total{worker="w1"}': "0+3x100",
            'rts_worker_sla_missed_total{worker="other"}': "0+3x100",
            'rts_worker_sla_met_total{worker="other"}': "0+1x100",
        },
    ),
    Case(
        "RtsFallbacks",
        {"rts_decision_fallbacks_total": "0+2x100", 'rts_decisions_total{source="rts"}': "0+100x100"},
        {"rts_decision_fallbacks_total": "2x100", 'rts_decisions_total{source="rts"}': "0+100x100"},
    ),
    Case(
        "RtsSlowDecisions",
        {FAST: "0+90x100", SLOW: "0+100x100", ALL_DECISIONS: "0+100x100"},
        {FAST: "0+100x100", SLOW: "0+100x100", ALL_DECISIONS: "0+100x100"},
    ),
    Case(
        "RtsWorkersLost",
        {'rts_workers_removed_total{how="lost"}': "0x85 1x15"},
        {
            'rts_workers_removed_total{how="left"}': "0x85 1x15",
            'rts_workers_removed_total{how="lost"}': "3x99",
        },
    ),
    Case(
        "RtsWorkersSilent",
        {'rts_workers{state="inactive"}': "1x100"},
        {'rts_workers{state="draining"}': "1x100"},
    ),
    Case("RtsNoWorkers", {'rts_workers{state="active"}': "0x100"}, {'rts_workers{state="active"}': "1x100"}),
    Case(
        "RtsAttemptsLost",
        {
            'rts_attempts_ended_total{end="completed"}': "0+8x100",
            'rts_attempts_ended_total{end="refused"}': "0+1x100",
            'rts_attempts_ended_total{end="lost"}': "0+1x100",
        },
        {
            'rts_attempts_ended_total{end="completed"}': "0+80x100",
            'rts_attempts_ended_total{end="refused"}': "0+1x100",
            'rts_attempts_ended_total{end="failed"}': "0+50x100",
        },
    ),
    Case(
        "RtsEpochsFail",
        {'rts_aod_epochs_total{verdict="failed"}': "0x80 1x20"},
        {'rts_aod_epochs_total{verdict="failed"}': "3x100", "rts_aod_trainer_failures_total": "2x100"},
    ),
    Case(
        "RtsEpochsFail",
        {"rts_aod_trainer_failures_total": "0x80 1x20"},
        {'rts_aod_epochs_total{verdict="kept"}': "0+1x100"},
    ),
    Case(
        "RtsNoEpochs",
        {
            "rts_aod_epoch_interval_seconds": "60x300",
            'rts_aod_epochs_total{verdict="kept"}': "7x300",
            'rts_sla_met_total{task_type="mixed"}': "0+1x300",
            'rts_sla_missed_total{task_type="mixed"}': "0x300",
        },
        {
            # Nothing is to be learned.
            "rts_aod_epoch_interval_seconds": "0x300",
            'rts_aod_epochs_total{verdict="kept"}': "7x300",
            'rts_sla_met_total{task_type="mixed"}': "0+1x300",
            'rts_sla_missed_total{task_type="mixed"}': "0x300",
        },
        FIVE_HOURS,
    ),
    Case(
        "RtsNoEpochs",
        {
            "rts_aod_epoch_interval_seconds": "3600x300",
            'rts_aod_epochs_total{verdict="kept"}': "7x300",
            'rts_sla_met_total{task_type="mixed"}': "0+1x300",
            'rts_sla_missed_total{task_type="mixed"}': "0x300",
        },
        {
            # The next one is not due yet.
            "rts_aod_epoch_interval_seconds": "21600x300",
            'rts_aod_epochs_total{verdict="kept"}': "7x300",
            'rts_sla_met_total{task_type="mixed"}': "0+1x300",
            'rts_sla_missed_total{task_type="mixed"}': "0x300",
        },
        FIVE_HOURS,
    ),
    Case(
        "RtsSamplesInsufficient",
        {
            'rts_aod_samples_sufficient{task_type="gpu-training"}': "0x300",
            'rts_sla_met_total{task_type="gpu-training"}': "0+1x300",
            'rts_sla_missed_total{task_type="gpu-training"}': "0x300",
        },
        {
            # A type that nobody uses.
            'rts_aod_samples_sufficient{task_type="gpu-training"}': "0x300",
            'rts_sla_met_total{task_type="gpu-training"}': "0x300",
            'rts_sla_missed_total{task_type="gpu-training"}': "0x300",
        },
        FIVE_HOURS,
    ),
    Case(
        "RtsParametersSentBack",
        {'rts_params_changes_total{reason="auto-rollback"}': "0x80 1x20"},
        {'rts_params_changes_total{reason="accepted"}': "0x80 1x20"},
    ),
)


def test_each_alert_is_shown_to_fire_and_to_be_silent() -> None:
    rules = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(rules) == len(set(rules))
    assert set(rules) == {case.alert for case in CASES}


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    # Each case is a master of its own, so that one run of promtool judges them all; but whether any master is
    # in office has one answer.
    series, expected = dict[str, Any](), list[dict[str, Any]]()
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": expected}]
    for number, case in enumerate(CASES):
        for given, firing in ((case.fires, True), (case.silent, False)):
            instance = f"m{number}-{firing}"
            here = {of_master(name, instance): values for name, values in given.items()}
            if case.alert == "RtsNoActiveMaster":
                wanted = [firing_at(case, "", firing)]
                tests.append({"interval": "1m", "input_series": here, "promql_expr_test": wanted})
            else:
                series.update(here)
                expected.append(firing_at(case, f',instance="{instance}"', firing))
    for test in tests:
        given = test["input_series"]
        test["input_series"] = [{"series": name, "values": given[name]} for name in given]
    file = tmp_path / "alerts_test.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))


def test_promtool_finds_no_fault_with_the_rules() -> None:
    promtool("check", "rules", str(RULES))


def test_promtool_finds_no_fault_with_the_example() -> None:
    promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_every_alert_says_what_is_and_what_to_look_at() -> None:
    blocks = RULES.read_text().split("- alert: ")[1:]
    for block in blocks:
        assert re.search(r"severity: (critical|warning|info)\n", block), block
        assert re.search(r'summary: ".+\."', block), block
        assert re.search(r'runbook: ".+"', block), block


def test_every_command_and_log_line_of_a_runbook_exists() -> None:
    runbooks = "\n".join(re.findall(r'runbook: "(.+)"', RULES.read_text()))
    commands = re.findall(r"`rts ([a-z-]+(?: (?:show|history|rollback))?)", runbooks)
    assert len(commands) > 15
    help_texts = {name: CliRunner().invoke(app, [*name.split(), "--help"]) for name in set(commands)}
    assert {name for name, told in help_texts.items() if told.exit_code} == set()
    events = (RULES.parents[1] / "LOGGING.md").read_text()
    named = [
        line
        for quoted in re.findall(r"\(((?:`[^`]+`(?:, )?)+)\)", runbooks)
        for line in re.findall("`(.+?)`", quoted)
    ]
    assert len(named) >= 4
    assert [line for line in named if f"| `{line}" not in events] == []


def firing_at(case: Case, labels: str, firing: bool) -> dict[str, Any]:
    """What promtool is to find: the alert fires, or does not."""
    return {
        "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"{labels}}})',
        "eval_time": f"{case.minutes}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
    }


def of_master(series: str, instance: str) -> str:
    """The series with the labels that Prometheus adds."""
    name, _, labels = series.removesuffix("}").partition("{")
    return f'{name}{{job="rts",instance="{instance}"{"," + labels if labels else ""}}}'
