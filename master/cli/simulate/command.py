"""`rts simulate`: the command around the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import output
from master.cli.connect import JsonOption
from master.cli.failure import CommandError

if TYPE_CHECKING:
    from aod.genetic import GAConfig
    from aod.replay import QueueOrder
    from master.cli.simulate.sources import Source
    from rtscore.params import GAParams

EPILOG = """\b
Examples:
  rts simulate --generate steady
  rts simulate --generate mixed --load 0.5,0.7,0.95 --report compare.html
  rts simulate --generate steady --load 2 --policy rts --queue ours,edf,fifo
  rts simulate --history .rts/master.db --policy rts,least-loaded --json
  rts simulate --openb traces/openb --load 0.95 --seeds 10
"""

_TASKS, _LOAD = 10_000, 0.7
_LEAST_LOAD, _MOST_LOAD = 0.01, 20.0


def simulate(
    generate: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="Made-up tasks that arrive steady, burst, mixed or diurnal."),
    ] = "",
    workload: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tasks, one JSON object a line, with their runtimes.")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Recorded attempts: a master's store, or one JSON object a line (.gz too)."
        ),
    ] = None,
    openb: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The openb trace: its pod list and node list.")
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L[,L...]",
            help="Offered load; 0.7 is 70 % of what the cluster can do. Arrivals are compressed to it. "
            "Default: 0.7; of a file, as recorded.",
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="N", help="How many draws of chance; 5 or more have intervals."
        ),
    ] = 5,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P[,P...]",
            help="rts (which learns first, unless --params), rts-untrained, round-robin, random, "
            "least-loaded, least-allocated, best-fit, first-fit, tetris, power-of-two, oracle. Default: all.",
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(metavar="Q[,Q...]", help="ours, fifo, edf, least-laxity. Default: ours."),
    ] = None,
    params: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parameters of rts; it learns nothing then.")
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=10_000_000,
            metavar="N",
            help="How many to make, or to draw of the trace. Default: 10000.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, metavar="N", help="Of the made-up cluster. Default: 100."),
    ] = None,
    identical: Annotated[
        bool, typer.Option("--identical", help="Made-up workers of one size and speed, not of many.")
    ] = False,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Workers, one JSON object a line: worker_id, cpu, memory, gpu, storage, speed.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plots: an .html page, a .png, or a folder for a .png of each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare placement policies on a workload, by replaying it.

    Policies decide on the production kernel and queue. The policy rts first learns, from other tasks than
    those that it is judged on, with the search that GA_POPULATION_SIZE, GA_GENERATIONS and the like set.
    Nothing here talks to a master.
    """
    _one_source(generate, workload, history, openb)
    _fitting(
        generate, workload, history, openb, tasks=tasks, workers=workers, identical=identical, cluster=cluster
    )
    loads = _loads(load, recorded=workload is not None or history is not None)
    if report is not None:
        _check_report(report)
    if find_spec("numba") is None:
        raise CommandError(
            "The simulator is compiled by numba, which is not installed: pip install 'rtscore[numba]'."
        )
    from aod.replay import QueueOrder
    from master.cli.simulate import inputs
    from master.cli.simulate.comparison import PLAYERS, RTS

    players = _chosen("--policy", policy, PLAYERS, PLAYERS)
    orders = [QueueOrder(name) for name in _chosen("--queue", queue, [str(q) for q in QueueOrder], ["ours"])]
    given = inputs.params(params) if params is not None else None
    learns = inputs.search() if RTS in players and given is None else None
    n = tasks if tasks is not None else _TASKS
    source: Source
    try:
        if generate:
            source = inputs.generated(generate, n, workers, identical, cluster)
        elif workload is not None:
            source = inputs.workload(workload, workers, identical, cluster)
        elif history is not None:
            source = inputs.history(history, cluster, split=learns is not None)
        else:
            assert openb is not None
            source = inputs.openb(openb, tasks)
        _run(source, loads, orders, players, seeds, given, learns=learns, report=report, as_json=as_json)
    except KeyboardInterrupt:
        output.say("Stopped; nothing was written.")
        raise typer.Exit(130) from None


def _run(
    source: Source,
    loads: Sequence[float | None],
    orders: Sequence[QueueOrder],
    players: Sequence[str],
    seeds: int,
    params: GAParams | None,
    *,
    learns: GAConfig | None,
    report: Path | None,
    as_json: bool,
) -> None:
    from master.cli.simulate.comparison import MIN_SEEDS, compare, count_steps
    from master.cli.simulate.progress import progress
    from master.cli.simulate.table import document, print_comparison

    if seeds < MIN_SEEDS:
        output.say(f"{seeds} seeds are too few for intervals; {MIN_SEEDS} are needed.")
    try:
        with progress(count_steps(loads, orders, players, seeds, learns)) as advance:
            found = compare(source, loads, orders, players, seeds, params, learns, advance)
    except (OSError, ValueError) as error:
        raise CommandError(f"{source.kind}: {error}.") from None
    if report is not None:
        from master.cli.simulate.report import write_report

        try:
            write_report(report, found, source.describe())
        except OSError as error:
            raise CommandError(f"--report: {report} cannot be written: {error.strerror}.") from None
        output.say(f"The report is in {report}.")
    if as_json:
        output.print_json(document(found, source.describe()))
    else:
        print_comparison(found)


def _one_source(generate: str, workload: Path | None, history: Path | None, openb: Path | None) -> None:
    names = [
        name
        for name, value in (
            ("--generate", generate),
            ("--workload", workload),
            ("--history", history),
            ("--openb", openb),
        )
        if value
    ]
    if len(names) != 1:
        came = f"{' and '.join(names)} were given" if names else "nothing to replay was given"
        raise CommandError(f"{came}; give one of --generate, --workload, --history and --openb.")


def _fitting(
    generate: str,
    workload: Path | None,
    history: Path | None,
    openb: Path | None,
    *,
    tasks: int | None,
    workers: int | None,
    identical: bool,
    cluster: Path | None,
) -> None:
    """Refuse an option that would silently do nothing."""
    if tasks is not None and not (generate or openb):
        raise CommandError("--tasks goes with --generate and --openb; a file is replayed whole.")
    if (workers is not None or identical) and not (generate or workload):
        raise CommandError("--workers and --identical go with --generate and --workload.")
    if cluster is not None and openb is not None:
        raise CommandError("--cluster does not go with --openb: the trace has nodes of its own.")
    if cluster is not None and (workers is not None or identical):
        raise CommandError("--cluster and a made-up cluster (--workers, --identical) were both given.")


def _loads(given: list[str] | None, *, recorded: bool) -> list[float | None]:
    if not given:
        return [None if recorded else _LOAD]
    loads: list[float | None] = []
    for word in _words(given):
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not _LEAST_LOAD <= value <= _MOST_LOAD:
            raise CommandError(
                f"--load: {word!r} came; a number from {_LEAST_LOAD:g} to {_MOST_LOAD:g} is allowed, "
                "and 0.7 is 70 %."
            )
        if value not in loads:
            loads.append(value)
    return loads


def _words(given: Sequence[str]) -> list[str]:
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


def _chosen(
    option: str, given: list[str] | None, allowed: Sequence[str], default: Sequence[str]
) -> list[str]:
    chosen = list(dict.fromkeys(_words(given or default)))
    for word in chosen:
        if word not in allowed:
            raise CommandError(f"{option}: {word!r} came; allowed are {', '.join(allowed)}.")
    return chosen


def _check_report(path: Path) -> None:
    """Find out before a long run what would fail after it."""
    if find_spec("matplotlib") is None:
        raise CommandError(
            "--report draws with matplotlib, which is not installed: pip install 'rtscore[report]'."
        )
    if path.suffix.lower() not in ("", ".html", ".png") and not path.is_dir():
        raise CommandError(
            f"--report: {path} came; a name that ends in .html or .png, or a folder, is allowed."
        )
    if not path.parent.is_dir():
        raise CommandError(f"--report: there is no folder {path.parent}.")
