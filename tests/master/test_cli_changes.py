"""What is said of the difference between two parameter sets."""

from __future__ import annotations

from master.cli.changes import changes
from rtscore import GAParams, Risk


def test_equal_sets_differ_in_nothing_whatever_their_meta() -> None:
    assert changes(GAParams(), GAParams(meta={"version": 2})) == []


def test_weights_that_differ_are_named_with_both_values() -> None:
    assert changes(GAParams(), GAParams(risk=Risk(20.0, 1.0))) == ["weights of risk: lateness 10 -> 20"]


def test_the_scores_that_moved_most_come_first_and_no_more_than_asked_for() -> None:
    before = GAParams(affinity={"mixed": {"a": 1.0, "b": 0.5}}, penalty={"a": 0.2})
    after = GAParams(affinity={"mixed": {"a": 1.25, "new": -2.0}}, penalty={"a": 0.6})
    lines = [
        "affinity of mixed for new: +0.00 -> -2.00",
        "affinity of mixed for b: +0.50 -> +0.00",
        "penalty of a: 0.20 -> 0.60",
        "affinity of mixed for a: +1.00 -> +1.25",
    ]
    assert changes(before, after) == lines
    assert changes(before, after, most=2) == lines[:2]


def test_a_score_that_hardly_moved_is_not_worth_a_line() -> None:
    assert changes(GAParams(penalty={"a": 0.2}), GAParams(penalty={"a": 0.203})) == []
