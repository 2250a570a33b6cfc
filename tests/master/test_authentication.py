"""Who may call what: every RPC without, with a wrong and with an insufficient token."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given
from hypothesis import strategies as st
from peers import refusal
from secured import TOKENS, bearer, guarded, shows

import rtscore.rpc
from master.access import Identity, Role
from master.authentication import identify
from master.errors import UnauthenticatedError
from master.permissions import NEEDED, OPEN
from master.tokens import Tokens

UNAUTHENTICATED, PERMISSION_DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
OF_ROLE = {Role.SUBMIT: "alice", Role.ADMIN: "root", Role.WORKER: "any"}


def descriptors() -> Iterator[FileDescriptor]:
    """Every proto file of which the master serves something."""
    for module in pkgutil.iter_modules(rtscore.rpc.__path__):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(f"rtscore.rpc.{module.name}").DESCRIPTOR
    yield health_pb2.DESCRIPTOR
    yield reflection_pb2.DESCRIPTOR


# Every RPC, and whether its client streams and its server does.
RPCS = {
    f"/{service.full_name}/{method.name}": (method.client_streaming, method.server_streaming)
    for file in descriptors()
    for service in file.services_by_name.values()
    for method in service.methods
}


def test_every_rpc_has_its_line_in_the_table_and_no_other_has() -> None:
    assert set(RPCS) == set(NEEDED)
    assert len(NEEDED) > 20


# They go on for ever once they are allowed.
ENDLESS = {"/rtscore.v1.SchedulerService/WatchTasks", "/grpc.health.v1.Health/Watch"}


async def code(
    channel: grpc.aio.Channel, method: str, endless_s: float = 30.0, **call: Any
) -> grpc.StatusCode:
    """What a call with one empty message ends with; one that may be endless, after so long."""

    async def requests() -> AsyncIterator[bytes]:
        yield b""

    client_streams, server_streams = RPCS.get(method, (False, False))
    options = call | {"timeout": endless_s if method in ENDLESS else 30.0}
    try:
        if not server_streams:
            await channel.unary_unary(method)(b"", **options)
            return grpc.StatusCode.OK
        if client_streams:
            stream: Any = channel.stream_stream(method)(requests(), **options)
        else:
            stream = channel.unary_stream(method)(b"", **options)
        async for _ in stream:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def codes(channel: grpc.aio.Channel, methods: set[str], **call: Any) -> dict[str, grpc.StatusCode]:
    return {method: await code(channel, method, **call) for method in sorted(methods)}


@pytest.mark.parametrize(
    "call",
    [
        {},
        bearer("not-one-of-the-tokens"),
        bearer(""),
        bearer(TOKENS["root"][:-1]),
        bearer(TOKENS["root"] + "x"),
        {"metadata": (("authorization", TOKENS["root"]),)},
        {"metadata": (("authorization", f"Basic {TOKENS['root']}"),)},
        {"metadata": (("x-authorization", f"Bearer {TOKENS['root']}"),)},
        {"metadata": (*shows("root")["metadata"], *shows("root")["metadata"])},
    ],
    ids=["none", "wrong", "empty", "cut", "longer", "bare", "basic", "elsewhere", "twice"],
)
async def test_without_a_token_of_this_master_only_health_answers(
    tmp_path: Path, call: dict[str, Any]
) -> None:
    guarded_rpcs = {method for method, roles in NEEDED.items() if roles is not OPEN}
    async with guarded(tmp_path, scheduler="round-robin") as (_, _, channel):
        assert await codes(channel, guarded_rpcs, **call) == dict.fromkeys(guarded_rpcs, UNAUTHENTICATED)
        assert await code(channel, "/grpc.health.v1.Health/Check", **call) is grpc.StatusCode.OK


@pytest.mark.parametrize("role", list(Role))
async def test_a_token_of_another_role_is_not_enough(tmp_path: Path, role: Role) -> None:
    refused = {method for method, roles in NEEDED.items() if roles and role not in roles}
    allowed = set(NEEDED) - refused
    assert refused
    async with guarded(tmp_path, scheduler="round-robin") as (_, _, channel):
        call = shows(OF_ROLE[role])
        assert await codes(channel, refused, **call) == dict.fromkeys(refused, PERMISSION_DENIED)
        found = await codes(channel, allowed, endless_s=1.0, **call)
        assert found.keys() & ENDLESS == {
            m for m, c in found.items() if c is grpc.StatusCode.DEADLINE_EXCEEDED
        }
        assert {UNAUTHENTICATED, PERMISSION_DENIED}.isdisjoint(found.values()), found


async def test_a_stream_that_says_nothing_is_refused_all_the_same(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (_, _, channel):
        silent = channel.stream_stream("/rtscore.v1.WorkerService/WorkerSession")(timeout=30.0)
        assert (await refusal(silent.read())).code() is UNAUTHENTICATED


async def test_a_served_method_without_a_line_in_the_table_is_refused_to_everyone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = "/rtscore.v1.SchedulerService/ListWorkers"
    lines = {name: roles for name, roles in NEEDED.items() if name != method}
    monkeypatch.setattr("master.authentication.NEEDED", lines)
    async with guarded(tmp_path) as (_, _, channel):
        assert await codes(channel, {method}, **shows("root")) == {method: PERMISSION_DENIED}


async def test_a_refused_request_is_not_read(tmp_path: Path) -> None:
    method = "/rtscore.v1.SchedulerService/SubmitTask"
    async with guarded(tmp_path) as (_, _, channel):
        not_protobuf = channel.unary_unary(method)(b"\xff" * 1000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await not_protobuf
    assert caught.value.code() is UNAUTHENTICATED


async def test_random_metadata_on_the_wire_neither_crashes_nor_grants(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    letters = [chr(code) for code in range(0x20, 0x7F)]
    method = "/rtscore.v1.SchedulerService/ListWorkers"
    async with guarded(tmp_path) as (_, _, channel):
        for _ in range(300):
            value = "".join(rng.choices(letters, k=rng.randrange(60)))
            scheme = rng.choice(["", "Bearer ", "bearer", "Bearer  ", "Basic "])
            more = (("x-trace-bin", rng.randbytes(rng.randrange(40))),)
            metadata = (("authorization", scheme + value), *more)
            assert await code(channel, method, metadata=metadata) is UNAUTHENTICATED, (seed, metadata)
        assert await code(channel, method, **shows("alice")) is grpc.StatusCode.OK


KNOWN = Tokens(
    {
        hashlib.sha256(token.encode()).digest(): Identity(name=name, role=Role.SUBMIT)
        for name, token in TOKENS.items()
    }
)
_values = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=20),
    st.sampled_from([*TOKENS.values()]),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["Bearer ", "bearer ", "BEARER ", "Bearer", "Basic ", ""]),
        st.sampled_from([*TOKENS.values(), ""]),
        st.one_of(st.just(""), st.text(max_size=3)),
    ),
)
_pairs = st.tuples(st.sampled_from(["authorization", "Authorization", "x", "authorization-bin"]), _values)


@given(st.one_of(st.none(), st.lists(_pairs, max_size=4)))
def test_only_one_known_bearer_token_is_somebody_whatever_else_comes(metadata: Any) -> None:
    values = [value for key, value in metadata or () if key == "authorization"]
    somebody = (
        len(values) == 1
        and isinstance(values[0], str)
        and values[0].lower().startswith("bearer ")
        and values[0][7:].strip() in TOKENS.values()
    )
    if somebody:
        assert TOKENS[identify(KNOWN, metadata).name] == values[0][7:].strip()
    else:
        with pytest.raises(UnauthenticatedError) as caught:
            identify(KNOWN, metadata)
        assert not any(token in str(caught.value) for token in TOKENS.values())
