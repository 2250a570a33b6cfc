"""What stands above the panes: the cluster in numbers, and what its queue waits for."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from master.cli import output
from master.cli.top.picture import SLA_WINDOW_S, Picture, Rates
from master.cli.top.text import Line, one_line, wrap

_INDENT = 9


def header(address: str, picture: Picture, rates: Rates, width: int, *, short: bool = False) -> list[Line]:
    """The lines of the header, as many as the width asks for; a `short` one leaves out what matters least."""
    stats = picture.stats
    version = f", parameters v{stats.params_version}" if stats.params_version else ""
    first: list[Line] = [
        [("rts top", "bold")],
        [(one_line(address), "bold")],
        [(f"{stats.scheduler}{version}", "")],
        [(f"up {output.duration(max(0.0, picture.at - stats.started_at))}", "")],
    ]
    lines = wrap(first, width, _INDENT)[: 1 if short else None]
    for name, segments in (
        ("tasks", _tasks(picture)),
        ("rates", _rates(picture, rates)),
        ("SLA met", _sla(picture, rates)),
        ("workers", _workers(picture)),
        ("queue", _queue(picture)),
    ):
        head = (f"{name:<{_INDENT}}", "dim")
        wrapped = wrap([[head, *segments[0]], *segments[1:]], width, _INDENT)
        lines += wrapped[: 1 if short and name != "tasks" else None]
    return lines


def clock(unix_s: float) -> str:
    """The local time of day."""
    return datetime.fromtimestamp(unix_s).strftime("%H:%M:%S")


def _number(count: int, name: str, style: str = "") -> Line:
    return [(str(count), "bold"), (f" {name}", style if count else "")]


def _tasks(picture: Picture) -> list[Line]:
    stats = picture.stats
    return [
        _number(stats.queued, "queued"),
        _number(stats.assigned, "assigned"),
        _number(stats.running, "running", "busy"),
        _number(stats.completed, "completed", "good"),
        _number(stats.failed, "failed", "bad"),
        _number(stats.cancelled, "cancelled", "warn"),
    ]


def _rates(picture: Picture, rates: Rates) -> list[Line]:
    stats = picture.stats
    named = ((rates.submitted, "submitted"), (rates.finished, "finished"))
    return [
        *([(f"{rate:.1f}/s", "bold"), (f" {name}", "")] for rate, name in named if rate is not None),
        [
            ("decision p50 ", ""),
            (f"{stats.decision_p50_us:.1f}", "bold"),
            (", p99 ", ""),
            (f"{stats.decision_p99_us:.1f}", "bold"),
            (" µs", ""),
        ],
    ]


def _sla(picture: Picture, rates: Rates) -> list[Line]:
    stats = picture.stats
    if picture.more_workers:
        met, judged = stats.sla_met_since_start, stats.sla_met_since_start + stats.sla_missed_since_start
        which = f"{judged} since the master's start"
    else:
        met = sum(worker.sla_met for worker in picture.workers)
        judged = sum(worker.tasks_finished for worker in picture.workers)
        which = f"all {judged}"
    segments: list[Line] = [[(output.share(met, judged), "bold"), (f" of {which}", "")]]
    if rates.finished is not None:
        count = rates.met + rates.missed
        recent = output.share(rates.met, count)
        span = "minute" if rates.judged_s <= SLA_WINDOW_S else output.duration(rates.judged_s)
        segments.insert(0, [(recent, "bold"), (f" of {count} in the last {span}", "")])
    return segments


def _workers(picture: Picture) -> list[Line]:
    stats = picture.stats
    if not picture.workers:
        return [[("none", "bold")], [("start one with `rts worker`", "")]]
    by_count = sorted(stats.workers.items(), key=lambda pair: -pair[1])
    segments = [_number(count, state) for state, count in by_count if count]
    for name, total, available in (
        ("cpu", stats.total_cpu, stats.cpu_avail),
        ("mem", stats.total_memory, stats.memory_avail),
        ("gpu", stats.total_gpu, stats.gpu_avail),
    ):
        segments.append([(f"{name} ", ""), (output.share(total - available, total), "bold")])
    return segments


def _queue(picture: Picture) -> list[Line]:
    stats = picture.stats
    segments: list[Line] = [[(str(stats.queued), "bold"), (" wait", "")]]
    if stats.queued_hopeless:
        segments.append([(str(stats.queued_hopeless), "bold"), (" cannot meet their deadline", "bad")])
    reasons: Counter[str] = Counter()
    for reason, count in stats.queue_reasons:
        reasons[reason] += count
    for reason, count in reasons.most_common(1):
        # Only the largest groups of like tasks have told theirs.
        more = "+" if reasons.total() < stats.queued else ""
        segments.append([(f"{count}{more}: {one_line(reason)}", "")])
    return segments
