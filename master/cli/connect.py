"""Reaching the master: the options that every client command shares, and its refusals as exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from rtscore.client import MasterClient

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


# A person at a terminal waits for a master that is restarting, but not for one that is not there.
_RETRY_FOR_S = 2.0
# A wait for tasks goes on through a master's restart.
WAIT_RETRY_FOR_S = 60.0


@contextmanager
def connect(address: str, retry_for_s: float = _RETRY_FOR_S) -> Iterator[MasterClient]:
    """A client of the master at `address`; its errors become sentences and exit codes."""
    from rtscore.client import CallTimeoutError, MasterClient, MasterUnreachableError, RequestError

    _check_address(address)
    # With a standby there is somebody to wait for.
    patience_s = None if "," in address and retry_for_s == _RETRY_FOR_S else retry_for_s
    try:
        with MasterClient(address, retry_for_s=patience_s) as client:
            yield client
    except MasterUnreachableError as error:
        # gRPC's own words name the address again; the master's (it stops, its store is full) say more.
        words = "" if "onnect" in str(error) else f" ({error})"
        raise CommandError(
            f"No master answers at {address}{words}. Start one with `rts master`, or name another with "
            "--master or RTS_MASTER.",
            Exit.UNREACHABLE,
        ) from None
    except CallTimeoutError as error:
        raise CommandError(f"The master at {address} is too slow: {error}.", Exit.UNREACHABLE) from None
    except RequestError as error:
        raise CommandError(str(error), Exit.USAGE if error.code == "INVALID_ARGUMENT" else Exit.NO) from None


def _check_address(address: str) -> None:
    for each in address.split(","):
        host, _, port = each.strip().rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise CommandError(f"--master: {each!r} is not HOST:PORT with a port of 1 to 65535.")
