"""A protected cluster by its processes: certificates, tokens, users, logs; what is nowhere to be read."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from rts_processes import RTS, Rts, call, environment, free_port, running, until

from rtscore.rpc import scheduler_pb2, scheduler_pb2_grpc

TOKENS = {name: f"{name}-token-of-an-end-to-end-test" for name in ("alice", "bob", "root", "crew")}
# What is in the command of a task, in the environment of master and worker, in a header of a call.
SECRETS = {where: f"{where}-secret-of-an-end-to-end-test" for where in ("command", "environment", "metadata")}
TELLING = {
    "RTS_LOG_LEVEL": "debug",
    "RTS_LOG_FORMAT": "json",
    "RTS_LOG_RISK_SAMPLE": "1",
    "DB_PASSWORD": SECRETS["environment"],
}
ROLES = {"alice": "submit", "bob": "submit", "root": "admin", "crew": "worker"}


class Cluster:
    """A master with mutual TLS and tokens, and its worker w1."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self.outputs: list[str] = []

    def file(self, name: str) -> str:
        return str(self.directory / "certs" / f"{name}.pem")

    def shows(self, certificate: str) -> tuple[str, ...]:
        """The flags of a client."""
        return (
            *("--master", self.address, "--ca", self.file("ca")),
            *("--cert", self.file(certificate), "--key", self.file(f"{certificate}-key")),
        )

    def rts(self, user: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of a user, whose credentials are in the environment."""
        settings = {
            "RTS_MASTER": self.address,
            "RTS_CA": self.file("ca"),
            "RTS_CERT": self.file("alice"),
            "RTS_KEY": self.file("alice-key"),
            "RTS_TOKEN": TOKENS[user],
        } | settings
        done = subprocess.run(
            [*RTS, *arguments], capture_output=True, text=True, timeout=60, env=environment() | settings
        )
        self.outputs.append(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What a process has logged so far."""
        text = (self.directory / f"{name}.log").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def refused(self, *metadata: tuple[str, str]) -> grpc.RpcError:
        """The answer to a call with this metadata that the master does not take."""
        ca, key, cert = (Path(self.file(name)).read_bytes() for name in ("ca", "alice-key", "alice"))
        with grpc.secure_channel(self.address, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.DrainWorker(
                    scheduler_pb2.DrainWorkerRequest(worker_id="w1"), metadata=metadata, timeout=20
                )
        return caught.value

    def submit(self, user: str, command: str) -> str:
        done = self.rts(user, "submit", command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("protected")
    cluster = Cluster(directory)
    made = call(
        "certs", str(directory / "certs"), "--worker", "w1", "--worker", "w2", "--client", "alice", "--json"
    )
    assert made.returncode == 0, made.stderr
    assert len(json.loads(made.stdout)["made"]) == 10
    tokens = directory / "tokens.toml"
    tokens.write_text(
        "".join(
            f'[[token]]\nname = "{name}"\nrole = "{ROLES[name]}"\ntoken = "{token}"\n'
            for name, token in TOKENS.items()
        )
    )
    tokens.chmod(0o600)
    with (
        running(
            directory / "m.log",
            *("master", "--listen", cluster.address, "--store", str(directory / "m.db")),
            *("--tls-cert", cluster.file("server"), "--tls-key", cluster.file("server-key")),
            *("--client-ca", cluster.file("ca"), "--tokens", str(tokens)),
            **TELLING,
        ),
        worker(cluster, "w1", "w1"),
    ):
        until(lambda: "active" in cluster.rts("alice", "workers").stdout, 40, what="an active worker")
        yield cluster


def worker(cluster: Cluster, worker_id: str, certificate: str) -> AbstractContextManager[Rts]:
    return running(
        cluster.directory / f"{worker_id}.log",
        *("worker", "--id", worker_id, *cluster.shows(certificate), "--cpu", "4", "--memory", "4"),
        *("--work-dir", str(cluster.directory / worker_id), "--drain-timeout", "0"),
        RTS_TOKEN=TOKENS["crew"],
        **TELLING,
    )


def test_a_task_is_its_users_and_the_admins_alone(cluster: Cluster) -> None:
    task_id = cluster.submit("alice", "echo begun; sleep 300")
    until(lambda: cluster.rts("alice", "logs", task_id).stdout == "begun\n", 40, what="output")
    for command in ("task", "logs", "explain", "cancel"):
        done = cluster.rts("bob", command, task_id)
        assert done.returncode == 1
        assert "belongs to another user" in done.stderr
        assert "begun" not in done.stdout + done.stderr
    assert json.loads(cluster.rts("bob", "tasks", "--json").stdout) == []
    assert cluster.rts("bob", "submit", "--user", "alice", "true").returncode == 1
    assert json.loads(cluster.rts("alice", "task", task_id, "--json").stdout)["state"] == "running"
    assert task_id in cluster.rts("root", "tasks").stdout
    assert cluster.rts("root", "cancel", task_id).returncode == 0
    assert json.loads(cluster.rts("alice", "task", task_id, "--json").stdout)["state"] == "cancelled"


def test_only_an_admin_drains_and_trains(cluster: Cluster) -> None:
    for arguments in (("drain", "w1"), ("train",), ("params", "rollback", "1")):
        done = cluster.rts("alice", *arguments)
        assert done.returncode == 1
        assert "for the role admin" in done.stderr
    assert cluster.rts("root", "drain", "w1").stdout.startswith("w1 draining")
    assert cluster.rts("root", "drain", "--undo", "w1").stdout.startswith("w1 active")
    assert cluster.rts("alice", "params", "show").returncode == 0


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"RTS_CA": "", "RTS_CERT": "", "RTS_KEY": ""}, 3, "speaks TLS only"),
        ({"RTS_CERT": "", "RTS_KEY": ""}, 3, "asks for a client certificate"),
        ({"RTS_KEY": ""}, 2, "key was not"),
        ({"RTS_CA": "gone.pem"}, 2, "gone.pem: No such file"),
        ({"RTS_TOKEN": ""}, 2, "none came"),
        ({"RTS_TOKEN": "not-one-of-the-tokens"}, 2, "none of this master's"),
        ({"RTS_TOKEN": "two words of no token"}, 2, "visible"),
        ({"RTS_TOKEN_FILE": "token"}, 2, "both given"),
        ({"RTS_TOKEN": "", "RTS_TOKEN_FILE": "gone"}, 2, "gone: No such file"),
    ],
)
def test_who_is_kept_out_reads_why_in_a_sentence(
    cluster: Cluster, settings: dict[str, str], code: int, said: str
) -> None:
    done = cluster.rts("alice", "workers", **settings)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_token_may_come_from_a_file(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKENS["bob"] + "\n")
    file.chmod(0o600)
    arguments = ("workers", *cluster.shows("alice"), "--token-file", str(file))
    assert call(*arguments).returncode == 0
    file.chmod(0o644)
    refused = call(*arguments)
    assert refused.returncode == 2
    assert "chmod 600" in refused.stderr


def test_a_worker_under_anothers_name_is_refused_and_says_so(cluster: Cluster) -> None:
    with worker(cluster, "w3", "w2") as rts:
        until(lambda: "PERMISSION_DENIED" in rts.said(), 40, what="a refusal")
    assert "names 'w2'" in rts.said()
    assert "w3" not in cluster.rts("root", "workers").stdout


def test_a_secret_is_in_no_log_and_a_token_in_no_output_list_of_processes_or_task(cluster: Cluster) -> None:
    task_id = cluster.submit(
        "alice", f"env; tr '\\0' '\\n' < /proc/self/environ; : {SECRETS['command']}; sleep 300"
    )
    until(lambda: "RTS_TASK_ID" in cluster.rts("alice", "logs", task_id).stdout, 40, what="output")
    listed = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert any("--tokens" in line and cluster.address in line for line in listed)
    cluster.refused(
        ("authorization", f"Bearer {TOKENS['bob']}"),
        ("x-api-key", SECRETS["metadata"]),
        ("x-request-id", f"{SECRETS['metadata']} and more"),
    )
    # One with an image goes to no worker here: what is told of that names no command either.
    assert cluster.rts("alice", "submit", "--image", "none", SECRETS["command"]).returncode == 0
    cluster.rts("bob", "cancel", task_id)
    cluster.rts("root", "cancel", task_id)
    until(lambda: _told(cluster, "w1", "command ended", task_id), 40, what="the end of the command")
    logs = [path.read_text() for path in cluster.directory.glob("*.log")]
    assert len(logs) >= 2
    assert any("call refused" in text for text in logs)
    assert {"task accepted", "risks", "task placed"} <= {line["event"] for line in cluster.lines("m")}
    stored = [path.read_bytes().decode("latin-1") for path in cluster.directory.glob("m.db*")]
    for text in (*listed, *logs, *cluster.outputs, *stored):
        assert not [name for name, token in TOKENS.items() if token in text]
    keys = [path.read_text().splitlines()[1] for path in cluster.directory.glob("certs/*.pem")]
    for text in logs:
        assert not [secret for secret in (*SECRETS.values(), *keys) if secret in text]


def _told(cluster: Cluster, process: str, event: str, task_id: str) -> list[dict[str, Any]]:
    return [
        line for line in cluster.lines(process) if (line["event"], line.get("task_id")) == (event, task_id)
    ]


def test_every_line_of_the_logs_is_an_object_whatever_comes(cluster: Cluster) -> None:
    host, port = cluster.address.split(":")
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05junk!"):
        with socket.create_connection((host, int(port)), timeout=20) as plain:
            plain.sendall(noise)
            plain.settimeout(20)
            # Until the master has read it and hung up.
            while plain.recv(1024):
                pass
    for name in ("m", "w1"):
        lines = cluster.lines(name)
        assert lines
        for line in lines:
            assert {"timestamp", "level", "event", "logger"} <= line.keys()
    assert all(line["worker_id"] == "w1" for line in cluster.lines("w1"))


def test_the_lines_of_a_call_have_its_id_method_and_caller(cluster: Cluster) -> None:
    bob = ("authorization", f"Bearer {TOKENS['bob']}")
    for given in ("trace-1.of:bob_", "not sane", "x" * 65):
        cluster.refused(bob, ("x-request-id", given))
    cluster.refused(("x-request-id", "trace-2"))
    refused = [line for line in cluster.lines("m") if line["event"] == "call refused"]
    traced, not_sane, too_long, nobody = refused[-4:]
    for line in (traced, not_sane, too_long):
        assert (line["method"], line["caller"]) == ("/rtscore.v1.SchedulerService/DrainWorker", "bob")
    assert traced["request_id"] == "trace-1.of:bob_"
    made = {not_sane["request_id"], too_long["request_id"]}
    assert len(made) == 2
    assert all(len(request_id) == 16 for request_id in made)
    assert nobody["request_id"] == "trace-2"
    assert "caller" not in nobody
    task_id = cluster.submit("alice", "true")
    (accepted,) = _told(cluster, "m", "task accepted", task_id)
    assert (accepted["caller"], accepted["user_id"]) == ("alice", "alice")
    assert accepted["request_id"]
    until(lambda: _told(cluster, "m", "attempt ended", task_id), 40, what="the end of the task")
    (placed,) = _told(cluster, "m", "task placed", task_id)
    assert (placed["worker_id"], placed["attempt"]) == ("w1", 1)
    (ended,) = _told(cluster, "w1", "command ended", task_id)
    assert (ended["worker_id"], ended["attempt"], ended["success"]) == ("w1", 1, True)


def test_a_password_in_the_address_of_the_store_is_not_logged(tmp_path: Path) -> None:
    store = "mongodb://rts:p4ssw0rd-of-a-test@127.0.0.1:1/rts?serverSelectionTimeoutMS=300"
    with running(tmp_path / "m.log", "master", "--listen", "127.0.0.1:0", **TELLING, RTS_STORE=store) as rts:
        assert rts.process.wait(60) == 1
    (line,) = [json.loads(line) for line in rts.said().splitlines()]
    assert (line["event"], line["level"]) == ("cannot go on", "critical")
    assert "127.0.0.1:1" in line["reason"]
    assert "p4ssw0rd" not in rts.said()


def test_a_master_that_others_can_reach_asks_for_protection(cluster: Cluster, tmp_path: Path) -> None:
    listen = ("master", "--listen", "0.0.0.0:0", "--store", str(tmp_path / "m.db"))
    bare = call(*listen)
    assert bare.returncode == 2
    assert "--tls-cert, --tls-key, --tokens" in bare.stderr
    half = call(*listen, "--tls-cert", cluster.file("server"), "--tls-key", cluster.file("server-key"))
    assert half.returncode == 2
    assert "give --tokens" in half.stderr
    assert not (tmp_path / "m.db").exists()


def test_certificates_are_added_and_never_overwritten(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    assert call("certs", str(directory), "--worker", "w1").returncode == 0
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert sorted(before) == ["ca-key.pem", "ca.pem", "server-key.pem", "server.pem", "w1-key.pem", "w1.pem"]
    assert {path.stat().st_mode & 0o777 for path in directory.glob("*-key.pem")} == {0o600}
    assert call("certs", str(directory), "--worker", "w2").returncode == 0
    again = call("certs", str(directory), "--client", "new", "--worker", "w1")
    assert again.returncode == 1
    assert "w1.pem" in again.stderr
    assert call("certs", str(directory), "--host", "elsewhere").returncode == 1
    for name in ("../w", "server", "w1-key", ".w", "w" * 65):
        wrong = call("certs", str(directory), "--worker", name)
        assert wrong.returncode == 2
        assert repr(name) in wrong.stderr
    found = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert found.keys() - before.keys() == {"w2.pem", "w2-key.pem"}
    assert {name: found[name] for name in before} == before
