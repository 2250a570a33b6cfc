"""What is allowed in a submission and in a registration."""

from __future__ import annotations

from master.errors import InvalidRequestError
from master.records import Submission, TaskSpec, WorkerRecord
from rtscore import TASK_TYPES, TauStore, infer_task_type, is_valid_task_type

MAX_AMOUNT = 2.0**20
# An id names files on workers, which have 255 bytes for it and what is appended.
MAX_ID_BYTES = 200
MAX_NAME_BYTES = 256
MAX_IMAGE_BYTES = 1024
MAX_SEARCH = 256
# What Linux passes to a process as one argument, less its end mark.
MAX_COMMAND_BYTES = 131_071
# The year 9999, where dates end.
MAX_INSTANT = 253_402_300_799.0


def spec_of(submission: Submission, tau: TauStore, sla_multiplier: float, now: float) -> TaskSpec:
    """Check a submission and settle what it left open: type, τ, multiplier, deadline.

    Raises
    ------
    InvalidRequestError
        When a field is out of bounds.
    """
    _check_id("task_id", submission.task_id)
    _check_text("user_id", submission.user_id, MAX_NAME_BYTES)
    _check_text("docker_image", submission.docker_image, MAX_IMAGE_BYTES)
    _check_command(submission)
    _check_amounts(submission)
    k = submission.sla_multiplier
    if not 0.0 <= k < float("inf"):
        raise InvalidRequestError(
            "sla_multiplier", f"{k!r} came; a positive number, or 0 for {sla_multiplier:g}, is allowed"
        )
    if not 0.0 <= submission.deadline <= MAX_INSTANT:
        raise InvalidRequestError(
            "deadline",
            f"{submission.deadline!r} came; Unix seconds up to the year 9999, or 0 for multiplier times τ, "
            "are allowed",
        )
    if not 0.0 <= submission.time_limit_s < float("inf"):
        raise InvalidRequestError(
            "time_limit_s", f"{submission.time_limit_s!r} came; seconds, or 0 for no limit, are allowed"
        )
    task_type = submission.task_type
    if not task_type:
        task_type = infer_task_type(submission.cpu, submission.memory, submission.gpu).value
    elif not is_valid_task_type(task_type):
        raise InvalidRequestError("task_type", f"{task_type!r} came; allowed are {', '.join(TASK_TYPES)}")
    expected_s = tau.get_tau(task_type)
    k = k or sla_multiplier
    deadline = submission.deadline or now + k * expected_s
    if not deadline <= MAX_INSTANT:
        raise InvalidRequestError(
            "sla_multiplier", f"{k!r} times τ, {expected_s:g} s, ends after the year 9999; less is allowed"
        )
    return TaskSpec(submission, task_type, expected_s, k, now, deadline)


def check_worker(record: WorkerRecord) -> None:
    """Check a registration.

    Raises
    ------
    InvalidRequestError
        When a field is out of bounds.
    """
    _check_id("worker_id", record.worker_id)
    _check_text("address", record.address, MAX_NAME_BYTES)
    _check_amounts(record)
    if record.cpu == record.memory == record.gpu == record.storage == 0.0:
        raise InvalidRequestError(
            "cpu", "0 came, and nothing of anything else; a worker has something to give"
        )
    for executor in record.executors:
        _check_text("executors", executor, MAX_NAME_BYTES)


def same_content(one: Submission, other: Submission) -> bool:
    """Whether two submissions of one id ask for the same."""
    return one == other or _content(one) == _content(other)


def _content(submission: Submission) -> tuple[object, ...]:
    return tuple(getattr(submission, field) for field in submission.__struct_fields__ if field != "id_given")


def _check_id(field: str, value: str) -> None:
    if not value or value in (".", "..") or "/" in value:
        raise InvalidRequestError(field, f"{value!r} came; a name without slashes is allowed")
    _check_text(field, value, MAX_ID_BYTES)


def _check_text(field: str, value: str, most: int) -> None:
    # isprintable also refuses what has no UTF-8.
    if value.isascii() and value.isprintable() and len(value) <= most:
        return
    if not value.isprintable():
        raise InvalidRequestError(field, f"{value[:most]!r} came; printable characters are allowed")
    if len(value.encode()) > most:
        raise InvalidRequestError(field, f"{len(value.encode())} bytes came; at most {most} are allowed")


def check_search(field: str, text: str) -> None:
    """Raise unless a text may be searched for.

    Raises
    ------
    InvalidRequestError
        When it is too long or has a NUL, which nothing that is searched has.
    """
    if len(text) > MAX_SEARCH or "\0" in text:
        raise InvalidRequestError(
            field,
            f"{len(text)} characters came; at most {MAX_SEARCH} are allowed, and NUL is not one of them",
        )


def _check_amounts(record: Submission | WorkerRecord) -> None:
    if (
        0.0 <= record.cpu <= MAX_AMOUNT
        and 0.0 <= record.memory <= MAX_AMOUNT
        and 0.0 <= record.gpu <= MAX_AMOUNT
        and 0.0 <= record.storage <= MAX_AMOUNT
    ):
        return
    for field in ("cpu", "memory", "gpu", "storage"):
        _check_amount(field, getattr(record, field))


def _check_amount(field: str, value: float) -> None:
    if not 0.0 <= value <= MAX_AMOUNT:
        raise InvalidRequestError(field, f"{value!r} came; a number from 0 to {MAX_AMOUNT:.0f} is allowed")


def _check_command(submission: Submission) -> None:
    command = submission.command
    if not command:
        if not submission.docker_image:
            raise InvalidRequestError(
                "command", "nothing came; a command, a docker_image or both are allowed"
            )
        return
    try:
        length = len(command.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError("command", "text that has no UTF-8 came; Unicode text is allowed") from None
    if length > MAX_COMMAND_BYTES:
        raise InvalidRequestError("command", f"{length} bytes came; at most {MAX_COMMAND_BYTES} are allowed")
    if "\0" in command:
        raise InvalidRequestError("command", "a NUL character came; text without it is allowed")
