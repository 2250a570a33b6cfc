"""`rts dashboard`: the command around the dashboard."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from master.cli.connect import DEFAULT_MASTER, Master, MasterOption, check_address, quiet_grpc
from master.cli.failure import CommandError, Exit

EPILOG = """\b
Examples:
  rts dashboard
  rts dashboard --master 10.0.0.5:7070 --ca ca.pem --token-file token
  rts dashboard --read-only --listen 127.0.0.1:8601
"""


def dashboard(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where browsers find it.")
    ] = "127.0.0.1:8600",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Nothing can be cancelled, drained, trained or rolled back.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine, where anyone can use it.")
    ] = False,
    master: MasterOption = DEFAULT_MASTER,
) -> None:
    """Serve live pages about the cluster to browsers.

    It acts with its own token: whoever reaches it has that token's power. It asks nobody who they are, so it
    listens on this machine only unless --insecure is given.
    """
    from master.config import split_address
    from rtscore.credentials import Credentials, is_loopback
    from rtscore.errors import CredentialsError

    try:
        host, port = split_address(listen)
    except ValueError as error:
        raise CommandError(f"--listen: {listen!r}: {error}.") from None
    if not port:
        raise CommandError(f"--listen: {listen!r} names no port; 1 to 65535 is allowed.")
    if not (is_loopback(host) or insecure):
        raise CommandError(
            f"--listen: {listen} can be reached from other machines, and whoever reaches the dashboard sees "
            "and ends everyone's tasks; use a loopback address as 127.0.0.1 (with an SSH tunnel or an "
            "authenticating proxy before it), or say --insecure."
        )
    check_address(master)
    shown = master.credentials if isinstance(master, Master) else Credentials()
    try:
        for each in master.split(","):
            shown.check(each.strip())
    except CredentialsError as error:
        raise CommandError(f"{error}.") from None
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise CommandError(f"--listen: {listen} cannot be used: {error.strerror}.", Exit.NO) from None
    quiet_grpc()
    try:
        import nicegui  # noqa: F401
    except ImportError:
        raise CommandError(
            "The dashboard needs the extra `dashboard`: pip install 'rtscore[dashboard]'.", Exit.NO
        ) from None
    from master.cli.dashboard.server import serve

    serve(str(master), shown, host, port, read_only)
