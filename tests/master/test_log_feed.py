"""What the master holds of an output for its readers, and when it asks for more."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from master.log_feed import KEEP_BYTES, KEEP_RUNS, PIECE_BYTES, Feed
from master.log_relay import LogRelay


class Worker:
    """The other end: notes what is asked, and answers from what was printed."""

    def __init__(self) -> None:
        self.connected = True
        self.asked: list[tuple[int, int, bool]] = []
        self.printed = b""

    def ask(self, number: int, offset: int, wait: bool) -> bool:
        if self.connected:
            self.asked.append((number, offset, wait))
        return self.connected

    def answer(self, feed: Feed, size: int, skip: int = 0, ended: bool = False) -> None:
        number, offset, _ = self.asked.pop(0)
        begin = min(offset + skip, len(self.printed))
        content = self.printed[begin : begin + size]
        feed.take(number, begin, content, printed=len(self.printed), ended=ended, unknown=False)


def feed_of(worker: Worker) -> Feed:
    return Feed(worker.ask, itertools.count(1))


def test_bytes_are_asked_for_once_and_from_where_the_last_ones_ended() -> None:
    worker = Worker()
    worker.printed = b"0123456789"
    feed = feed_of(worker)
    feed.want(wait=True)
    feed.want(wait=True)
    assert worker.asked == [(1, 0, True)]
    worker.answer(feed, 4)
    assert worker.asked == [], "nobody has asked for more"
    feed.want(wait=True)
    assert worker.asked == [(2, 4, True)]


def test_one_who_cannot_wait_asks_although_others_wait() -> None:
    worker = Worker()
    feed = feed_of(worker)
    feed.want(wait=True)
    feed.want(wait=False)
    feed.want(wait=False)
    feed.want(wait=True)
    assert worker.asked == [(1, 0, True), (2, 0, False)]


def test_an_answer_to_another_read_is_dropped() -> None:
    worker = Worker()
    feed = feed_of(worker)
    feed.want(wait=True)
    feed.take(7, 0, b"stale", printed=5, ended=True, unknown=False)
    assert (feed.end, feed.ended, feed.answers) == (0, False, 0)


def test_a_worker_that_comes_back_is_asked_again_from_the_same_byte() -> None:
    worker = Worker()
    worker.printed = b"0123456789"
    feed = feed_of(worker)
    wake = asyncio.Event()
    feed.readers.add(wake)
    feed.want(wait=True)
    worker.answer(feed, 4)
    feed.want(wait=True)
    worker.asked.clear()
    worker.connected = False
    wake.clear()
    feed.disconnected()
    assert wake.is_set()
    feed.want(wait=True)
    assert worker.asked == []
    worker.connected = True
    feed.want(wait=True)
    assert [offset for _, offset, _ in worker.asked] == [4]


@given(
    st.lists(
        st.tuples(st.integers(1, 2 * PIECE_BYTES), st.sampled_from((0, 0, 0, 1, 1000))),
        min_size=1,
        max_size=80,
    ),
    st.lists(st.booleans(), min_size=1),
)
def test_a_reader_gets_every_byte_that_is_kept_in_order_and_the_number_of_all_others(
    answers: list[tuple[int, int]], turns: list[bool]
) -> None:
    worker = Worker()
    worker.printed = bytes(n % 251 for n in range(sum(size + skip for size, skip in answers)))
    feed = feed_of(worker)
    position, missed, got = 0, 0, bytearray()
    turn = itertools.cycle(turns)
    for n, (size, skip) in enumerate(answers):
        feed.want(wait=True)
        worker.answer(feed, size, skip)
        held = sum(len(run) for _, run in feed._runs)
        assert held <= KEEP_BYTES
        assert len(feed._runs) <= KEEP_RUNS
        while (next(turn) or n == len(answers) - 1) and (piece := feed.after(position)) is not None:
            assert 0 < len(piece.content) <= PIECE_BYTES
            assert piece.end == position + piece.missed + len(piece.content)
            assert piece.content == worker.printed[position + piece.missed : piece.end]
            position = piece.end
            missed += piece.missed
            got += piece.content
    assert position == feed.end
    assert missed + len(got) == feed.end


def test_numbers_of_reads_cost_nothing_once_they_are_used() -> None:
    """A follower of a busy command uses a hundred of them a second."""
    numbers = LogRelay()._numbers
    next(numbers)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            next(numbers)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
