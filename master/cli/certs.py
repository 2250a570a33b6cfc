"""`rts certs`: a certificate authority of one's own, for tests and small clusters."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from master.cli import output
from master.cli.connect import JsonOption
from master.cli.failure import CommandError, Exit

EPILOG = """\b
Examples:
  rts certs certs --host master.example.org --worker w1 --worker w2 --client alice
  rts certs certs --worker w3
  rts master --tls-cert certs/server.pem --tls-key certs/server-key.pem --client-ca certs/ca.pem \\
      --tokens tokens.toml
  rts worker --id w1 --ca certs/ca.pem --cert certs/w1.pem --key certs/w1-key.pem

ca-key.pem certifies others and belongs on no machine of the cluster.
"""

_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


def certs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are; made when missing.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="A name or address under which the master is reached; this machine's always are some.",
        ),
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A worker that may speak for this id; may be repeated."),
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A client; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=36_500, metavar="N", help="How long they are valid.")] = 365,
    as_json: JsonOption = False,
) -> None:
    """Make a test authority, and certificates for a master, workers and clients.

    What is in DIR is kept: another run with other names adds to it, by the same authority.
    """
    try:
        from master.cli.authority import CLIENT, MAX_NAME_LENGTH, SERVER, Authority
    except ImportError:
        raise CommandError(
            "`rts certs` needs the library cryptography, which is not there: pip install 'rtscore[certs]'.",
            Exit.NO,
        ) from None
    names = [*(worker or ()), *(client or ())]
    for name in names:
        if (
            not 0 < len(name) <= MAX_NAME_LENGTH
            or not name.isprintable()
            or "/" in name
            or name.startswith(".")
        ):
            raise CommandError(
                f"{name!r} cannot be certified; 1 to {MAX_NAME_LENGTH} printable characters are allowed, no "
                "slashes, no dot at the beginning."
            )
        if name in ("ca", "server") or name.endswith("-key") or names.count(name) > 1:
            raise CommandError(
                f"{name!r} names the file of another certificate or key; give each a name of its own."
            )
    made = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        authority = Authority(directory, days)
        if authority.is_new:
            made.append("ca")
        for name in ("server", *names) if host or not authority.exists("server") else names:
            if authority.exists(name):
                raise CommandError(
                    f"{authority.files(name)[0]} or its key is there already; remove both to make new ones.",
                    Exit.NO,
                )
        if not authority.exists("server"):
            hosts = list(dict.fromkeys([*(host or ()), socket.gethostname(), *_OWN_HOSTS]))
            authority.certify("server", SERVER, hosts)
            made.append("server")
        for name in names:
            authority.certify(name, CLIENT)
            made.append(name)
    except OSError as error:
        raise CommandError(f"{error.filename or directory}: {error.strerror}.", Exit.NO) from None
    except (ValueError, TypeError) as error:
        raise CommandError(
            f"The authority or a name in {directory} cannot be used: {error}.", Exit.NO
        ) from None
    files = [str(path) for name in made for path in authority.files(name)]
    if as_json:
        output.print_json({"made": files})
        return
    for path in files:
        print(path)
    if not files:
        output.say(f"Nothing to make: {directory} has an authority and a server; name --worker or --client.")
