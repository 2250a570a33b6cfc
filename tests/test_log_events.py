"""docs/LOGGING.md has every line that the sources write, with its level and fields, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
# What every line may have without saying so.
BOUND = {"exc_info"}


def written(source: str) -> Iterator[tuple[str, str, set[str], bool]]:
    """Event, level, fields, and whether there are fields that only show when it is written, of each line."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        logger, level, arguments = ast.unparse(node.func.value), node.func.attr, node.args
        if logger not in {"log", "_log"} and not logger.startswith("structlog.get_logger("):
            continue
        if level == "log":
            level, arguments = ast.unparse(arguments[0]), arguments[1:]
            level = " or ".join(sorted(re.findall(r"logging\.(\w+)", level))).lower()
        else:
            assert level in LEVELS, f"{ast.unparse(node)}: no level"
        assert isinstance(arguments[0], ast.Constant), f"{ast.unparse(node)}: an event is a text as it stands"
        fields = {keyword.arg for keyword in node.keywords if keyword.arg} - BOUND
        more = any(keyword.arg is None for keyword in node.keywords)
        yield str(arguments[0].value), level.replace("exception", "error"), fields, more


def in_sources() -> dict[str, tuple[str, set[str], bool]]:
    found: dict[str, tuple[str, set[str], bool]] = {}
    for package in ("rtscore", "aod", "master", "worker"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for event, level, fields, more in written(path.read_text(encoding="utf-8")):
                before = found.get(event, (level, set(), False))
                assert before[0] == level, f"{event!r} is {before[0]} and, in {path.name}, {level}"
                found[event] = (level, before[1] | fields, before[2] or more)
    return found


def in_table() -> dict[str, tuple[str, set[str]]]:
    table: dict[str, tuple[str, set[str]]] = {}
    for line in (ROOT / "docs/LOGGING.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and set(cells[2].split(" or ")) <= LEVELS:
            event, level, fields = cells[1].strip("`"), cells[2], cells[3]
            assert event not in table, f"{event!r} is there twice"
            table[event] = (level, set(re.findall(r"`(\w+)`", fields)))
    return table


def test_the_reader_of_log_lines_sees_them_all() -> None:
    source = (
        "log.info('a', x=1, **more)\n"
        "def f():\n"
        "    _log.log(logging.ERROR if x else logging.WARNING, 'b')\n"
        "    structlog.get_logger(__name__).exception('c', y=2)\n"
        "    other.info('d')\n"
    )
    assert list(written(source)) == [
        ("a", "info", {"x"}, True),
        ("b", "error or warning", set(), False),
        ("c", "error", {"y"}, False),
    ]


def test_the_table_of_log_events_is_complete_and_true() -> None:
    sources, table = in_sources(), in_table()
    assert len(sources) > 50
    assert sorted(sources.keys() - table.keys()) == []
    assert sorted(table.keys() - sources.keys()) == []
    for event, (level, fields, more) in sources.items():
        said_level, said_fields = table[event]
        assert said_level == level, event
        assert fields <= said_fields if more else fields == said_fields, (event, fields ^ said_fields)
