"""Writes what the documents take from the sources: tables of settings, and files that a page shows.

`python docs/generate.py` writes it, `--check` only says what is stale. A part stands between
`<!-- generated: NAME -->` and `<!-- end -->`; NAME is a table of this file, or the path of a file to show.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import typer

from master.cli.app import app
from master.config import _SETTINGS, ConfigError, MasterConfig, _value
from rtscore.params import _GROUPS, AFFINITY_BOUND, THETA_MAX
from rtscore.tasks import DEFAULT_TAU, TASK_TYPES
from worker.config import WorkerConfig

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
LANGUAGES = {".py": "python", ".json": "json", ".service": "ini", ".toml": "toml"}
# What the metavar of a flag says about the unit of its number.
UNITS = {"TIME": "s", "SECONDS": "s", "RATE": "fraction", "SHARE": "fraction", "K": "factor", "N": "count"}
# What the numbers of a parameter file mean.
MEANINGS = {
    "Theta.Theta1": "by what fraction a runtime grows when the task takes all cores that a worker has left",
    "Theta.Theta2": "the same for memory",
    "Theta.Theta3": "the same for devices",
    "Theta.Theta4": "the same where the worker's load is 1",
    "Risk.Alpha": "weight of a second of predicted lateness in the risk",
    "Risk.Beta": "weight of the worker's load in the risk",
    "AffinityW.A1": "weight of speed when affinities are learned",
    "AffinityW.A2": "weight of reliability there",
    "AffinityW.A3": "weight of overload there, which lowers them",
    "PenaltyW.G1": "weight of missed deadlines when penalties are learned",
    "PenaltyW.G2": "weight of overload there",
    "PenaltyW.G3": "weight of energy there",
}
RESOURCES = {"cpu": "cores", "memory": "GiB", "gpu": "devices", "storage": "GiB"}


def commands() -> dict[str, click.Command]:
    """Every command of `rts` by its full name."""
    found: dict[str, click.Command] = {}

    def walk(prefix: str, command: Any) -> None:
        for name, each in getattr(command, "commands", {}).items():
            walk(f"{prefix}{name} ", each)
        if not hasattr(command, "commands"):
            found[prefix.strip()] = command

    walk("", typer.main.get_command(app))
    return found


def options(command: click.Command) -> Iterator[Any]:
    """A command's flags, without --help."""
    yield from (each for each in command.params if each.param_type_name == "option" and each.name != "help")


def table(header: str, rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; `header` has its titles between bars."""
    titles = header.split("|")
    lines = [titles, ["---"] * len(titles), *(row for row in rows)]
    return "\n".join(
        "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def code(value: object) -> str:
    """A value as code, nothing for nothing."""
    return f"`{value}`" if str(value) else ""


def shown(value: object) -> str:
    """A default as a person would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value:,.10g}`".replace(",", "") if isinstance(value, (int, float)) else code(value) or "–"


def allowed(read: Callable[[object], Any], metavar: str) -> str:
    """What a setting's reader says is allowed when it is given what hardly any takes."""
    try:
        _value(read, "", "-1", "")
    except ConfigError as error:
        sentence = str(error).partition("; ")[2]
        if "500ms" in sentence:
            return "a time" if _refuses(read, "0") else "a time, or 0"
        return re.sub("(allowed are | (is|are) allowed)", "", sentence).rstrip(",")
    return {"FILE": "a path", "FILE|URI": "a path, or a URI mongodb://"}.get(metavar, "text")


def _refuses(read: Callable[[object], Any], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return True
    return False


def master_settings() -> str:
    """The master's settings: the keys are those of the file, the words those of `rts master --help`."""
    flags = {max(each.opts, key=len): each for each in options(commands()["master"])}
    defaults = {field.name: field.default for field in msgspec.structs.fields(MasterConfig)}
    rows = []
    for key, variable, read in _SETTINGS:
        name = "--" + key.removesuffix("_s").replace("_", "-")
        option = flags.pop(name)
        unit = UNITS.get(option.metavar or "", "")
        rows.append(
            (
                f"`{key}`<br>`{name}`<br>`{variable}`",
                shown(defaults[key]),
                unit,
                allowed(read, option.metavar or ""),
                re.sub(r"^\[[^]]*\] ", "", option.help),
            )
        )
    assert set(flags) == {"--config"}, f"flags without a setting: {flags}"
    return table("key, flag, environment|default|unit|allowed|effect", rows)


def worker_settings() -> str:
    """The flags of `rts worker`."""
    rows = []
    for option in options(commands()["worker"]):
        unit = RESOURCES.get(option.name) or UNITS.get(option.metavar or "", "")
        names = [f"`{max(option.opts, key=len)}`", *(f"`{each}`" for each in variables(option))]
        rows.append(
            ("<br>".join(names), shown("" if option.default is None else option.default), unit, option.help)
        )
    return table("flag, environment|default|unit|effect", rows)


def worker_fixed() -> str:
    """The fields of WorkerConfig that no flag sets."""
    flags = {option.name for option in options(commands()["worker"])}
    given = flags | {"masters", "credentials", "container_host", "drain_timeout_s"}
    words = dict(
        re.findall(r"^    (\w+) : [^\n]*\n((?:        [^\n]*\n)+)", WorkerConfig.__doc__ or "", re.MULTILINE)
    )
    rows = [
        (code(field.name), shown(field.default), " ".join(words[field.name].split()))
        for field in msgspec.structs.fields(WorkerConfig)
        if field.name not in given
    ]
    return table("field|default|effect", rows)


def variables(option: Any) -> list[str]:
    """The environment variables of a flag."""
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


def client_variables() -> str:
    """Every flag of the other commands that has an environment variable."""
    seen: dict[tuple[str, ...], tuple[Any, list[str]]] = {}
    for name, command in commands().items():
        for option in options(command):
            if variables(option) and name not in ("master", "worker"):
                key = (max(option.opts, key=len), *variables(option))
                seen.setdefault(key, (option, []))[1].append(name)
    most = max(len(names) for _, names in seen.values())
    rows = [
        (
            "<br>".join(f"`{each}`" for each in key[1:]),
            code(key[0]),
            shown(option.default or ""),
            "all that reach a master" if len(names) == most else ", ".join(f"`rts {name}`" for name in names),
            option.help,
        )
        for key, (option, names) in seen.items()
    ]
    return table("environment|flag|default|commands|effect", rows)


def parameter_keys() -> str:
    """The numbers of a parameter file."""
    rows = [
        (
            f"`{group}.{field.name.capitalize()}`",
            shown(field.default),
            f"0 to {THETA_MAX:g}" if group == "Theta" else "at least 0, finite",
            MEANINGS[f"{group}.{field.name.capitalize()}"],
        )
        for group, _, kind in _GROUPS
        for field in msgspec.structs.fields(kind)
    ]
    bounds = f"−{AFFINITY_BOUND:g} to {AFFINITY_BOUND:g}"
    rows.append(("`AffinityMatrix.TYPE.WORKER`", "`0`", bounds, "taken off the type's risk on the worker"))
    rows.append(("`PenaltyVector.WORKER`", "`0`", "at least 0, finite", "added to every risk on the worker"))
    rows.append(("`Meta`", "empty", "any JSON object", "carried along, never interpreted"))
    return table("key|default|allowed|effect", rows)


def task_types() -> str:
    """The six types in their order."""
    return table(
        "type|τ before anything ran, s", [(code(each), f"{DEFAULT_TAU[each]:g}") for each in TASK_TYPES]
    )


TABLES = {
    "master-settings": master_settings,
    "worker-settings": worker_settings,
    "worker-fixed": worker_fixed,
    "client-variables": client_variables,
    "parameter-keys": parameter_keys,
    "task-types": task_types,
}


def part(name: str) -> str:
    """What belongs between the marks of a part."""
    if name in TABLES:
        return TABLES[name]()
    path = ROOT / name
    return f"```{LANGUAGES[path.suffix]}\n{path.read_text(encoding='utf-8').rstrip()}\n```"


def generated(text: str) -> str:
    """A document with all of its parts made anew."""
    return PART.sub(lambda found: f"{found[1]}\n{part(found[2])}\n\n{found[3]}", text)


def main() -> int:
    """Write every document that has changed, or with --check name it and exit with 1."""
    stale = 0
    for path in sorted(ROOT.glob("docs/*.md")):
        before = path.read_text(encoding="utf-8")
        after = generated(before)
        if before != after:
            stale += 1
            print(f"{path.relative_to(ROOT)} is {'stale' if '--check' in sys.argv else 'written'}")
            if "--check" not in sys.argv:
                path.write_text(after, encoding="utf-8")
    return bool(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
