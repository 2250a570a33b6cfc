"""What the master answers to a request that it cannot carry out; nothing has changed when one is raised.

::

    MasterError
    ├── InvalidRequestError     a field is wrong: names it, what came, what is allowed
    ├── TaskExistsError         the id is taken by a task of other content
    ├── UnknownTaskError        no such task
    ├── UnknownWorkerIdError    no such worker
    ├── NotAllowedError         the state of the task or worker does not admit it
    └── StoreUnavailableError   the store did not take the write; try again
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


class NotAllowedError(MasterError):
    """The state of the task or worker does not admit the request."""


class StoreUnavailableError(MasterError):
    """The store did not take the write, so nothing was acknowledged."""
