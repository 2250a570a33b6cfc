"""A real Prometheus for the tests: scrapes often, evaluates rules, answers queries; and promtool."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

INTERVAL = "500ms"


def binary(name: str) -> str:
    """The path of `prometheus` or `promtool`; the test is skipped where there is none."""
    if path := shutil.which(name):
        return path
    # Where the tests decide about a change, a missing program must not pass for success.
    if os.environ.get("RTS_TEST_PROMETHEUS_REQUIRED"):
        raise AssertionError(f"{name} is not installed (Debian: apt-get install prometheus)")
    pytest.skip(f"no {name} on this machine (Debian: apt-get install prometheus)")


def promtool(*arguments: str, stdin: str = "") -> str:
    """What promtool says, which must be content."""
    done = subprocess.run(
        [binary("promtool"), *arguments], input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A running server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What an instant query finds: labels and value of each series."""
        found = self._get("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def number(self, expression: str) -> float | None:
        """The value of a query that finds one series; None when it finds none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self._get("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def rules(self) -> dict[str, str]:
        """The expression of each alert that was loaded."""
        groups = self._get("rules")["groups"]
        return {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}

    def health(self) -> dict[str, str]:
        """What the last scrape of each target came to: "up", or the error."""
        targets = self._get("targets")["activeTargets"]
        return {each["scrapeUrl"]: each["lastError"] or each["health"] for each in targets}

    def _get(self, path: str, **arguments: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None


@contextlib.contextmanager
def prometheus(directory: Path, rules: Path, *targets: str) -> Iterator[Prometheus]:
    """A server that scrapes the targets every `INTERVAL`, for the time of a `with` block."""
    program = binary("prometheus")
    config = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "rts", "static_configs": [{"targets": list(targets)}]}],
    }
    # JSON is YAML.
    (directory / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
    try:
        _wait_until_ready(process, address, log)
        yield Prometheus(address)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/-/ready", timeout=5):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
