"""The memory of stored ids: never a wrong no, seldom a wrong maybe."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from peers import SessionWorker, config, serving, until

from master.known import KnownIds
from rtscore.rpc import scheduler_pb2

Spec = scheduler_pb2.TaskSpec


@given(st.lists(st.text()))
def test_what_was_added_is_known(ids: list[str]) -> None:
    known = KnownIds()
    assert "any" not in known
    for task_id in ids:
        known.add(task_id)
    assert all(task_id in known for task_id in ids)


def test_it_grows_and_is_seldom_wrong_about_what_was_not_added() -> None:
    known = KnownIds()
    for number in range(200_000):
        known.add(f"task-{number}")
    assert all(f"task-{number}" in known for number in range(200_000))
    wrong = sum(f"other-{number}" in known for number in range(20_000))
    # Three layers; three times what is expected of full ones.
    assert wrong / 20_000 < 0.036


async def test_a_new_id_is_not_looked_for_in_the_store_and_a_stored_one_is(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        for name in ("t0", "t1", "t2"):
            await stub.SubmitTask(Spec(task_id=name, command="true"))
            await worker.finished(await worker.next_assignment())
        await until(lambda: len(worker.recorded) == 3)
    async with serving(config(tmp_path)) as (server, stub):
        await until(lambda: server.master._stored.complete)
        reads, find = [], server.store.find_tasks

        async def counted(task_ids: Any) -> Any:
            reads.extend(task_ids)
            return await find(task_ids)

        server.store.find_tasks = counted  # type: ignore[method-assign]
        await stub.SubmitTask(Spec(task_id="new", command="true"))
        assert reads == []
        again = await stub.SubmitTask(Spec(task_id="t1", command="true"))
        assert again.state == scheduler_pb2.COMPLETED
        assert reads == ["t1"]


async def test_ids_of_earlier_runs_are_learned_page_by_page(tmp_path: Any, monkeypatch: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        for number in range(7):
            await stub.SubmitTask(Spec(task_id=f"t{number}", command="true"))
            await stub.CancelTask(scheduler_pb2.TaskRef(task_id=f"t{number}"))
    monkeypatch.setattr("master.stored.LEARN_PAGE", 3)
    async with serving(config(tmp_path)) as (server, _):
        await until(lambda: server.master._stored.complete)
        assert all(f"t{number}" in server.master._stored._ids for number in range(7))
