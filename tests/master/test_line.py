"""What is ahead of a queued task, against a look at each of them in turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.jobs import Job, Standing, task_of
from master.line import Line
from master.members import NOTHING, amounts_of, plus
from master.queue import TaskQueue, order
from master.records import Submission, TaskSpec, TaskState, TaskStatus

NOW = 1000.0
# Cores, arrival and deadline; few of each, so that many are equal.
drawn = st.tuples(
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([5.0, 20.0, 40.0, 60.0]),
)


def job(seq: int, cpu: float, arrived: float, due: float) -> Job:
    given = Submission(f"t{seq}", command="true", cpu=cpu, memory=1.0)
    spec = TaskSpec(given, "cpu-light", 2.0, NOW + due, 10.0, NOW + arrived)
    return Job(spec, TaskStatus(TaskState.QUEUED), task_of(spec), seq)


def queue_of(tasks: list[tuple[float, float, float]]) -> tuple[TaskQueue, list[Job]]:
    queue = TaskQueue()
    jobs = [job(seq, *task) for seq, task in enumerate(tasks)]
    for one in jobs:
        queue.push(one, NOW, NOW)
    return queue, jobs


@given(st.lists(drawn, max_size=30), st.sets(st.integers(0, 29)), st.sampled_from([0.0, 15.0, 35.0, 55.0]))
def test_what_is_asked_ahead_of_a_task_is_the_sum_over_all_that_go_before_it(
    tasks: list[tuple[float, float, float]], gone: set[int], passed_s: float
) -> None:
    queue, jobs = queue_of(tasks)
    for number in sorted(gone & set(range(len(jobs)))):
        queue.remove(jobs[number])
    queue.advance(NOW + passed_s)
    left = sorted((one for one in jobs if one.standing is not Standing.OUT), key=order)
    line = Line(queue)
    asked = NOTHING
    for place, one in enumerate(left):
        assert line.ahead(one) == pytest.approx(asked)
        hopeful, hopeless = queue.before(one)
        assert {entry[3] for entry in (*hopeful, *hopeless)} == set(left[:place])
        assert len(hopeful) + len(hopeless) == place
        asked = plus(asked, amounts_of(one.task))


def test_a_line_is_looked_at_anew_when_a_quarter_of_it_has_changed() -> None:
    queue, jobs = queue_of([(1.0, 0.0, 60.0)] * 8)
    line = Line(queue)
    for one in jobs[:2]:
        queue.remove(one)
    assert not line.stale(queue)
    queue.remove(jobs[2])
    assert line.stale(queue)
