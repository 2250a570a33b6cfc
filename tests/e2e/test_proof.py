"""The judge of a store after faults: what is in order passes, and each broken promise is named."""

from __future__ import annotations

from typing import Any

import pytest
from proof import Records, judge


def records(**changes: Any) -> Records:
    """A task that was lost once and completed, one that failed for want of attempts, a cancelled one."""
    rows: dict[str, Any] = {
        "tasks": {"a": ("completed", 2), "b": ("failed", 3), "c": ("cancelled", 0)},
        "attempts": [
            ("a", 1, "lost"),
            ("a", 2, "completed"),
            *(("b", n, "lost") for n in (1, 2, 3)),
        ],
        "results": [("a", 2, True)],
    }
    return Records(**(rows | changes))


KNOWN: dict[str, Any] = {
    "cancelled": {"c"},
    "seen": {"a": ("completed", 2)},
    "ran": ["a 1", "a 2", "b 1"],
    "max_attempts": 3,
}


def test_a_store_in_order_breaks_nothing() -> None:
    proof = judge(records(), {"a", "b", "c"}, **KNOWN)
    assert proof.broken == []
    assert (proof.acknowledged, proof.results, proof.given_up, proof.ran) == (3, 1, 1, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": {"b": ("failed", 3), "c": ("cancelled", 0)}}, "a was acknowledged and is not stored"),
        ({"results": [("a", 2, True), ("a", 2, True)]}, "a has 2 results"),
        ({"results": [("a", 1, True)]}, "a is completed at attempt 2, its result [(1, True)]"),
        ({"results": [("a", 2, False)]}, "a is completed at attempt 2, its result [(2, False)]"),
        ({"results": []}, "a is completed without a result"),
        ({"tasks": records().tasks | {"a": ("running", 2)}}, "a is still running"),
        ({"tasks": records().tasks | {"b": ("failed", 2)}}, "b is failed without a result"),
        ({"tasks": records().tasks | {"c": ("queued", 0)}}, "c was cancelled and is ('queued', 0)"),
        ({"attempts": [*records().attempts, ("a", 2, "completed")]}, "attempt 2 of a is stored twice"),
        ({"attempts": [("a", 1, "completed"), *list(records().attempts)[1:]]}, "recorded [(1, 'completed')"),
        ({"attempts": [("a", 1, None), *list(records().attempts)[1:]]}, "an attempt of a is still open"),
        ({"attempts": list(records().attempts)[1:]}, "a was placed 2 times and has attempts [2]"),
    ],
)
def test_each_broken_promise_is_named(changes: dict[str, Any], words: str) -> None:
    broken = judge(records(**changes), {"a", "b", "c"}, **KNOWN).broken
    assert any(words in sentence for sentence in broken), broken


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"ran": ["a 2", "a 2"]}, "the command of a 2 ran 2 times"),
        ({"ran": ["a 1"]}, "a is completed and its attempt 2 never ran"),
        ({"seen": {"a": ("failed", 1)}}, "a client was told that a is ('failed', 1)"),
        ({"cancelled": {"a"}}, "a was cancelled and is ('completed', 2)"),
    ],
)
def test_what_was_told_and_what_ran_must_agree_with_the_store(known: dict[str, Any], words: str) -> None:
    broken = judge(records(), {"a", "b", "c"}, **(KNOWN | known)).broken
    assert any(words in sentence for sentence in broken), broken
