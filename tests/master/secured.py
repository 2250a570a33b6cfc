"""A master that asks for tokens, who has which, and calls with them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from peers import config

from master.cli.authority import CLIENT, SERVER, Authority
from master.server import MasterServer
from rtscore.credentials import Tls
from rtscore.rpc import scheduler_pb2_grpc

# By name, which says the role too.
TOKENS = {name: f"{name}-token-of-a-test" for name in ("alice", "bob", "root", "w1", "unbound", "any")}
ROLES = {"alice": "submit", "bob": "submit", "root": "admin"}


def write_tokens(path: Path, *, unbound: bool = False) -> str:
    """A tokens file; `unbound` is for a master that asks for certificates."""
    lines = []
    for name, token in TOKENS.items():
        if name == "unbound" and not unbound:
            continue
        digest = hashlib.sha256(token.encode()).hexdigest()
        more = {"w1": 'worker = "w1"', "any": "any_worker = true"}.get(name, "")
        lines += ["[[token]]", f'name = "{name}"', f'role = "{ROLES.get(name, "worker")}"']
        lines += [f'sha256 = "{digest}"' if name == "bob" else f'token = "{token}"', more]
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return str(path)


def bearer(token: str) -> dict[str, Any]:
    """The argument of a call that shows a token."""
    return {"metadata": (("authorization", f"Bearer {token}"),)}


def shows(name: str) -> dict[str, Any]:
    """The argument of a call that shows the token of `name`."""
    return bearer(TOKENS[name])


@contextlib.asynccontextmanager
async def guarded(
    tmp_path: Path, **changes: Any
) -> AsyncIterator[tuple[MasterServer, Any, grpc.aio.Channel]]:
    """A master with tokens, in the clear; a stub of its client service; a channel."""
    settings = config(tmp_path, tokens=write_tokens(tmp_path / "tokens.toml"), **changes)
    async with MasterServer(settings) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, scheduler_pb2_grpc.SchedulerServiceStub(channel), channel


def certify(directory: Path, *clients: str) -> Mapping[str, Tls]:
    """Certificates in a directory, by name: of a server, and of clients."""
    directory.mkdir()
    authority = Authority(directory, days=1)
    authority.certify("server", SERVER, ["127.0.0.1", "localhost"])
    for name in clients:
        authority.certify(name, CLIENT)
    ca = str(authority.files("ca")[0])
    found = {}
    for name in ("server", *clients):
        cert, key = map(str, authority.files(name))
        found[name] = Tls(ca=ca, cert=cert, key=key)
    return found
