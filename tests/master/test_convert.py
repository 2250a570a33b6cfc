"""Messages and records: nothing is lost between them, and what cannot be is refused."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from master import convert
from master.errors import InvalidRequestError, UnknownTaskError
from master.forecast import Prediction
from master.records import StoredTask, Submission, TaskSpec, TaskState, TaskStatus
from rtscore.client.calls import task_info
from rtscore.client.types import TaskInfo
from rtscore.rpc import cluster_pb2, scheduler_pb2

words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
amounts = st.floats(0.0, 2.0**20)
instants = st.floats(0.0, 2.5e11)

submissions = st.builds(
    Submission,
    task_id=words.filter(bool),
    user_id=words,
    command=words,
    docker_image=words,
    cpu=amounts,
    memory=amounts,
    gpu=amounts,
    storage=amounts,
    task_type=st.sampled_from(["", "mixed", "gpu-training"]),
    sla_multiplier=amounts,
    deadline=instants,
    time_limit_s=amounts,
    id_given=st.just(True),
)
statuses = st.builds(
    TaskStatus,
    state=st.sampled_from(TaskState),
    attempt=st.integers(0, 9),
    worker_id=words,
    assigned_at=instants,
    started_at=instants,
    finished_at=instants,
    runtime_s=amounts,
    exit_code=st.none() | st.integers(-(2**31), 2**31 - 1),
    sla_success=st.none() | st.booleans(),
    reason=words,
).filter(lambda status: status.attempt > 0 or status.state is not TaskState.QUEUED)
tasks = st.builds(
    StoredTask,
    st.builds(
        TaskSpec,
        submission=submissions,
        task_type=st.sampled_from(["mixed", "cpu-light"]),
        tau=amounts,
        sla_multiplier=amounts,
        submitted_at=instants,
        deadline=instants,
    ),
    # One that has never been placed has nothing to tell.
    st.just(TaskStatus()) | statuses,
)


def _over_the_wire(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


@given(submissions)
def test_a_submission_arrives_as_it_was_sent(submission: Submission) -> None:
    fields = msgspec.structs.asdict(submission)
    del fields["id_given"]
    assert convert.submission(_over_the_wire(scheduler_pb2.TaskSpec(**fields))) == submission


def test_a_submission_without_an_id_gets_one_of_its_own() -> None:
    first, second = (convert.submission(scheduler_pb2.TaskSpec(command="true")) for _ in range(2))
    assert not first.id_given
    assert len(first.task_id) == 32
    assert first.task_id != second.task_id


@given(tasks)
def test_a_client_reads_every_field_of_a_task(task: StoredTask) -> None:
    spec, status = task.spec, task.status
    wanted = {
        **msgspec.structs.asdict(spec.submission),
        **msgspec.structs.asdict(spec),
        **msgspec.structs.asdict(status),
        "state": status.state.value,
    }
    prediction = Prediction(5.5, 7.25, 0.125)
    wanted |= {"predicted_start_at": 5.5, "predicted_finish_at": 7.25, "deadline_chance": 0.125}
    info = task_info(_over_the_wire(convert.task_info(task, prediction)))
    assert {name: getattr(info, name) for name in TaskInfo.__struct_fields__} == {
        name: wanted[name] for name in TaskInfo.__struct_fields__
    }


@given(tasks)
def test_what_is_not_predicted_is_not_told(task: StoredTask) -> None:
    for prediction in (None, Prediction()):
        info = task_info(_over_the_wire(convert.task_info(task, prediction)))
        assert (info.predicted_start_at, info.predicted_finish_at, info.deadline_chance) == (0.0, 0.0, None)


@given(tasks)
def test_a_batch_is_answered_as_single_tasks_are(task: StoredTask) -> None:
    prediction = Prediction(5.5, 7.25, 0.125)
    reply = convert.submit_reply([task, UnknownTaskError("no")], lambda error: 5, lambda task_id: prediction)
    assert reply.outcomes[0].task == convert.task_info(task, prediction)
    assert (reply.outcomes[1].error.code, reply.outcomes[1].error.message) == (5, "no")


@given(tasks)
def test_a_worker_gets_what_it_needs_to_run_a_task(task: StoredTask) -> None:
    message = cluster_pb2.Task()
    convert.fill_assignment(message, task.spec, "w1", 3)
    message = _over_the_wire(message)
    given_ = task.spec.submission
    assert (message.task_id, message.command, message.docker_image, message.user_id) == (
        given_.task_id,
        given_.command,
        given_.docker_image,
        given_.user_id,
    )
    assert (message.req_cpu, message.req_memory, message.req_gpu, message.req_storage) == (
        given_.cpu,
        given_.memory,
        given_.gpu,
        given_.storage,
    )
    assert (message.target_worker_id, message.attempt, message.time_limit_s, message.task_type) == (
        "w1",
        3,
        given_.time_limit_s,
        task.spec.task_type,
    )


@given(tasks)
def test_a_page_token_is_read_back_exactly(task: StoredTask) -> None:
    place = (task.spec.submitted_at, task.spec.task_id)
    request = scheduler_pb2.ListTasksRequest(page_token=convert.encode_token(place))
    assert convert.task_query(request).after == place


@given(st.text(max_size=30).filter(bool))
def test_any_other_page_token_is_refused_in_a_sentence(token: str) -> None:
    try:
        request = scheduler_pb2.ListTasksRequest(page_token=token)
    except ValueError:  # not UTF-8; it never reaches the wire
        return
    with pytest.raises(InvalidRequestError, match="next_page_token"):
        convert.task_query(request)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, -1.0])
def test_instants_of_a_broken_clock_count_as_none(broken: float) -> None:
    result = cluster_pb2.TaskResult(
        task_id="t", status="success", started_at=broken, finished_at=broken, runtime_s=broken
    )
    event = convert.finished("w1", result)
    assert (event.started_at, event.finished_at, event.runtime_s) == (0.0, 0.0, 0.0)


def test_no_worker_can_count_more_output_than_a_store_can() -> None:
    for told, kept in ((7, 7), (2**64 - 1, 2**63 - 1)):
        result = cluster_pb2.TaskResult(task_id="t", status="success", logs_offset=told)
        assert convert.finished("w1", result).logs_offset == kept


def test_every_state_has_its_number_and_back() -> None:
    for state in TaskState:
        number = scheduler_pb2.TaskState.Value(state.name)
        query = convert.task_query(scheduler_pb2.ListTasksRequest(states=[number]))
        assert query.states == {state}
