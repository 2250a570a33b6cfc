"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_library_example_runs_and_places_the_task() -> None:
    example = block("python")
    assert len(example.splitlines()) == 10 + 1  # ten lines and the blank one behind the import
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True)
    first, *explanation = done.stdout.splitlines()
    assert first == "large rts"
    assert "cpu" in "\n".join(explanation)


def test_the_two_commands_are_targets() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\S+)", block("sh"), re.MULTILINE)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)
