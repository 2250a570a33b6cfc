"""What a store must hold after faults, judged from its rows and from what clients and commands noted."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

ENDED = ("completed", "failed", "cancelled")
NO_OUTCOME = ("lost", "refused", "cancelled")


@dataclasses.dataclass
class Records:
    """The rows of a store, of whichever kind.

    Attributes
    ----------
    tasks : dict
        State and last attempt of each task.
    attempts : list of tuple
        (task, attempt, how it ended; None while it is open).
    results : list of tuple
        (task, attempt, success).
    """

    tasks: Mapping[str, tuple[str, int]]
    attempts: Collection[tuple[str, int, str | None]]
    results: Collection[tuple[str, int, bool]]


@dataclasses.dataclass
class Proof:
    """What was found; `broken` is empty when everything that was promised holds."""

    acknowledged: int
    states: Counter[str]
    attempts: Counter[str]
    results: int
    ran: int
    given_up: int
    broken: list[str]

    def __str__(self) -> str:
        lines = (
            ("acknowledged tasks", self.acknowledged),
            ("of them lost", sum("is not stored" in sentence for sentence in self.broken)),
            ("tasks in the store", _counted(self.states)),
            ("attempts", _counted(self.attempts)),
            ("results", f"{self.results}, one a task, each of its last attempt"),
            ("commands begun", self.ran),
            ("failed for want of attempts", self.given_up),
            ("promises broken", len(self.broken)),
        )
        return "\n".join(f"{name:<28} {value}" for name, value in lines)


def judge(
    records: Records,
    acknowledged: Iterable[str],
    *,
    cancelled: Iterable[str] = (),
    seen: Mapping[str, tuple[str, int]] | None = None,
    ran: Iterable[str] = (),
    max_attempts: int,
) -> Proof:
    """Compare a store in which all work has ended with what is known from outside.

    Parameters
    ----------
    records : Records
    acknowledged, cancelled : iterable of str
        Tasks whose submission, whose cancellation was confirmed to a client.
    seen : mapping
        State and attempt that a client was shown as a task's last.
    ran : iterable of str
        A line "<task> <attempt>" of each command that began.
    max_attempts : int
        After so many placements a task may fail without a result.
    """
    broken: list[str] = []
    acknowledged = set(acknowledged)
    begun = Counter(ran)
    results: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for task, attempt, success in records.results:
        results[task].append((attempt, bool(success)))
    ends: dict[str, dict[int, str | None]] = defaultdict(dict)
    for task, attempt, end in records.attempts:
        if attempt in ends[task]:
            broken.append(f"attempt {attempt} of {task} is stored twice")
        ends[task][attempt] = end
    given_up = 0

    broken += [f"{task} was acknowledged and is not stored" for task in acknowledged - records.tasks.keys()]
    broken += [f"{task} has a result and is not stored" for task in results.keys() - records.tasks.keys()]
    broken += [f"the command of {line} ran {n} times" for line, n in begun.items() if n > 1]
    for task in cancelled:
        if records.tasks.get(task, ("",))[0] != "cancelled":
            broken.append(f"{task} was cancelled and is {records.tasks.get(task)}")
    for task, told in (seen or {}).items():
        if records.tasks.get(task) != told:
            broken.append(f"a client was told that {task} is {told}, and it is {records.tasks.get(task)}")
    for task, (state, last) in records.tasks.items():
        outcomes, placed = results.get(task, []), ends.get(task, {})
        recorded = [(number, end) for number, end in placed.items() if end not in NO_OUTCOME]
        if state not in ENDED:
            broken.append(f"{task} is still {state}")
        if len(outcomes) > 1:
            broken.append(f"{task} has {len(outcomes)} results")
        if any(end is None for end in placed.values()):
            broken.append(f"an attempt of {task} is still open")
        if sorted(placed) != list(range(1, last + 1)):
            broken.append(f"{task} was placed {last} times and has attempts {sorted(placed)}")
        if not outcomes and state == "failed" and last == max_attempts and not recorded:
            given_up += 1
        elif outcomes:
            attempt, success = outcomes[0]
            if (
                state != ("completed" if success else "failed")
                or recorded != [(last, state)]
                or attempt != last
            ):
                broken.append(
                    f"{task} is {state} at attempt {last}, its result {outcomes}, recorded {recorded}"
                )
        elif state in ("completed", "failed") or recorded:
            broken.append(f"{task} is {state} without a result, recorded {recorded}")
        if begun and state == "completed" and not begun[f"{task} {last}"]:
            broken.append(f"{task} is completed and its attempt {last} never ran")
    return Proof(
        acknowledged=len(acknowledged),
        states=Counter(state for state, _ in records.tasks.values()),
        attempts=Counter(str(end) for _, _, end in records.attempts),
        results=len(records.results),
        ran=sum(begun.values()),
        given_up=given_up,
        broken=broken,
    )


def _counted(counts: Counter[str]) -> str:
    each = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
    return f"{counts.total()}: {each}"
