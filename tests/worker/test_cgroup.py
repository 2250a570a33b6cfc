"""What is read of a control group, in both versions of the kernel's interface."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.executors.cgroup import ContainerCgroup, OomWatch

V1 = {
    "cpuacct.usage": "2500000000\n",
    "memory.usage_in_bytes": "5000\n",
    "memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
}
V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
    "memory.current": "5000\n",
    "memory.stat": "anon 3000\ninactive_file 2000\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n",
}


@pytest.mark.parametrize(("version", "files"), [(1, V1), (2, V2)])
def test_usage_and_kills_are_read_as_the_kernel_writes_them(tmp_path: Path, version: int, files) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    group = ContainerCgroup(tmp_path, tmp_path, version)
    assert group.cpu_seconds() == 2.5
    assert group.memory_bytes() == 3000
    assert group.oom_kills() == 2


@pytest.mark.parametrize("version", [1, 2])
def test_group_that_is_gone_is_no_error(tmp_path: Path, version: int) -> None:
    group = ContainerCgroup(tmp_path / "none", tmp_path / "none", version)
    assert group.cpu_seconds() is None
    assert group.memory_bytes() == 0
    assert group.oom_kills() is None
    watch = OomWatch(group)
    assert not watch.seen
    watch.close()


def test_process_that_is_not_of_the_container_has_no_group() -> None:
    """The number of a process on the engine's machine may be another process's here."""
    assert ContainerCgroup.of(os.getpid(), "0123456789abcdef") is None
    assert ContainerCgroup.of(2**22 + 1, "") is None


def test_kill_that_was_counted_before_the_watch_is_seen(tmp_path: Path) -> None:
    for name, text in V2.items():
        (tmp_path / name).write_text(text)
    watch = OomWatch(ContainerCgroup(tmp_path, tmp_path, 2))
    watch.close()
    for path in tmp_path.iterdir():
        path.unlink()
    assert watch.seen
