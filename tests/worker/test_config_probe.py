"""What an agent is told, and what it finds out about its machine."""

from __future__ import annotations

import pytest

from worker.config import WorkerConfig
from worker.executors.base import Usage
from worker.probe import Totals, UsageMeter, machine_totals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"masters": ()}, "masters: none given"),
        ({"masters": ("localhost",)}, "masters: 'localhost' is not host:port"),
        ({"masters": ("localhost:0",)}, "port of 1 to 65535"),
        ({"worker_id": ""}, "worker_id: '' is not 1 to 256 printable"),
        ({"worker_id": "a\nb"}, "printable"),
        ({"cpu": -1.0}, "cpu: -1.0 is not a finite amount"),
        ({"memory": float("nan")}, "memory: nan is not a finite amount"),
        ({"gpu": float("inf")}, "gpu: inf is not a finite amount"),
        ({"heartbeat_interval_s": 0.0}, "heartbeat_interval_s: 0.0 is not a positive time"),
        ({"kill_grace_s": -0.1}, "kill_grace_s: -0.1"),
        ({"drain_timeout_s": float("inf")}, "drain_timeout_s: inf"),
        ({"log_limit_bytes": 2 << 20}, "log_limit_bytes: 2097152 is not between 1 and 1048576"),
    ],
)
def test_setting_that_cannot_work_is_named_with_its_bound(fields, message):
    with pytest.raises(ValueError, match=message):
        WorkerConfig(**({"masters": ("127.0.0.1:7070",)} | fields))


def test_default_directory_is_one_per_worker_below_the_state_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, two = (WorkerConfig(masters=("m:1",), worker_id=name).directory() for name in ("a/../b", "c"))
    assert one.parent == two.parent == tmp_path / "rtscore"
    assert one != two


def test_totals_default_to_what_the_machine_has(tmp_path):
    totals = machine_totals(tmp_path)
    assert totals.cpu >= 0.1
    assert totals.memory > 0
    assert totals.storage > 0
    assert totals.gpu >= 0


def test_container_limits_are_the_totals(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.probe._CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 29}\n")
    totals = machine_totals(tmp_path)
    assert (totals.cpu, totals.memory) == (0.5, 0.5)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    unlimited = machine_totals(tmp_path)
    assert unlimited.cpu >= 1
    assert unlimited.memory > 0.5


def test_usage_is_a_fraction_of_the_workers_totals(tmp_path):
    meter = UsageMeter(Totals(cpu=4.0, memory=8.0, gpu=0.0, storage=1.0), tmp_path)
    first = meter.sample(Usage(cpu_seconds=100.0, memory_gib=2.0), now=50.0)
    assert (first.cpu, first.memory, first.gpu) == (0.0, 0.25, 0.0)
    second = meter.sample(Usage(cpu_seconds=106.0, memory_gib=0.0), now=52.0)
    assert second.cpu == 0.75
    # A process was reaped by another than its parent here.
    assert meter.sample(Usage(cpu_seconds=90.0, memory_gib=0.0), now=54.0).cpu == 0.0
    assert meter.sample(Usage(cpu_seconds=92.0, memory_gib=0.0), now=54.0).cpu == 0.0


def test_worker_that_offers_no_cpu_uses_none_of_it(tmp_path):
    meter = UsageMeter(Totals(cpu=0.0, memory=0.0, gpu=0.0, storage=0.0), tmp_path)
    meter.sample(Usage(0.0, 0.0), now=0.0)
    assert meter.sample(Usage(5.0, 1.0), now=1.0)[:2] == (0.0, 0.0)
