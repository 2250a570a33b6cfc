"""Every command block of every document is run here, in order, or says why it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from unittest import SkipTest

import pytest
from blocks import DOCUMENTS, BlockError, Shell, read, sessions
from sybil.example import SybilFailure

# What a fence may be that is not run: output, files, pictures.
NOT_COMMANDS = {"text", "json", "toml", "ini", "yaml", "promql"}
COMMANDS = {"sh", "console", "python"}
# Documents with a database of their own, at $DATABASE.
WITH_MONGODB = {"RTS_MIGRATION.md"}

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


@pytest.fixture
def shell(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    more = {"DATABASE": request.getfixturevalue("mongo_uri")} if path.name in WITH_MONGODB else {}
    opened = Shell(tmp_path, **more)
    yield opened
    opened.close()


@each_document
def test_every_block_does_what_the_document_says(path: Path, shell: Shell) -> None:
    document = read(path)
    document.namespace["shell"] = shell
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest:
            continue
        except (BlockError, SybilFailure) as error:
            pytest.fail(f"{path.name}, line {example.line}: {error}", pytrace=False)


def fences(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return re.findall(r"^[ ]*```([^\n]*)\n(.*?)^[ ]*```[ ]*$", text, re.MULTILINE | re.DOTALL)


@each_document
def test_every_fence_says_what_it_is(path: Path) -> None:
    found = {language for language, _ in fences(path.read_text(encoding="utf-8"))}
    assert found <= COMMANDS | NOT_COMMANDS


@each_document
def test_no_command_hides_where_it_is_not_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    outside = re.sub(r"^[ ]*```.*?^[ ]*```[ ]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    pasted = [content for language, content in fences(text) if language == "text"]
    seen = re.sub(r"<!--.*?-->", "", outside, flags=re.DOTALL)
    pasted += re.findall(r"^ {4}\S.*$", seen, re.MULTILINE)
    command = re.compile(r"^\s*(\$ |(rts|make|python|pip|sudo) [\w-])", re.MULTILINE)
    assert not [part for part in pasted if command.search(part)]


@each_document
def test_what_is_not_run_says_why(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for skip in re.findall(r"<!--+ *skip:(.*?)--+>", text, re.DOTALL):
        assert re.fullmatch(r' (next|start) "[^"]{10,}" | end ', skip), skip


def test_a_failing_command_fails_its_document(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell.run("cd .. && value=3") == ""
    assert shell.run('pwd && echo "$value"').splitlines() == [str(tmp_path), "3"]
    with pytest.raises(BlockError, match=r"ended the shell[^$]*before"):
        shell.run("echo before; false; echo after")
    shell.close()


def test_a_console_block_is_split_into_commands_and_what_they_print() -> None:
    block = "$ echo a \\\n> b\na b\n$ true\n"
    assert list(sessions(block)) == [("echo a \\\nb", "a b\n"), ("true", "")]
