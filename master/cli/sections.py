"""The list of commands in `rts --help`: in sections, each command with its whole first sentence."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

RUN = "Run a cluster"
TASKS = "Submit and follow tasks"
CLUSTER = "See and steer the cluster"
LEARN = "Learn and compare"
KEEP = "Set up and maintain"


class Sections(TyperGroup):
    """A group whose commands are listed by their `rich_help_panel`, in the order in which they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        sections = dict[str, list[tuple[str, str]]]()
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert command is not None
            section = getattr(command, "rich_help_panel", None) or "Commands"
            sentence = (command.help or "").split("\n\n")[0].replace("\n", " ")
            sections.setdefault(section, []).append((name, sentence))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)
