"""Histories in files: nothing is lost, and a bad line is named by its number."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from wild import attempt, rows

from aod.history import History, TaskHistory
from aod.jsonlines import parse, read_history, write_history


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_a_written_history_reads_back_the_same(tmp_path: Path, name: str) -> None:
    history = History.from_rows(
        [attempt(task_id="ü\n", tau=None), attempt(worker_id="w2", succeeded=False, actual_runtime_s=0.1)]
    )
    write_history(history, tmp_path / name)
    back, bad = read_history(tmp_path / name)
    assert not bad
    assert list(back.rows()) == list(history.rows())
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_bad_lines_are_reported_by_number_and_the_good_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    write_history(History.from_rows([attempt(task_id="a"), attempt(task_id="b")]), path)
    good = path.read_bytes().splitlines()
    lines = [good[0], b"", b"{not json", b'{"task_id": "c"}', good[1], b"\xff\xfe", b"[]"]
    path.write_bytes(b"\n".join(lines))
    history, bad = read_history(path)
    assert [row.task_id for row in history.rows()] == ["a", "b"]
    assert [line.number for line in bad] == [3, 4, 6, 7]
    assert "worker_id" in bad[1].reason


def test_a_bad_value_is_named_with_its_field() -> None:
    _, bad = parse([b'{"task_id": "c", "worker_id": "w", "type": "mixed", "arrival": "soon"}'])
    assert "arrival" in bad[0].reason


def test_keys_that_are_not_ours_are_ignored() -> None:
    write = History.from_rows([attempt()])
    line = msgspec.json.encode({**msgspec.to_builtins(attempt()), "note": "mine"})
    history, bad = parse([line])
    assert not bad
    assert list(history.rows()) == list(write.rows())


@settings(deadline=None)
@given(rows)
def test_any_history_survives_lines(records: list[TaskHistory]) -> None:
    history = History.from_rows(records)
    back, bad = parse([msgspec.json.encode(row) for row in history.rows()])
    assert not bad
    # JSON has no infinity: what was one is a number not known.
    finite = [
        msgspec.structs.replace(
            row,
            **{
                name: None
                for name in TaskHistory.__struct_fields__
                if isinstance(getattr(row, name), float) and abs(getattr(row, name)) == float("inf")
            },
        )
        for row in history.rows()
    ]
    assert list(back.rows()) == finite
