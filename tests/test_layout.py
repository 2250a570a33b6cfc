"""The arrows of ARCHITECTURE.md: which package may import which, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"rtscore", "aod", "master", "worker", "benchmarks", "tests"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(*places: str) -> list[Path]:
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def arrows(places: list[Path]) -> set[tuple[str, str]]:
    return {
        (str(path.relative_to(ROOT)), name)
        for path in places
        for name in imports(path)
        if name.split(".")[0] in OURS
    }


def test_the_reader_of_imports_sees_them_all(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("import a.b\nfrom c import d\ndef f():\n    import e\n")
    assert set(imports(source)) == {"a.b", "c.d", "e"}


# Who may import whom. The command line starts every process, so it alone may reach over to the worker, and
# the trainer is a process of its own, which alone loads what learns.
@pytest.mark.parametrize(
    ("importers", "allowed"),
    [
        (["rtscore"], {"rtscore"}),
        (["aod"], {"rtscore", "aod"}),
        (["worker"], {"rtscore", "worker"}),
        (["master"], {"rtscore", "master"}),
    ],
)
def test_a_package_imports_only_what_the_layout_allows(importers: list[str], allowed: set[str]) -> None:
    wrong = {
        (path, name)
        for path, name in arrows(files(*importers))
        if name.split(".")[0] not in allowed
        and not path.startswith("master/cli/")
        and not (path == "master/trainer.py" and name.startswith("aod."))
    }
    assert not wrong


def test_the_master_does_not_load_the_trainer() -> None:
    assert "master.trainer" not in reached("master.server")


def test_the_command_line_is_not_imported_by_the_master() -> None:
    wrong = {
        (path, name)
        for path, name in arrows(files("master"))
        if name.startswith("master.cli") and not path.startswith("master/cli/")
    }
    assert not wrong


def test_the_dashboard_reaches_a_master_only_as_its_client() -> None:
    wrong = {
        (path, name)
        for path, name in arrows(files("master/cli/dashboard"))
        if not name.startswith(("rtscore", "master.cli", "master.config"))
    }
    assert not wrong


def test_nothing_imports_tests_or_benchmarks() -> None:
    wrong = {
        (path, name)
        for path, name in arrows(files("rtscore", "aod", "master", "worker"))
        if name.split(".")[0] in {"tests", "benchmarks"}
    }
    assert not wrong


def test_a_worker_needs_of_rtscore_only_the_wire_the_way_to_a_master_and_the_errors() -> None:
    allowed = ("rtscore.rpc", "rtscore.errors", "rtscore.credentials", "rtscore.handshake")
    wrong = {
        (path, name)
        for path, name in arrows(files("worker"))
        if name.startswith("rtscore") and not name.startswith(allowed)
    }
    assert not wrong


def reached(start: str) -> set[str]:
    """The files of the master that a module reaches through imports, itself included."""
    found, ahead = set[str](), [start]
    while ahead:
        module = ahead.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in found or not path.is_file():
            continue
        found.add(module)
        for name in imports(path):
            if name.startswith("master."):
                ahead += [name, name.rpartition(".")[0]]
    return found


def test_the_core_does_no_io_and_knows_neither_clock_nor_wire() -> None:
    io = {"asyncio", "grpc", "google", "sqlite3", "socket", "threading", "os", "pathlib"}
    banned = io | {"time", "random", "logging", "structlog"}
    core = reached("master.cluster")
    assert {"master.cluster", "master.queue", "master.lifecycle", "master.events"} <= core
    for module in core:
        named = set(imports(ROOT / (module.replace(".", "/") + ".py")))
        assert not {name.split(".")[0] for name in named} & banned, module
        assert not any(name.startswith(("rtscore.rpc", "rtscore.client")) for name in named), module


def test_only_convert_reads_messages_into_records() -> None:
    makers = {"master.records.Submission", "master.records.TaskSpec", "master.records.ResultRecord"}
    both = {
        str(path.relative_to(ROOT))
        for path in files("master")
        if not path.is_relative_to(ROOT / "master/store")
        and makers & set(imports(path))
        and any("_pb2." in name or name.endswith("_pb2") for name in imports(path))
    }
    assert both <= {"master/convert.py"}


def test_every_source_file_has_a_line_in_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    sources = files("rtscore", "aod", "master", "worker", "benchmarks", "tests")
    sources += [*ROOT.glob("rtscore/_kernel/*.hpp"), *ROOT.glob("rtscore/_kernel/*.pyx")]
    missing = [
        str(path.relative_to(ROOT))
        for path in sources
        if path.name != "__init__.py"
        and "_pb2" not in path.name
        and f"/{path.name}" not in text.replace("`", "/")
    ]
    assert not missing
