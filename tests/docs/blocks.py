"""The command blocks of a document: found by sybil, run in order in one bash.

A `sh` block is run, a `python` block is a program of its own, a `console` block is run and what it prints
is compared (`...` stands for anything). `<!-- skip: next "why" -->` before a block says that it is not run,
`<!-- invisible-code: sh` runs what only the test needs. The first command that fails ends the document.
"""

from __future__ import annotations

import doctest
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
PATIENCE_S = 120.0


class BlockError(AssertionError):
    """A block did not do what the document says."""


class Shell:
    """One bash under `set -e`, with a home, a working directory and an address for a master of its own."""

    def __init__(self, directory: Path, **more: str) -> None:
        self.directory = directory / "work"
        self._blocks = directory / "blocks"
        for made in (self.directory, self._blocks, directory / "home"):
            made.mkdir(parents=True)
        address = f"127.0.0.1:{free_port()}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RTS_", "SCHED_", "GA_", "XDG_"))}
        # The programs of this Python first: `rts`, `python`.
        search = [str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]
        settings = {
            "PATH": os.pathsep.join(search),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")])),
            "HOME": str(directory / "home"),
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "RTS_LISTEN": address,
            "RTS_MASTER": address,
            "REPOSITORY": str(ROOT),
        }
        reading, writing = os.pipe()
        self._codes = reading
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env=kept | settings | more,
            cwd=self.directory,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        self._report = writing
        self._count = 0

    def run(self, commands: str) -> str:
        """Run commands and return what they print; BlockError when one of them fails."""
        self._count += 1
        script = self._blocks / f"{self._count}.sh"
        printed = script.with_suffix(".out")
        # What runs on in the background must not hold the pipe that says that the shell has ended.
        script.write_text(f"set -e\n{commands}\n")
        assert self._process.stdin is not None
        line = f". '{script}' >'{printed}' 2>&1 {self._report}>&-; echo done >&{self._report}\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        ready, _, _ = select.select([self._codes], [], [], PATIENCE_S)
        done = bool(ready) and os.read(self._codes, 100) == b"done\n"
        said = printed.read_text(errors="replace") if printed.exists() else ""
        if not done:
            why = "ended the shell" if ready else f"did not end within {PATIENCE_S:g} s"
            raise BlockError(f"this {why}:\n{commands}\nIt printed:\n{said}")
        return said

    def close(self) -> None:
        """End what the blocks have started, politely first."""
        started = psutil.Process(self._process.pid).children(recursive=True)
        for process in psutil.Process(self._process.pid).children():
            process.terminate()
        assert self._process.stdin is not None
        self._process.stdin.close()
        _, left = psutil.wait_procs(started, timeout=15.0)
        for process in left:
            process.kill()
        self._process.kill()
        self._process.wait()
        os.close(self._codes)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read(path: Path) -> Document:
    """A document with its blocks; `document.namespace["shell"]` must be a Shell before they are evaluated."""
    return _SYBIL.parse(path)


def _run_sh(example: Example) -> None:
    example.namespace["shell"].run(example.parsed)


def _run_python(example: Example) -> None:
    shell: Shell = example.namespace["shell"]
    program = shell.directory.parent / "blocks" / f"line{example.line}.py"
    program.write_text(example.parsed)
    shell.run(f"python {program}")


def _run_console(example: Example) -> str | None:
    for command, expected in sessions(example.parsed):
        printed = example.namespace["shell"].run(command)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        checker = doctest.OutputChecker()
        if not checker.check_output(expected, printed, flags):
            return f"$ {command}\n" + checker.output_difference(doctest.Example("", expected), printed, flags)
    return None


def sessions(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block ("$ ", continued by "> "), each with what it prints."""
    command: list[str] = []
    output: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "".join(output)
            command, output = [line[2:]], []
        elif line.startswith("> ") and not output:
            command.append(line[2:])
        else:
            output.append(line + "\n")
    if command:
        yield "\n".join(command), "".join(output)


_SYBIL = Sybil(
    parsers=[
        SkipParser(),
        CodeBlockParser("sh", _run_sh),
        CodeBlockParser("python", _run_python),
        CodeBlockParser("console", _run_console),
    ],
    pattern="*.md",
    path=str(ROOT),
)
