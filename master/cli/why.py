"""What a decision was taken from, and what a task waits for, in words and tables of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.cli import output

if TYPE_CHECKING:
    from rtscore.client import Candidate, Decision, Waiting

_NUMBERS = ("RISK", "RUNTIME", "LATE", "LOAD", "AFFINITY", "PENALTY")


def print_decision(decision: Decision) -> None:
    """Print how much the runner-up lost by and why, who else there was, and every candidate."""
    if decision.note:
        print(f"There is no table: {output.clean(decision.note)}.")
        return
    print(output.clean(_runner_up(decision)))
    if counted := _counted(decision):
        print(counted)
    output.print_table(
        ("WORKER", *_NUMBERS),
        [
            (
                candidate.worker_id,
                f"{candidate.risk:.3f}",
                output.duration(candidate.predicted_runtime_s),
                output.duration(candidate.lateness_s),
                f"{candidate.load:.2f}",
                f"{candidate.affinity:+.2f}",
                f"{candidate.penalty:.2f}",
            )
            for candidate in decision.candidates
        ],
        right=_NUMBERS,
    )
    version = f", parameters version {decision.params_version}" if decision.params_version else ""
    print(f"risk = {decision.alpha:g} * late + {decision.beta:g} * load - affinity + penalty{version}")


def print_waiting(waiting: Waiting) -> None:
    """Print what goes first, and what each worker lacks, the nearest to fitting first."""
    if waiting.ahead_ids:
        more = waiting.ahead - len(waiting.ahead_ids)
        others = f" and {more} more" if more else ""
        print(f"Ahead of it: {output.clean(', '.join(waiting.ahead_ids))}{others}.")
    if not waiting.workers:
        return
    print(
        f"Of {_workers(waiting.workers)}, {_shortages(waiting.lacking, waiting.closed) or 'none lacks room'}:"
    )
    output.print_table(
        ("WORKER", "LACKS"),
        [
            (
                lack.worker_id,
                "; ".join(
                    [lack.why] * bool(lack.why)
                    + [
                        f"{name} {output.amount(missing)}"
                        for name, missing in (
                            ("cpu", lack.cpu),
                            ("memory", lack.memory),
                            ("gpu", lack.gpu),
                            ("storage", lack.storage),
                        )
                        if missing
                    ]
                )
                or "nothing",
            )
            for lack in waiting.lacks
        ],
    )
    if (hidden := waiting.workers - len(waiting.lacks)) > 0:
        print(f"And {_workers(hidden)} more, none nearer to taking it.")


def _runner_up(decision: Decision) -> str:
    if decision.margin is None:
        return "There is no runner-up."
    best, second = decision.candidates[:2]
    if decision.margin == 0.0:
        return f"Runner-up {second.worker_id} had the same risk, and comes later in the table of workers."
    reason = _largest_difference(decision, best, second)
    return f"Runner-up {second.worker_id} lost by {decision.margin:.3g}: {reason}."


def _largest_difference(decision: Decision, best: Candidate, second: Candidate) -> str:
    """The term that spoke most against the runner-up."""
    late_s, load = second.lateness_s - best.lateness_s, second.load - best.load
    terms = (
        (decision.alpha * late_s, f"it would be {output.duration(abs(late_s))} later"),
        (decision.beta * load, f"its load is {second.load:.2f} instead of {best.load:.2f}"),
        (
            best.affinity - second.affinity,
            f"its affinity is {second.affinity:+.2f} instead of {best.affinity:+.2f}",
        ),
        (
            second.penalty - best.penalty,
            f"its penalty is {second.penalty:.2f} instead of {best.penalty:.2f}",
        ),
    )
    cost, words = max(terms)
    return f"{words}, which costs {cost:.3g}"


def _counted(decision: Decision) -> str:
    if decision.fitting is None:
        return f"There were {_workers(decision.workers)}; the best {len(decision.candidates)}:"
    others = _shortages(decision.lacking, decision.closed)
    return (
        f"{decision.fitting} of {_workers(decision.workers)} could take it{f'; {others}' if others else ''}."
    )


def _shortages(lacking: dict[str, int], closed: int) -> str:
    parts = [f"{count} {'lacks' if count == 1 else 'lack'} {name}" for name, count in sorted(lacking.items())]
    if closed:
        parts.append(f"{closed} cannot take it now")
    return ", ".join(parts)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
