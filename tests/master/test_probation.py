"""A new set's first tasks against the replay's promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.probation import NEEDED, Probation, Verdict


def judged(met: int, *, promised: float = 0.9, tasks: int = 900) -> Verdict | None:
    """The verdict after `NEEDED` tasks of which so many were in time."""
    probation = Probation(100.0, promised, tasks)
    verdicts = [probation.add(100.0, number < met) for number in range(NEEDED)]
    assert verdicts[:-1] == [None] * (NEEDED - 1)
    return verdicts[-1]


def test_what_is_worse_than_the_promise_by_more_than_the_error_bar_is_sent_back() -> None:
    # Two standard errors of 0.9 among 200 and 900 tasks are 4.7 percentage points.
    assert Probation(0.0, 0.9, 900).bar == pytest.approx(0.0470, abs=0.001)
    assert judged(180) == "kept its promise"
    assert judged(171) == "kept its promise"
    assert judged(170) == "broke its promise"
    assert judged(200) == "kept its promise"


def test_a_promise_of_few_tasks_is_believed_less() -> None:
    assert judged(170, tasks=30) == "kept its promise"


def test_a_promise_of_perfection_still_has_an_error_bar() -> None:
    assert judged(199, promised=1.0, tasks=300) == "kept its promise"
    assert judged(180, promised=1.0, tasks=300) == "broke its promise"


def test_tasks_that_were_submitted_before_count_for_nobody() -> None:
    probation = Probation(100.0, 0.9, 900)
    for _ in range(2 * NEEDED):
        assert probation.add(99.9, False) is None
    assert (probation.seen, probation.met) == (0, 0)


@given(st.floats(0.0, 1.0), st.integers(0, 10_000), st.lists(st.booleans(), max_size=NEEDED))
def test_there_is_always_a_bar_and_a_sentence(promised: float, tasks: int, outcomes: list[bool]) -> None:
    probation = Probation(0.0, promised, tasks)
    for met in outcomes:
        probation.add(1.0, met)
    assert 0.0 < probation.bar < 2.0
    assert f"of {len(outcomes)} tasks" in str(probation)
