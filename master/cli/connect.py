"""Reaching the master: the options that every client command shares, and its refusals as exit codes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from rtscore.client import MasterClient, RequestError
    from rtscore.credentials import Credentials

DEFAULT_MASTER = "127.0.0.1:7070"

MasterOption = Annotated[
    str,
    typer.Option(
        "--master",
        envvar="RTS_MASTER",
        metavar="HOST:PORT",
        help="Where the master listens; of several with commas between, the one in office is found.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

CaOption = Annotated[
    str, typer.Option(envvar="RTS_CA", metavar="FILE", help="Use TLS, and trust these authorities (PEM).")
]
CertOption = Annotated[
    str, typer.Option(envvar="RTS_CERT", metavar="FILE", help="The own certificate, for mutual TLS (PEM).")
]
KeyOption = Annotated[str, typer.Option(envvar="RTS_KEY", metavar="FILE", help="Its key (PEM).")]
TokenFileOption = Annotated[
    str,
    typer.Option(
        envvar="RTS_TOKEN_FILE", metavar="FILE", help="A file with the token; it may also be in RTS_TOKEN."
    ),
]
# By the names of their parameters.
CREDENTIAL_OPTIONS = {"ca": CaOption, "cert": CertOption, "key": KeyOption, "token_file": TokenFileOption}

# A person at a terminal waits for a master that is restarting, but not for one that is not there.
RETRY_FOR_S = 2.0
# A wait for tasks goes on through a master's restart.
WAIT_RETRY_FOR_S = 60.0


_CREDENTIAL_FLAGS = "Name other files with --ca, --cert, --key or --token-file."

# By words of the master's.
_ADVICE = (
    ("no task has the id", "`rts tasks` lists the newest"),
    ("is registered", "`rts workers` lists them"),
    ("is not kept", "`rts params history` lists the versions"),
    ("is taken by a task of other content", "give another --id, or none"),
)


class Master(str):
    """A master's address, and what is shown to it."""

    credentials: Credentials


def reaches_master(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of CREDENTIAL_OPTIONS; what they say is in the `master` that it gets."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
    ]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=option)
        for name, option in CREDENTIAL_OPTIONS.items()
    ]

    def with_credentials(**given: Any) -> None:
        options = {name: given.pop(name) for name in CREDENTIAL_OPTIONS}
        master = Master(given["master"])
        master.credentials = credentials(**options)
        command(**(given | {"master": master}))

    with_credentials.__name__ = command.__name__
    with_credentials.__doc__ = command.__doc__
    with_credentials.__annotations__ = hints | CREDENTIAL_OPTIONS
    with_credentials.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    return with_credentials


def credentials(ca: str, cert: str, key: str, token_file: str) -> Credentials:
    """What these options and RTS_TOKEN say; a token is never an option's value, which everyone can list."""
    from rtscore.credentials import Credentials, Tls, read_token
    from rtscore.errors import CredentialsError

    token = os.environ.get("RTS_TOKEN", "")
    if token and token_file:
        raise CommandError(
            "RTS_TOKEN and a token file (--token-file, RTS_TOKEN_FILE) were both given; give one."
        )
    try:
        return Credentials(
            tls=Tls(ca=ca, cert=cert, key=key) if ca or cert or key else None,
            token=read_token(token_file) if token_file else token,
        )
    except CredentialsError as error:
        raise CommandError(f"{error}. {_CREDENTIAL_FLAGS}") from None


def quiet_grpc(least: str = "ERROR") -> None:
    """Before the first import of gRPC: keep its own lines, say about failed handshakes, from stderr.

    `least` is what it still writes; "NONE" where every line must be ours. GRPC_VERBOSITY has the last word.
    """
    if "GRPC_VERBOSITY" not in os.environ:
        os.environ["GRPC_VERBOSITY"] = least
        import grpc  # noqa: F401

        # It has been read, and tasks of a worker have nothing to do with it.
        del os.environ["GRPC_VERBOSITY"]


@contextmanager
def connect(address: str, retry_for_s: float = RETRY_FOR_S) -> Iterator[MasterClient]:
    """A client of the master at `address`; its errors become sentences and exit codes."""
    quiet_grpc()
    from rtscore.client import (
        CallTimeoutError,
        CredentialsError,
        MasterClient,
        MasterUnreachableError,
        RequestError,
    )
    from rtscore.credentials import Credentials
    from rtscore.handshake import why_refused

    shown = address.credentials if isinstance(address, Master) else Credentials()
    check_address(address)
    # With a standby there is somebody to wait for.
    patience_s = None if "," in address and retry_for_s == RETRY_FOR_S else retry_for_s
    try:
        with MasterClient(address, retry_for_s=patience_s, tls=shown.tls, token=shown.token) as client:
            yield client
    except CredentialsError as error:
        raise CommandError(f"{error}. {_CREDENTIAL_FLAGS}") from None
    except MasterUnreachableError as error:
        if error.retry_after_s:
            raise CommandError(
                f"The master at {address} can do nothing at present ({error}). Try again soon.",
                Exit.UNREACHABLE,
            ) from None
        reasons = (why_refused(each.strip(), shown.tls) for each in address.split(","))
        if reason := next(filter(None, reasons), ""):
            raise CommandError(
                f"The master at {address} cannot be used: {reason}. The flags are --ca, --cert and --key.",
                Exit.UNREACHABLE,
            ) from None
        # gRPC's own words name the address again.
        words = "" if "onnect" in str(error) else f" ({error})"
        raise CommandError(
            f"No master answers at {address}{words}. Start one with `rts master`, or name another with "
            "--master or RTS_MASTER.",
            Exit.UNREACHABLE,
        ) from None
    except CallTimeoutError as error:
        raise CommandError(f"The master at {address} is too slow: {error}.", Exit.UNREACHABLE) from None
    except RequestError as error:
        wrong = error.code in ("INVALID_ARGUMENT", "UNAUTHENTICATED")
        raise CommandError(refusal(error), Exit.USAGE if wrong else Exit.NO) from None


def refusal(error: RequestError) -> str:
    """The master's no, and where one finds what it would have said yes to."""
    said = str(error)
    return next((f"{said}; {advice}" for words, advice in _ADVICE if words in said), said)


def check_address(address: str) -> None:
    """Raise CommandError unless this is HOST:PORT, or several of them with commas between."""
    for each in address.split(","):
        host, _, port = each.strip().rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise CommandError(f"--master: {each!r} is not HOST:PORT with a port of 1 to 65535.")
