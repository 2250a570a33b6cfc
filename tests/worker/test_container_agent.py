"""An agent with a container engine: what it offers, refuses and gives up, and engines that are not there."""

from __future__ import annotations

import pytest
from container_engine import IMAGE, Registry, TestEngine
from worker_peer import agent, config, task, until

from worker.config import WorkerConfig
from worker.containers import NoEngineError, container_executor


async def test_agent_with_an_engine_offers_containers_and_runs_both_kinds(
    master, engine: TestEngine, tmp_path
):
    async with agent(config(master, tmp_path, container_host=engine.host)):
        await until(lambda: master.hellos)
        assert list(master.hellos[0].executors) == ["process", "container"]
        master.assign(
            task("image", "ls /bin/busybox; exit 4", docker_image=IMAGE, attempt=3),
            task("absent", "true", docker_image="localhost/none:1"),
            task("plain", "echo plain"),
        )
        assert (await master.result("plain")).logs == "plain\n"
        await until(lambda: master.results("image"), 60)
        result = master.results("image")[0]
        assert (result.attempt, result.status, result.reason) == (3, "failed", "exit code 4")
        assert result.logs == "/bin/busybox\n"
        await until(lambda: master.refused, 60)
        assert master.refused[("absent", 1)] == (
            "the command could not be started: the image localhost/none:1 is not here, "
            "and this worker pulls none (--container-pull)"
        )


async def test_attempt_that_is_cancelled_while_its_image_is_pulled_is_denied(
    master, engine: TestEngine, registry: Registry, tmp_path
):
    settings = config(master, tmp_path, container_host=engine.host, container_pull=True, drain_timeout_s=0.0)
    image = f"{registry.address}/cancelled:1"
    registry.hold()
    try:
        async with agent(settings) as running:
            await until(lambda: master.hellos)
            master.assign(task("t", "true", docker_image=image), task("stopped", "true", docker_image=image))
            await until(registry.asked.is_set, 60)
            master.cancel("t")
            await until(lambda: master.refused)
            assert master.refused == {("t", 1): "cancelled before it was started"}
            assert (await master.read_log("t")).unknown, "nothing is kept of it"
            # Does not wait for the registry either.
            running.stop()
            await until(lambda: master.goodbyes)
    finally:
        registry.release()
    assert not master.finished


def alone(**fields) -> WorkerConfig:
    return WorkerConfig(masters=("127.0.0.1:1",), worker_id="w1", **fields)


def test_engine_that_the_settings_name_must_be_there(tmp_path):
    socket = str(tmp_path / "none.sock")
    settings = alone(container_host=socket)
    with pytest.raises(NoEngineError, match=f"{socket}: the container engine does not answer: No such file"):
        container_executor(settings, tmp_path)


def test_engine_of_the_environment_may_be_absent(tmp_path, monkeypatch):
    settings = alone()
    assert container_executor(settings, tmp_path) is None
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert container_executor(settings, tmp_path) is None


def test_engine_of_the_environment_is_used(engine: TestEngine, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    settings = alone()
    executor = container_executor(settings, tmp_path)
    assert executor is not None
    assert executor.name == "container"


@pytest.mark.parametrize("value", ["run/docker.sock", "npipe:////./pipe", "unix://relative"])
def test_engine_is_a_path_or_an_address(value):
    with pytest.raises(ValueError, match=r"container_host: .* is not an absolute path"):
        alone(container_host=value)
