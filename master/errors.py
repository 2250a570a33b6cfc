"""What the master answers to a request that it cannot carry out; nothing has changed when one is raised.

::

    MasterError
    ├── InvalidRequestError     a field is wrong: names it, what came, what is allowed
    ├── TaskExistsError         the id is taken by a task of other content
    ├── UnknownTaskError        no such task
    ├── UnknownWorkerIdError    no such worker
    ├── UnauthenticatedError    nobody's token, or none
    ├── PermissionDeniedError   the caller's role, or another's task or worker, does not admit it
    ├── NotAllowedError         the state of the task or worker does not admit it
    ├── StoreUnavailableError   the store did not take the write; try again
    ├── WorkerUnreachableError  the worker that was asked did not answer
    ├── LimitReachedError       a limit of the master's is reached: names it
    ├── StoppingError           the master is stopping; try again when it is back
    ├── TooSlowError            the other side does not read what it asked for
    ├── WorkerIdTakenError      another process speaks for the worker
    ├── ReplacedError           a newer session of the same worker took over
    └── UnsupportedError        this is not served here
"""

from __future__ import annotations


class MasterError(Exception):
    """The root of what a client can be told."""


class InvalidRequestError(MasterError):
    """A field of the request is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class TaskExistsError(MasterError):
    """The task id is taken by a task of other content."""


class UnknownTaskError(MasterError):
    """No task has this id."""


class UnknownWorkerIdError(MasterError):
    """No worker has this id."""


class UnauthenticatedError(MasterError):
    """It is not known who calls."""


class PermissionDeniedError(MasterError):
    """The caller may not do this, or not with this task or worker."""


class NotAllowedError(MasterError):
    """The state of the task or worker does not admit the request."""


class StoreUnavailableError(MasterError):
    """The store did not take the write, so nothing was acknowledged."""


class WorkerUnreachableError(MasterError):
    """The worker that was asked did not answer."""


class LimitReachedError(MasterError):
    """A limit that the operator set, or one of the master's own, is reached."""


class StoppingError(MasterError):
    """The master is stopping."""


class TooSlowError(MasterError):
    """The other side does not read what it asked for."""


class WorkerIdTakenError(MasterError):
    """Another process speaks for the worker, and was heard a moment ago."""


class ReplacedError(MasterError):
    """A newer session of the same worker took over."""


class UnsupportedError(MasterError):
    """The call, or this use of it, is not served here."""
