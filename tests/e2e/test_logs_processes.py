"""`rts logs -f` through its process: live, to the end, slow, stopped, and interrupted."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import psutil
from rts_processes import RTS, call, environment, until

from rtscore.client import MasterClient, TaskSpec

MIB = 1024 * 1024


def follow(cluster: str, task_id: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RTS, "logs", "--follow", task_id, "--master", cluster],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def gate(path: Path) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.02; done"


def test_lines_come_while_the_task_runs_and_it_ends_with_the_task(
    cluster: str, client: MasterClient, tmp_path: Path
) -> None:
    client.submit(TaskSpec(task_id="f-live", command=f"echo one; {gate(tmp_path / 'go')}; echo two"))
    reader = follow(cluster, "f-live")
    assert reader.stdout is not None
    assert reader.stdout.readline() == "one\n"
    until(lambda: client.task("f-live").state == "running")
    (tmp_path / "go").touch()
    out, said = reader.communicate(timeout=60)
    assert (reader.returncode, out) == (0, "two\n")
    assert said.splitlines()[-1] == "f-live completed"


def test_a_queued_task_is_waited_for_and_a_failure_exits_1(cluster: str, client: MasterClient) -> None:
    client.drain("w1")
    try:
        client.submit(TaskSpec(task_id="f-waits", command="echo at last; exit 3"))
        reader = follow(cluster, "f-waits")
        assert reader.stderr is not None
        assert reader.stderr.readline() == "f-waits is queued; what it prints will follow\n"
    finally:
        client.drain("w1", drain=False)
    out, said = reader.communicate(timeout=60)
    assert (reader.returncode, out, said) == (1, "at last\n", "f-waits failed\n")


def test_an_ended_task_is_printed_and_what_is_not_kept_is_said(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="f-long", command="seq 1 100000"))
    client.wait(["f-long"], timeout_s=60)
    for flags in ((), ("-f",)):
        ran = call("logs", *flags, "f-long", master=cluster)
        assert ran.returncode == 0
        assert ran.stdout.endswith("\n99999\n100000\n")
        found = re.match(r"\[(\d+) bytes are missing here\]\n", ran.stderr)
        assert found is not None
        assert int(found[1]) + len(ran.stdout) == sum(len(str(n)) + 1 for n in range(1, 100_001))


def test_an_interrupted_follower_leaves_the_task_alone(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="f-left", command="echo up; sleep 60"))
    reader = follow(cluster, "f-left")
    assert reader.stdout is not None
    assert reader.stdout.readline() == "up\n"
    reader.send_signal(signal.SIGINT)
    _, said = reader.communicate(timeout=60)
    assert (reader.returncode, said) == (130, "No longer following; f-left goes on.\n")
    assert client.cancel("f-left").state == "cancelled"


def test_a_reader_that_has_enough_ends_the_following(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="f-head", command="yes"))
    ran = subprocess.run(
        f"{' '.join(RTS)} logs -f f-head --master {cluster} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    client.cancel("f-head")
    assert ran.stdout == "y\n"
    assert "Traceback" not in ran.stderr


def test_a_task_that_floods_and_a_reader_that_stands_still_cost_a_fixed_amount(
    cluster: str, client: MasterClient, tmp_path: Path
) -> None:
    # 20 GB or until it is cancelled, each line with its number, so that a gap can be seen in what was read.
    client.submit(TaskSpec(task_id="f-flood", command="seq -f %015.0f 1 1300000000"))
    out, said = tmp_path / "out", tmp_path / "said"
    with out.open("wb") as stdout, said.open("wb") as stderr:
        reader = subprocess.Popen(
            [*RTS, "logs", "-f", "f-flood", "--master", cluster],
            stdout=stdout,
            stderr=stderr,
            env=environment(),
        )
    until(lambda: out.stat().st_size > MIB, what="output")
    servers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if cluster in (process.info["cmdline"] or ()) and {"master", "worker"} & set(process.info["cmdline"])
    ]
    assert len(servers) == 2
    before = [process.memory_info().rss for process in servers]
    reader.send_signal(signal.SIGSTOP)
    # What it prints meanwhile would fill the bound many times over.
    printed = _printed(client)
    until(lambda: _printed(client) > printed + 100 * MIB, timeout_s=60, what="100 MiB more")
    grown = [process.memory_info().rss - rss for process, rss in zip(servers, before, strict=True)]
    reader.send_signal(signal.SIGCONT)
    size = out.stat().st_size
    until(lambda: out.stat().st_size > size + MIB, what="output once it reads again")
    client.cancel("f-flood")
    assert reader.wait(60) == 1
    assert max(grown) < 24 * MIB, f"{grown} bytes more for a reader that stands still"
    lines = out.read_bytes().split(b"\n")
    whole = [int(line) for line in lines[1:-1] if len(line) == 15]
    assert whole == sorted(whole)
    missed = [int(n) for n in re.findall(r"\[(\d+) bytes are missing here\]", said.read_text())]
    assert sum(missed) >= 50 * MIB
    # Bytes read and bytes missed are all there were, up to the last line that was read.
    assert abs(out.stat().st_size + sum(missed) - 16 * whole[-1]) <= 16
    assert said.read_text().splitlines()[-1] == "f-flood cancelled"


def _printed(client: MasterClient) -> int:
    """How many bytes the flood has printed by now."""
    return max(piece.offset for piece in client.log_pieces("f-flood"))
