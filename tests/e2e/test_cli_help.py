"""The help of every command: what it does, each option, examples; and that some test runs each command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rts_processes import call

from master.cli.app import app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that name it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_says_what_it_does_what_each_option_means_and_gives_examples(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    sentence = command.help.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z][^.]*\.", sentence.replace("\n", " ")), sentence
    for parameter in command.params:
        assert parameter.help, parameter.name
        # A value is named by what it is, not by the type that holds it.
        if not getattr(parameter, "is_flag", False):
            assert parameter.metavar, parameter.name
    assert "Examples:" in command.epilog
    examples = re.findall(r"^  (.*\brts (.*))$", command.epilog, re.MULTILINE)
    assert any(f"{words} ".startswith(" ".join(path) + " ") for _, words in examples), examples


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_is_run_as_a_process_by_some_test(path: tuple[str, ...]) -> None:
    # Its words stand first among the arguments of a process.
    words = r",\s*".join(f'"{word}"' for word in path)
    pattern = re.compile(rf"(?:[(\[]|RTS,|log\"?,)\s*{words}")
    sources = [path.read_text() for path in Path(__file__).parent.glob("*.py")]
    assert any(pattern.search(source) for source in sources)


def test_the_list_of_commands_has_sections_and_cuts_no_sentence() -> None:
    shown = call("--help").stdout
    assert "..." not in shown.split("Commands", 1)[-1].replace("[ARGS]...", "")
    for path, command in COMMANDS.items():
        assert re.search(rf"^  {path[0]} ", shown, re.MULTILINE), path
        if len(path) == 1:
            sentence = command.help.split("\n\n")[0].replace("\n", " ")
            assert sentence in re.sub(r"\s+", " ", shown)
    assert shown.index("Run a cluster:") < shown.index("Submit and follow tasks:") < shown.index("Exit codes")
