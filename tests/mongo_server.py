"""A MongoDB server for tests: a mongod of this machine, or a stand-in written in Java."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pymongo
from pymongo.errors import PyMongoError

SOURCES = Path(__file__).resolve().parent / "mongo_stand_in"
VERSION = "1.47.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtscore" / f"mongo-{VERSION}"


class NoServerError(Exception):
    """Why there is none."""


class MongoServer:
    """A server process of our own, with no data."""

    def __init__(self, command: list[str], port: int | None, log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if port is None else self._log,
            stderr=self._log,
        )
        if port is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line:
                raise NoServerError(f"the stand-in for MongoDB did not start; see {log}")
            port = int(line)
        self.port = port
        self.uri = f"mongodb://127.0.0.1:{port}"
        self._wait()

    def suspend(self) -> None:
        """Accept connections and answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                stream.close()

    def _wait(self) -> None:
        until = time.monotonic() + 60.0
        while True:
            try:
                with pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=1000) as client:
                    client.admin.command("ping")
                return
            except PyMongoError as error:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise NoServerError(f"{self.uri} does not answer: {error}") from None


def start_server(directory: Path) -> MongoServer:
    """A mongod if there is one, else the stand-in.

    Raises
    ------
    NoServerError
        When there is neither; the sentence says what is missing.
    """
    if (mongod := shutil.which("mongod")) is not None:
        data = directory / "data"
        data.mkdir()
        port = _free_port()
        command = [mongod, "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"]
        return MongoServer(command, port, directory / "mongod.log")
    java = _build_stand_in()
    command = [java, "-XX:+UseSerialGC", "-Xmx1g", "-cp", f"{CACHE}/*:{CACHE}", "StandIn"]
    return MongoServer(command, None, directory / "stand-in.log")


def kind(uri: str) -> str:
    """What answers there, for the report of a run."""
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000) as client:
        info = client.server_info()
        genuine = "modules" in info or "openssl" in info
        return f"MongoDB {info['version']}" if genuine else f"mongo-java-server {VERSION}"


def _build_stand_in() -> str:
    """Fetch and compile the stand-in, once for this user; the java command that runs it."""
    found = {name: shutil.which(name) for name in ("java", "javac", "mvn")}
    if not (CACHE / "StandIn.class").exists():
        if missing := [name for name, path in found.items() if path is None]:
            raise NoServerError(
                "no MongoDB to test with: set RTS_TEST_MONGODB_URI, or put mongod on the PATH, or install a "
                f"JDK and Maven (Debian: default-jdk-headless maven) for a stand-in; missing {missing}"
            )
        CACHE.mkdir(parents=True, exist_ok=True)
        copy = ["-DoutputDirectory=" + str(CACHE), "dependency:copy-dependencies"]
        _run([str(found["mvn"]), "-q", "-B", "-f", str(SOURCES / "pom.xml"), *copy])
        _run([str(found["javac"]), "-cp", f"{CACHE}/*", "-d", str(CACHE), str(SOURCES / "StandIn.java")])
    if found["java"] is None:
        raise NoServerError("the stand-in for MongoDB needs java, which is not on the PATH")
    return found["java"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr)[-500:]
        raise NoServerError(f"the stand-in for MongoDB cannot be built: {' '.join(command)}: {words}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
