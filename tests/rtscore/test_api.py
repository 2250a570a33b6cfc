"""What `import rtscore` gives, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rtscore

PUBLIC = [
    "DEFAULT_TAU",
    "TASK_TYPES",
    "AffinityWeights",
    "Candidate",
    "Decision",
    "Explanation",
    "Fit",
    "GAParams",
    "InMemoryTauStore",
    "ParamsReloader",
    "PenaltyWeights",
    "RTSScheduler",
    "Risk",
    "RoundRobinScheduler",
    "Scheduler",
    "Source",
    "Task",
    "TaskType",
    "TauStore",
    "Theta",
    "WorkerTable",
    "WorkerView",
    "infer_task_type",
    "is_valid_task_type",
    "load_ga_params",
    "save_ga_params",
]


def test_the_public_names_are_these_and_sorted() -> None:
    assert rtscore.__all__ == PUBLIC
    constants, rest = [n for n in PUBLIC if n.isupper()], [n for n in PUBLIC if not n.isupper()]
    classes, functions = [n for n in rest if n[0].isupper()], [n for n in rest if n[0].islower()]
    assert sorted(constants) + sorted(classes) + sorted(functions) == PUBLIC
    for name in PUBLIC:
        assert getattr(rtscore, name) is not None


def test_importing_loads_numpy_and_msgspec_and_no_other_package() -> None:
    script = (
        "import json, sys; import numpy, msgspec; before = set(sys.modules); import rtscore; "
        "print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    foreign = set(json.loads(output)) - set(sys.stdlib_module_names) - {"rtscore", "numpy", "msgspec"}
    # Cython's own two helpers, made in memory.
    assert {name for name in foreign if not name.startswith(("_cython_", "cython_runtime"))} == set()


def test_the_kernels_modules_have_stubs_with_the_same_names() -> None:
    import ast
    import importlib

    folder = Path(rtscore.__file__).parent / "_kernel"
    for stub in sorted(folder.glob("*.pyi")):
        module = importlib.import_module(f"rtscore._kernel.{stub.stem}")
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if isinstance(member, ast.FunctionDef):
                        assert hasattr(getattr(module, node.name), member.name), f"{node.name}.{member.name}"
            elif isinstance(node, ast.FunctionDef):
                assert hasattr(module, node.name), node.name
    assert (folder.parent / "py.typed").exists()


@pytest.mark.parametrize(
    "example", sorted((Path(__file__).parents[1] / "typing").glob("*.py")), ids=lambda p: p.stem
)
def test_the_typed_examples_pass_mypy_strict(example: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(example)],
        cwd=Path(rtscore.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
