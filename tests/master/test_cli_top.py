"""`rts top` without a terminal: rates of a course of counters, and pages that are filled later."""

from __future__ import annotations

import threading
import time

import client_samples
import msgspec
import pytest
from client_samples import TASK

from master.cli.top.columns import WORKER_COLUMNS
from master.cli.top.pane import Pane
from master.cli.top.picture import Course, Picture, Wanted
from master.cli.top.poller import Poller
from master.cli.top.text import Line
from master.cli.top.view import View
from master.validate import MAX_SEARCH
from rtscore.client import ClusterStats, MasterClient, RequestError, WorkerInfo

STATS = msgspec.structs.replace(client_samples.STATS, queued=1, now=100.0)


def later(seconds: float, tasks: int) -> ClusterStats:
    return msgspec.structs.replace(
        STATS,
        now=STATS.now + seconds,
        submitted_since_start=tasks,
        finished_since_start=tasks,
        sla_met_since_start=tasks,
    )


def test_looks_that_are_far_apart_have_rates_too() -> None:
    course = Course()
    assert course.add(later(0.0, 0)).submitted is None
    rates = course.add(later(30.0, 60))
    assert (rates.submitted, rates.met, rates.judged_s) == (2.0, 60, 60.0)
    rates = course.add(later(330.0, 360))
    assert (rates.finished, rates.met, rates.judged_s) == (1.0, 300, 300.0)


def test_rates_are_of_the_last_seconds_where_looks_are_close() -> None:
    course = Course()
    for second in range(20):
        rates = course.add(later(float(second), second * 5))
    assert rates.submitted == 5.0
    assert rates.met == 95


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


def showing(client: MasterClient, *task_ids: str) -> tuple[View, Poller]:
    """A view of queued tasks whose poller asks only what keys ask."""
    view = View("127.0.0.1:9")
    poller = Poller(client, 3600.0, view.wanted)
    view.attach(poller)
    poller.picture = Picture(
        STATS.now, STATS, [], [], [msgspec.structs.replace(TASK, task_id=each) for each in task_ids]
    )
    view.take()
    view.key("t")
    return view, poller


def test_an_answer_fills_its_page_unless_that_has_been_left() -> None:
    # No master listens there: its answer is the sentence that says so.
    with MasterClient("127.0.0.1:9", retry_for_s=0.0) as client:
        view, poller = showing(client, "t1", "t2")
        view.key("enter")
        assert "asking the master" in text(view.draw(100, 30))
        wait_for(poller)
        assert "asking the master" not in text(view.draw(100, 30))
        assert "task t1" in text(view.draw(100, 30))
        view.key("q")
        view.key("enter")
        view.key("q")
        wait_for(poller)
        shown = text(view.draw(100, 30))
        assert "task t1" not in shown
        assert "t2" in shown


def wait_for(poller: Poller) -> None:
    deadline = time.monotonic() + 20.0
    while not poller.deliver():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_leaves_while_the_master_is_asked_hears_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = list[threading.ExceptHookArgs]()
    monkeypatch.setattr(threading, "excepthook", errors.append)
    closed = threading.Event()
    before = set(threading.enumerate())

    def wanted() -> Wanted:
        closed.wait(20.0)
        return Wanted()

    def question(client: MasterClient) -> ClusterStats:
        closed.wait(20.0)
        return client.stats()

    with MasterClient("127.0.0.1:9", retry_for_s=0.0) as client:
        poller = Poller(client, 0.01, wanted)
        poller.start()
        poller.ask(question, lambda answer: None, lambda reason: None)
        asking = [thread for thread in threading.enumerate() if thread not in before]
        poller.leave()
    closed.set()
    assert len(asking) >= 2
    for thread in asking:
        if thread.name.startswith("top"):
            thread.join(20.0)
            assert not thread.is_alive()
    assert errors == []


def test_a_refusal_is_not_called_an_absence() -> None:
    with MasterClient("127.0.0.1:9", retry_for_s=0.0) as client:
        view, poller = showing(client, "t1")
        poller.error = RequestError("UNAUTHENTICATED", "this token is not known")
        view.take()
        assert "The master refuses, trying again: this token is not known" in text(view.draw(100, 30))


def test_the_master_is_asked_for_as_much_of_a_filter_as_it_takes() -> None:
    with MasterClient("127.0.0.1:9", retry_for_s=0.0) as client:
        view, _ = showing(client, "t1")
        for key in ("/", *"x" * 500):
            view.key(key)
        assert view.wanted().task_text == "x" * MAX_SEARCH


def test_amounts_of_large_workers_are_not_cut() -> None:
    worker = WorkerInfo(
        worker_id="w1",
        state="active",
        total_cpu=128.0,
        total_memory=1024.0,
        total_gpu=16.0,
        total_storage=0.0,
        cpu_avail=15.75,
        memory_avail=0.5,
        gpu_avail=0.25,
        storage_avail=0.0,
        load=0.5,
        live_attempts=9,
        last_heartbeat_at=1.0,
        tasks_finished=0,
        sla_met=0,
    )
    pane = Pane(WORKER_COLUMNS, lambda row: "")
    pane.take([worker], 1.0)
    (_, row) = pane.lines(80, 2, 1.0)
    said = ["w1", "active", "||||....", "0.50", "112.25/128", "1023.5/1024", "15.75/16", "9", "0", "-"]
    assert "".join(text for text, _ in row).split() == said
