"""TLS and mutual TLS: who gets through, what a certificate lets a worker say, what everyone else is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from peers import config, refusal
from secured import TOKENS, certify, shows, write_tokens

from master.config import ConfigError
from master.server import MasterServer
from rtscore.client import AsyncMasterClient, MasterClient, MasterUnreachableError, TaskSpec
from rtscore.credentials import Credentials, Tls
from rtscore.handshake import why_refused
from rtscore.rpc import cluster_pb2, scheduler_pb2, scheduler_pb2_grpc


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tls]:
    return certify(tmp_path_factory.mktemp("certs") / "ours", "alice", "w1", "w2")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tls]:
    """Of another authority."""
    return certify(tmp_path_factory.mktemp("foreign") / "theirs", "alice")


def protected(tmp_path: Path, certs: Mapping[str, Tls], *, mutual: bool, tokens: bool = True) -> MasterServer:
    return MasterServer(
        config(
            tmp_path,
            tls_cert=certs["server"].cert,
            tls_key=certs["server"].key,
            client_ca=certs["server"].ca if mutual else "",
            tokens=write_tokens(tmp_path / "tokens.toml", unbound=mutual) if tokens else "",
        )
    )


@pytest.mark.parametrize("mutual", [False, True])
async def test_both_clients_get_through_with_what_is_asked_of_them(
    tmp_path: Path, certs: Mapping[str, Tls], mutual: bool
) -> None:
    tls = certs["alice"] if mutual else Tls(ca=certs["alice"].ca)
    async with protected(tmp_path, certs, mutual=mutual) as server:
        async with AsyncMasterClient(server.address, tls=tls, token=TOKENS["alice"]) as client:
            task = await client.submit(TaskSpec("true"))
            assert [found.task_id async for found in client.tasks()] == [task.task_id]
            assert "".join([piece async for piece in client.logs(task.task_id)]) == ""

        def blocking() -> list[str]:
            address = server.address.replace("127.0.0.1", "localhost")
            with MasterClient(address, tls=tls, token=TOKENS["alice"]) as client:
                client.cancel(task.task_id)
                assert "".join(client.logs(task.task_id)) == ""
                return [found.state for found in client.wait([task.task_id])]

        assert await asyncio.to_thread(blocking) == ["cancelled"]


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (lambda ours, theirs: None, "speaks TLS only"),
        (lambda ours, theirs: Tls(ca=ours["alice"].ca), "asks for a client certificate"),
        (lambda ours, theirs: theirs["alice"], "certificate is not trusted"),
        (
            lambda ours, theirs: Tls(ca=ours["alice"].ca, cert=theirs["alice"].cert, key=theirs["alice"].key),
            "does not accept the client certificate",
        ),
    ],
    ids=["plain", "no certificate", "other authority", "foreign certificate"],
)
async def test_whom_mutual_tls_keeps_out_is_told_why(
    tmp_path: Path, certs: Mapping[str, Tls], foreign: Mapping[str, Tls], who: Any, said: str
) -> None:
    tls = who(certs, foreign)
    async with protected(tmp_path, certs, mutual=True) as server:
        async with AsyncMasterClient(
            server.address, tls=tls, token=TOKENS["root"], retry_for_s=0.0
        ) as client:
            with pytest.raises(MasterUnreachableError):
                await client.stats()
        assert said in await asyncio.to_thread(why_refused, server.address, tls)
        assert await asyncio.to_thread(why_refused, server.address, certs["alice"]) == ""


async def test_a_master_without_tls_is_told_apart(tmp_path: Path, certs: Mapping[str, Tls]) -> None:
    async with MasterServer(config(tmp_path)) as server:
        assert await asyncio.to_thread(why_refused, server.address, None) == ""
        assert "does not speak TLS" in await asyncio.to_thread(why_refused, server.address, certs["alice"])
    assert await asyncio.to_thread(why_refused, server.address, certs["alice"]) == ""


async def introduced(server: MasterServer, tls: Tls, worker_id: str, **call: Any) -> str:
    """What a session of this worker comes to: "welcome", or why not."""
    info = cluster_pb2.WorkerInfo(worker_id=worker_id, total_cpu=1.0)
    hello = scheduler_pb2.WorkerHello(info=info, executors=["process"])
    async with Credentials(tls=tls).aio_channel(server.address, ()) as channel:
        session = scheduler_pb2_grpc.WorkerServiceStub(channel).WorkerSession(**call)
        await session.write(scheduler_pb2.WorkerUpdate(hello=hello))
        try:
            return "welcome" if (await session.read()).HasField("welcome") else ""
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"


async def test_a_token_without_a_worker_speaks_for_the_one_in_the_certificate(
    tmp_path: Path, certs: Mapping[str, Tls]
) -> None:
    async with protected(tmp_path, certs, mutual=True) as server:
        assert await introduced(server, certs["w1"], "w1", **shows("unbound")) == "welcome"
        refused = await introduced(server, certs["w2"], "w1", **shows("unbound"))
        assert refused.startswith("PERMISSION_DENIED")
        assert "'w2'" in refused
        # A bound token is enough by itself, whosever certificate comes with it.
        assert await introduced(server, certs["w2"], "w1", **shows("w1")) == "welcome"
        assert "PERMISSION_DENIED" in await introduced(server, certs["w1"], "w2", **shows("w1"))


async def test_without_tokens_certificates_still_say_which_worker_it_is(
    tmp_path: Path, certs: Mapping[str, Tls]
) -> None:
    async with protected(tmp_path, certs, mutual=True, tokens=False) as server:
        assert await introduced(server, certs["w1"], "w1") == "welcome"
        assert "names 'w2'" in await introduced(server, certs["w2"], "w1")
        async with AsyncMasterClient(server.address, tls=certs["alice"]) as client:
            await client.submit(TaskSpec("true", user_id="whoever"))


async def test_without_client_certificates_such_a_token_speaks_for_nobody(
    tmp_path: Path, certs: Mapping[str, Tls]
) -> None:
    with pytest.raises(ConfigError, match=r"\(unbound\).*client-ca"):
        MasterServer(
            config(
                tmp_path,
                tls_cert=certs["server"].cert,
                tls_key=certs["server"].key,
                tokens=write_tokens(tmp_path / "tokens.toml", unbound=True),
            )
        )


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key", "tokens"])
def test_an_open_address_needs_tls_and_tokens(tmp_path: Path, certs: Mapping[str, Tls], missing: str) -> None:
    settings = {
        "listen": "0.0.0.0:0",
        "tls_cert": certs["server"].cert,
        "tls_key": certs["server"].key,
        "tokens": write_tokens(tmp_path / "tokens.toml"),
    }
    MasterServer(config(tmp_path, **settings))
    with pytest.raises(ConfigError, match=f"--{missing.replace('_', '-')}"):
        MasterServer(config(tmp_path, **(settings | {missing: ""})))


def test_files_that_cannot_be_used_are_named_before_a_port_opens(
    tmp_path: Path, certs: Mapping[str, Tls], foreign: Mapping[str, Tls]
) -> None:
    cert, key, ca = certs["server"].cert, certs["server"].key, certs["server"].ca
    open_key = tmp_path / "open-key.pem"
    open_key.write_bytes(Path(key).read_bytes())
    open_key.chmod(0o644)
    encrypted = tmp_path / "encrypted-key.pem"
    loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"x")
    encrypted.write_bytes(
        loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )
    encrypted.chmod(0o600)
    for settings, said in (
        ({"tls_cert": cert}, "tls_key: it is missing"),
        ({"tls_key": key}, "tls_cert: it is missing"),
        ({"client_ca": ca}, "only over TLS"),
        ({"tls_cert": "gone.pem", "tls_key": key}, "gone.pem: No such file"),
        ({"tls_cert": cert, "tls_key": foreign["server"].key}, "KEY_VALUES_MISMATCH"),
        ({"tls_cert": cert, "tls_key": str(open_key)}, "chmod 600"),
        ({"tls_cert": cert, "tls_key": str(encrypted)}, "unencrypted key"),
        ({"tls_cert": cert, "tls_key": key, "client_ca": key}, "no certificate"),
    ):
        with pytest.raises(ConfigError, match=said):
            MasterServer(config(tmp_path, **settings))


async def test_a_token_is_asked_for_also_over_tls(tmp_path: Path, certs: Mapping[str, Tls]) -> None:
    async with (
        protected(tmp_path, certs, mutual=True) as server,
        Credentials(tls=certs["alice"]).aio_channel(server.address, ()) as channel,
    ):
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        error = await refusal(stub.ListWorkers(scheduler_pb2.ListWorkersRequest()))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        await stub.ListWorkers(scheduler_pb2.ListWorkersRequest(), **shows("alice"))
