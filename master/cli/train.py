"""`rts train`: an epoch of learning now, by the running master or by hand on a store or a history."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from master.cli import output
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect
from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from aod.genetic import Generation
    from aod.history import History
    from master.epochs import EpochReply, Totals
    from rtscore import GAParams

EPILOG = """\b
Examples:
  rts train
  rts train --store .rts/master.db --hours 6 --out params.json
  rts train --history attempts.jsonl.gz --params params.json --out params.json --json

Without --store and --history the running master runs the epoch, and what is accepted is in use at once. With
one of them this process learns, no master hears of it, and --out gets the parameters: the new ones if they
were accepted, else those that it began with. Exit code 1: there is not enough to learn from.
"""


def train(
    context: typer.Context,
    store: Annotated[
        str | None, typer.Option(metavar="FILE|URI", help="A store; its master may be running.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Recorded attempts, one JSON object a line (.gz too).")
    ] = None,
    hours: Annotated[
        float, typer.Option(metavar="HOURS", min=0.001, help="How far back, from the newest record on.")
    ] = 24.0,
    params: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Parameters in use; the store's newest, or the defaults otherwise."
        ),
    ] = None,
    population: Annotated[
        int,
        typer.Option(
            envvar="GA_POPULATION_SIZE", min=4, max=10_000, metavar="N", help="Candidates of a generation."
        ),
    ] = 20,
    generations: Annotated[
        int, typer.Option(envvar="GA_GENERATIONS", min=0, max=10_000, metavar="N", help="Of the search.")
    ] = 10,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Same seed and records, same parameters.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the parameters here.")] = None,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Run an epoch of learning.

    Estimates the runtimes of types and workers from what has finished, searches weights by replaying it, and
    judges the best on the newer tasks against those in use.
    """
    if store is None and history is None:
        _refuse_without_source(context)
        with connect(master) as client:
            outcome = client.train()
            learned = client.params().params if out is not None else None
        answer = {
            "verdict": outcome.verdict,
            "reason": outcome.reason,
            "version": outcome.version.version,
            "evidence": outcome.evidence,
        }
        if out is not None:
            _write(learned, out)
    elif store is not None and history is not None:
        raise CommandError("--store and --history were both given; learn from one of them.")
    else:
        reply, document = _by_hand(store, history, hours, params, population, generations, seed)
        answer = {
            "verdict": reply.verdict,
            "reason": reply.reason,
            "params": document,
            "evidence": reply.evidence,
        }
        if out is not None:
            _write(document, out)
    if as_json:
        output.print_json(answer)
    else:
        print_epoch(answer)
    if answer["verdict"] == "not enough data":
        raise typer.Exit(Exit.NO)


def _refuse_without_source(context: typer.Context) -> None:
    for name in ("hours", "params", "population", "generations", "seed"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise CommandError(
                f"--{name} is for --store or --history; the master learns by its own settings."
            )


def _by_hand(
    store: str | None,
    file: Path | None,
    hours: float,
    params: Path | None,
    population: int,
    generations: int,
    seed: int,
) -> tuple[EpochReply, dict[str, Any]]:
    """The outcome, and the parameters to use after it in the layout of their file."""
    from importlib.util import find_spec

    if find_spec("numba") is None:
        raise CommandError("rts train needs numba, which the extra cluster brings: rtscore[cluster].")
    from aod.genetic import GAConfig
    from master.trainer import learn
    from rtscore import GAParams
    from rtscore.params import params_to_dict

    workers: Mapping[str, Totals] | None = None
    if store is not None:
        history, workers, in_use = _of_store(store, hours)
    else:
        assert file is not None
        history, in_use = _of_file(file, hours), None
    if params is not None:
        in_use = _params(params)
    in_use = in_use or GAParams.default()
    with _bar(generations + 1) as progress:
        reply = learn(
            history, workers, in_use, GAConfig(population, generations), seed=seed, progress=progress
        )
    return reply, reply.params or params_to_dict(in_use)


def _of_store(store: str, hours: float) -> tuple[History, Mapping[str, Totals] | None, GAParams | None]:
    from master.store.base import StoreOpenError
    from master.trainer import newest_finish, read_cluster, read_history

    try:
        workers, in_use = read_cluster(store)
        until = newest_finish(store)
        return (
            read_history(store, until - 3600.0 * hours, math.nextafter(until, math.inf)),
            workers or None,
            in_use,
        )
    except StoreOpenError as error:
        raise CommandError(f"--store: {error}.") from None


def _of_file(file: Path, hours: float) -> History:
    import numpy as np

    from aod.jsonlines import read_history

    try:
        history, bad = read_history(file)
    except OSError as error:
        raise CommandError(f"--history: {file} cannot be read: {error.strerror or error}.") from None
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        output.say(f"{file}, line {bad[0].number}{more} left out: {bad[0].reason}.")
    finish = history.actual_finish[np.isfinite(history.actual_finish)]
    if not len(finish):
        return history
    newest = float(finish.max())
    return history.window(newest - 3600.0 * hours, np.nextafter(newest, np.inf))


def _params(path: Path) -> GAParams:
    from rtscore import load_ga_params
    from rtscore.errors import ParamsError

    try:
        return load_ga_params(path)
    except FileNotFoundError:
        raise CommandError(f"--params: there is no {path}.") from None
    except OSError as error:
        raise CommandError(f"--params: {path} cannot be read: {error.strerror}.") from None
    except ParamsError as error:
        raise CommandError(f"--params: {error}.") from None


def _write(document: object, path: Path) -> None:
    from rtscore import save_ga_params
    from rtscore.params import params_from_dict

    try:
        save_ga_params(params_from_dict(document), path)
    except OSError as error:
        raise CommandError(f"--out: {path} cannot be written: {error.strerror}.") from None


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[Generation], None]]:
    from master.cli.simulate.progress import progress

    with progress(steps) as advance:
        yield lambda generation: advance(1, f"generation {generation.number}, fitness {generation.best:.4f}")


def print_epoch(answer: Mapping[str, Any]) -> None:
    """Print an epoch's outcome for people."""
    evidence = answer["evidence"]
    version = f"version {answer['version']} is in use" if "version" in answer else ""
    left_out = ", ".join(f"{count} {reason}" for reason, count in evidence.get("left_out", {}).items())
    regression = evidence.get("regression") or {}
    best = [f"{generation['best']:.4f}" for generation in evidence.get("generations", ())]
    output.print_fields(
        [
            ("verdict", f"{answer['verdict']}: {answer['reason']}"),
            ("parameters", version),
            ("records", f"{evidence['usable']} of {evidence['records']} can be used"),
            ("left out", left_out),
            ("workers", str(evidence["workers"])),
            ("theta", " ".join(f"{weight:.3f}" for weight in regression.get("theta", ()))),
            ("R²", f"{regression['r2']:.3f}" if regression else ""),
            ("fitness", " ".join(best)),
            ("took", output.duration(evidence["duration_s"])),
        ]
    )
    if regression:
        print()
        output.print_table(
            ("TYPE", "RECORDS", "SPREAD", "SCALE"),
            [
                (
                    name,
                    f"{found['used']}" if found["enough"] else f"{found['used']}, too few",
                    f"{found['sigma']:.2f}",
                    f"{found['scale']:.2f}",
                )
                for name, found in regression["types"].items()
            ],
            right=("RECORDS", "SPREAD", "SCALE"),
        )
    if evidence.get("candidate"):
        print()
        _print_terms(evidence)


def _print_terms(evidence: Mapping[str, Any]) -> None:
    output.print_table(
        ("ON THE NEWER TASKS", "FITNESS", "SLA MET", "UTILISATION", "ENERGY", "OVERLOAD"),
        [
            (
                name,
                f"{terms['fitness']:.4f}",
                f"{terms['sla']:.1%}",
                f"{terms['utilisation']:.1%}",
                f"{terms['energy']:.3f}",
                f"{terms['overload']:.1%}",
            )
            for name, terms in (("the best found", evidence["candidate"]), ("in use", evidence["current"]))
        ],
        right=("FITNESS", "SLA MET", "UTILISATION", "ENERGY", "OVERLOAD"),
    )
