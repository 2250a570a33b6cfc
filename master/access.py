"""Who calls, and what is theirs: the caller's identity, and the rules on users' tasks and workers' ids."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from enum import StrEnum

import msgspec

from master.errors import MasterError, PermissionDeniedError
from master.interceptors import Context
from master.records import StoredTask
from rtscore.rpc import scheduler_pb2


class Role(StrEnum):
    """What a token is for."""

    SUBMIT = "submit"
    WORKER = "worker"
    ADMIN = "admin"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A caller.

    `name` is the user whose tasks they are. `worker_id` is the one worker that it may speak for; empty: one
    that its certificate names, or with `any_worker` every one.
    """

    name: str
    role: Role
    worker_id: str = ""
    any_worker: bool = False

    @property
    def sees_all(self) -> bool:
        """Whether other users' tasks are its business."""
        return self.role is Role.ADMIN


# Who calls where no tokens are asked for. Certificates, where they are, still say which worker one is.
ANYONE = Identity(name="", role=Role.ADMIN, any_worker=True)
ANYONE_CERTIFIED = Identity(name="", role=Role.ADMIN)

# Without a default: a call that came past the interceptor fails instead of being anyone's.
CALLER: ContextVar[Identity] = ContextVar("caller")


def submitter(user_id: str) -> str:
    """The user of a submission that names this one, or none.

    Raises
    ------
    PermissionDeniedError
        When it is another's.
    """
    caller = CALLER.get()
    if not user_id:
        return caller.name
    return user_id if caller.sees_all else _own_name(caller, user_id, "submit for")


def claim(specs: Iterable[scheduler_pb2.TaskSpec]) -> dict[int, MasterError]:
    """Make the caller the user of a batch; the answer has, by position, those that may not be theirs."""
    denied: dict[int, MasterError] = {}
    if not CALLER.get().name:
        return denied
    for number, spec in enumerate(specs):
        try:
            spec.user_id = submitter(spec.user_id)
        except PermissionDeniedError as error:
            denied[number] = error
    return denied


def listed_user(user_id: str) -> str:
    """Whose tasks a listing of this user's (empty: everyone's) may show; empty: everyone's.

    Raises
    ------
    PermissionDeniedError
        When it is another's.
    """
    caller = CALLER.get()
    if caller.sees_all:
        return user_id
    return _own_name(caller, user_id, "see") if user_id else caller.name


def may_see(user_id: str) -> bool:
    """Whether the caller may see this user's tasks."""
    caller = CALLER.get()
    return caller.sees_all or user_id == caller.name


def require_task(task: StoredTask) -> StoredTask:
    """The task, if it is the caller's.

    Raises
    ------
    PermissionDeniedError
        When it is another user's. That it exists is no secret: submitting its id says so too.
    """
    caller = CALLER.get()
    if not may_see(task.spec.submission.user_id):
        raise PermissionDeniedError(
            f"task {task.spec.task_id!r} belongs to another user; {caller.name} may see and cancel only "
            "their own tasks"
        )
    return task


def require_worker(worker_id: str, context: Context) -> None:
    """Return when the caller may speak for this worker.

    Raises
    ------
    PermissionDeniedError
        When neither the token nor the certificate is this worker's.
    """
    caller = CALLER.get()
    if caller.any_worker or (caller.worker_id and caller.worker_id == worker_id):
        return
    who = f"the token {caller.name}" if caller.name else "the connection"
    if caller.worker_id:
        raise PermissionDeniedError(
            f"{who} speaks for worker {caller.worker_id!r} only, not for {worker_id!r}"
        )
    names = certified_names(context)
    if worker_id not in names:
        named = f"names {', '.join(map(repr, names))}" if names else "is missing"
        raise PermissionDeniedError(
            f"{who} speaks for the worker that its certificate names, not for {worker_id!r}; the certificate "
            f"{named}"
        )


def certified_names(context: Context) -> list[str]:
    """The common name and the alternative names of the client's certificate, which TLS has verified."""
    found = context.auth_context()
    keys = ("x509_common_name", "x509_subject_alternative_name")
    return list(dict.fromkeys(name.decode("utf-8", "replace") for key in keys for name in found.get(key, ())))


def _own_name(caller: Identity, user_id: str, verb: str) -> str:
    if user_id != caller.name:
        raise PermissionDeniedError(
            f"user_id: {user_id!r} came; {caller.name} may {verb} {caller.name} only, an admin anyone"
        )
    return user_id
