"""What a client raises.

::

    RtscoreError
    └── ClientError
        ├── MasterUnreachableError           no master answers, or it is stopping
        ├── CallTimeoutError (TimeoutError)  no answer in time; whether it was carried out is not known
        └── RequestError                     the master's no: code, message, and the field when one is wrong
"""

from __future__ import annotations

from rtscore.errors import RtscoreError


class ClientError(RtscoreError):
    """The root of what a client raises on purpose."""


class MasterUnreachableError(ClientError):
    """No master answers, or it is stopping, or its store takes no writes; trying again may help.

    Parameters
    ----------
    message : str
        gRPC's sentence, or the master's.
    retry_after_s : float
        How long a master that does answer asks to be left alone; 0 when none answers.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CallTimeoutError(ClientError, TimeoutError):
    """There was no answer in time; whether the call was carried out is not known."""


class RequestError(ClientError):
    """The master refused.

    Parameters
    ----------
    code : str
        The name of a gRPC status code, as "NOT_FOUND" or "INVALID_ARGUMENT".
    message : str
        The master's sentence.
    field : str
        The field that is wrong; empty when it is none.
    """

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
