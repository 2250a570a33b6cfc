"""Every exception that rtscore raises on purpose.

::

    RtscoreError
    ├── InvalidTaskError (ValueError)        a task that no scheduler could read
    ├── ParamsError (ValueError)             parameters out of bounds, or a file that is not parameters
    ├── WorkerError
    │   ├── UnknownWorkerError (KeyError)    an id that is not in the table
    │   ├── DuplicateWorkerError (ValueError) an id that already is
    │   └── InvalidWorkerError (ValueError)  totals, loads or slots that no worker can have
    ├── CapacityError (ValueError)           a reservation larger than what is available
    ├── CredentialsError (ValueError)        a token, certificate or key that cannot be used, or not there
    └── NotReservedError (ValueError)        a release of what was not reserved

"Nothing fits" is not among them: it is a `Decision` whose source is `Source.NONE`.
"""

from __future__ import annotations


class RtscoreError(Exception):
    """The root: catch it to catch everything of ours."""


class InvalidTaskError(RtscoreError, ValueError):
    """A task with a field that no scheduler could read."""


class ParamsError(RtscoreError, ValueError):
    """Scheduling parameters that are out of bounds or cannot be read."""


class WorkerError(RtscoreError):
    """Something is wrong with the worker that was named."""


class UnknownWorkerError(WorkerError, KeyError):
    """The worker id is not in the table."""

    def __str__(self) -> str:
        # KeyError quotes its argument; a sentence reads better plain.
        return str(self.args[0]) if self.args else ""


class DuplicateWorkerError(WorkerError, ValueError):
    """The worker id is already in the table."""


class InvalidWorkerError(WorkerError, ValueError):
    """Totals, a load or a slot that no worker can have."""


class CapacityError(RtscoreError, ValueError):
    """A reservation asks for more than the worker has available."""


class NotReservedError(RtscoreError, ValueError):
    """A release names something that was not reserved."""


class CredentialsError(RtscoreError, ValueError):
    """A token, a certificate or a key cannot be used, or not here; never says what the token is."""
