"""What stands above the panes: the cluster in numbers, and what its queue waits for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from master.cli import output
from master.cli.top.picture import Picture, Rates
from master.cli.top.text import Line, one_line, wrap
from rtscore.client import TaskInfo

_INDENT = 9


def header(
    address: str, picture: Picture, rates: Rates, width: int, *, short: bool = False
) -> list[Line]:
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


def waits_for(queued: Sequence[TaskInfo]) -> list[tuple[str, int]]:
    """What tasks wait for, without what is of one task alone, and how many do; the most frequent first."""
    reasons = Counter(re.split(r"[:;(]", task.reason)[0].strip() for task in queued if task.reason)
    return reasons.most_common()


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
    judged = sum(worker.tasks_finished for worker in picture.workers)
    met = sum(worker.sla_met for worker in picture.workers)
    segments: list[Line] = [[(output.share(met, judged), "bold"), (f" of all {judged}", "")]]
    if rates.finished is not None:
        recent = output.share(rates.recent_met, rates.recent_finished)
        segments.insert(0, [(recent, "bold"), (f" of {rates.recent_finished} in the last minute", "")])
    return segments


def _workers(picture: Picture) -> list[Line]:
    workers = picture.workers
    states = Counter(worker.state for worker in workers)
    if not workers:
        return [[("none", "bold")], [("start one with `rts worker`", "")]]
    segments = [_number(count, state) for state, count in states.most_common()]
    for name, total, available in (
        ("cpu", sum(w.total_cpu for w in workers), sum(w.cpu_avail for w in workers)),
        ("mem", sum(w.total_memory for w in workers), sum(w.memory_avail for w in workers)),
        ("gpu", sum(w.total_gpu for w in workers), sum(w.gpu_avail for w in workers)),
    ):
        segments.append([(f"{name} ", ""), (output.share(total - available, total), "bold")])
    return segments


def _queue(picture: Picture) -> list[Line]:
    segments: list[Line] = [[(str(picture.stats.queued), "bold"), (" wait", "")]]
    if reasons := waits_for(picture.queued):
        what, count = reasons[0]
        newest = "" if len(picture.queued) >= picture.stats.queued else "the newest "
        segments.append([(f"{one_line(what)} ({count} of {newest}{len(picture.queued)})", "")])
    return segments
