"""What is remembered of epochs: the present one, the last fifty, and every verdict."""

from __future__ import annotations

from master.epoch_log import KEPT, EpochLog
from master.epochs import EpochReply


def test_of_two_epochs_the_one_that_was_asked_for_first_runs() -> None:
    log = EpochLog()
    first = log.begin(1.0, 10, requested=False)
    second = log.begin(1.0, 10, requested=False)
    assert log.running is first
    log.end(first, 3.0, "kept", "no better")
    assert log.running is second
    log.end(second, 4.0, "kept", "no better")
    assert log.running is None


def test_the_last_fifty_are_kept_without_their_sets_and_every_verdict_is_counted() -> None:
    log = EpochLog()
    evidence = {"regression": {"types": {"mixed": {"used": 7, "enough": False}}}}
    reply = EpochReply(
        verdict="accepted", reason="better", params={"a": 1}, model={"b": 2}, evidence=evidence
    )
    for number in range(KEPT + 5):
        epoch = log.begin(float(number), 10, requested=number % 2 == 0)
        log.end(epoch, number + 0.5, "accepted", "better", reply=reply, params_version=number)
    assert len(log.past) == KEPT
    assert log.verdicts == {"accepted": KEPT + 5}
    newest = log.past[-1]
    assert (newest.started_at, newest.duration_s, newest.params_version) == (54.0, 0.5, 54)
    assert newest.samples == {"mixed": 7}
    assert newest.reply is not None
    assert newest.reply.params is None
    assert newest.reply.model is None


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    log = EpochLog()
    log.end(log.begin(10.0, 1, requested=True), 5.0, "failed", "it died")
    assert log.past[-1].duration_s == 0.0
    assert log.past[-1].samples == {}
