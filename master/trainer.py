"""The trainer: a process beside the master that learns from the store, one request a line of its input.

Run as `python -m master.trainer`. A line is an `EpochRequest` or a `ComparisonRequest`, its answer the reply
to it on one line; before that of an epoch a line of `EpochProgress` for each generation. The end of the
input ends the process, also in the middle of an epoch, so a master that was killed leaves none behind. It
only reads the store, through a connection of its own, and it yields the processor to others.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO

import msgspec
import numpy as np

from aod.epoch import EpochReport, run_ga_epoch
from aod.fitness import Judge
from aod.genetic import GAConfig, Generation
from aod.history import History
from aod.model import runtime_model
from aod.replay import Replayer
from aod.theta import train_theta
from aod.workloads import make_machines, make_workload
from master.children import tell_end
from master.epochs import (
    ComparisonReply,
    ComparisonRequest,
    EpochProgress,
    EpochReply,
    EpochRequest,
    Totals,
)
from master.store.reader import reader
from rtscore import GAParams
from rtscore.errors import ParamsError
from rtscore.params import params_from_dict, params_to_dict

NICE = 10
MOST_RECORDS = 50_000
"""An epoch learns from so many at most, the newest; they take some 20 s on two cores."""


def read_history(store: str, since: float, until: float) -> History:
    """What finished in [since, until), the newest `MOST_RECORDS` of it, from a store that may have a master.

    Raises
    ------
    StoreOpenError
        When it is not a store, of another version, or cannot be reached.
    """
    with reader(store) as found:
        since = max(since, found.newest_since(MOST_RECORDS, until))
        return History.from_columns(found.history(since, until))


def newest_finish(store: str) -> float:
    """When the last recorded outcome of a store finished, in Unix seconds; -inf when it has none."""
    with reader(store) as found:
        return found.newest_since(0, math.inf)


def read_cluster(store: str) -> tuple[dict[str, Totals], GAParams | None]:
    """The registered workers of a store and its newest parameters; None when it has none that can be used.

    Raises
    ------
    StoreOpenError
        As `read_history`.
    """
    with reader(store) as found:
        workers = {w.worker_id: (w.cpu, w.memory, w.gpu, w.storage) for w in found.workers()}
        if (newest := found.newest_params()) is not None:
            with contextlib.suppress(ParamsError):
                return workers, params_from_dict(msgspec.json.decode(newest.params))
        return workers, None


def run(request: EpochRequest, progress: Callable[[Generation], None] = lambda _: None) -> EpochReply:
    """One epoch on a store.

    Raises
    ------
    StoreOpenError
        When the store cannot be read.
    ParamsError, GAConfigError
        When the request holds what is no parameter set or no configuration.
    """
    return learn(
        read_history(request.store, request.since, request.until),
        request.workers,
        params_from_dict(request.params),
        GAConfig(request.population_size, request.generations, request.mutation_rate, request.crossover_rate),
        seed=request.seed,
        progress=progress,
    )


def learn(
    history: History,
    workers: Mapping[str, Totals] | None,
    params: GAParams,
    config: GAConfig,
    *,
    seed: int,
    progress: Callable[[Generation], None] = lambda _: None,
) -> EpochReply:
    """One epoch on a history; an accepted set carries the runtime model in its Meta."""
    report = run_ga_epoch(history, workers, params, config, seed=seed, progress=progress)
    part = history.take(history.usable().mask)
    fit = train_theta(part, defaults=params.theta)
    model = runtime_model(part, fit)
    document = None if model is None else model.to_document()
    accepted = None
    if report.accepted:
        accepted = params_to_dict(report.params)
        accepted["Meta"]["model"] = document
    reply = EpochReply(
        verdict=report.verdict,
        reason=report.reason,
        params=accepted,
        model=document,
        # Too few records are no reason not to say of which types they are.
        evidence=_evidence(report) | {"regression": report.regression or fit.report()},
    )
    # As the master will read it, without numpy's scalars.
    return msgspec.json.decode(msgspec.json.encode(reply, enc_hook=_plain), type=EpochReply)


def compare(request: ComparisonRequest) -> ComparisonReply:
    """What share of the deadlines of live tasks each set would have met, by what they tell of the workers.

    Raises
    ------
    StoreOpenError, ParamsError
        As `run`.
    """
    history = read_history(request.store, request.since, request.until)
    part = history.take(history.usable().mask & (history.arrival >= request.since))
    part = part.take(np.argsort(part.arrival, kind="stable"))
    if not len(part):
        return ComparisonReply(sla=[], failed="none of the tasks can be replayed")
    judge = Judge(part, train_theta(part), request.workers)
    return ComparisonReply(sla=[terms.sla for terms in judge.judge_all(map(params_from_dict, request.sets))])


def _evidence(report: EpochReport) -> dict[str, Any]:
    return {
        "seed": report.seed,
        "records": report.records,
        "usable": report.usable,
        "left_out": report.left_out,
        "workers": report.workers,
        "generations": [msgspec.to_builtins(generation) for generation in report.generations],
        "stopped": report.stopped,
        "candidate": msgspec.to_builtins(report.candidate),
        "current": msgspec.to_builtins(report.current),
        "promised": msgspec.to_builtins(report.promised),
        "duration_s": report.duration_s,
    }


def warm_up() -> None:
    """Compile what an epoch needs, or load it: half a minute at the very first start, later half a second."""
    machines = make_machines(4, 0)
    history = Replayer(machines, make_workload(120, machines, 0.5, 0)).run().history()
    learn(history, None, GAParams.default(), GAConfig(population_size=4, generations=1), seed=0)


def answer(
    line: bytes, progress: Callable[[Generation], None] = lambda _: None
) -> EpochReply | ComparisonReply:
    """The reply to a line, whatever is in it; `progress` is told of each generation before."""
    request: EpochRequest | ComparisonRequest | None = None
    try:
        request = msgspec.json.decode(line, type=EpochRequest | ComparisonRequest)
        return compare(request) if isinstance(request, ComparisonRequest) else run(request, progress)
    except Exception as error:  # The master decides what follows; it must be told, not left waiting.
        reason = f"{type(error).__name__}: {error}"
        if isinstance(request, ComparisonRequest):
            return ComparisonReply(sla=[], failed=reason)
        return EpochReply(verdict="failed", reason=reason)


def _progress(generation: Generation) -> EpochProgress:
    best, mean = (float(v) if math.isfinite(v) else None for v in (generation.best, generation.mean))
    return EpochProgress(generation=generation.number, best=best, mean=mean)


def _plain(value: Any) -> Any:
    """The Python number in a numpy scalar."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not told to the master")


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines as they come; when there will be no more the process ends, whatever it is doing."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        # There is nothing to put in order: we hold no state and only read.
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield lines.get()


def main() -> None:
    """Answer until the input ends."""
    # Ctrl-C on a terminal reaches us too; the master ends us in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    # What a library prints must not come between the answers.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)

        def say(message: msgspec.Struct) -> None:
            replies.write(msgspec.json.encode(message) + b"\n")
            replies.flush()

        lines = _lines(sys.stdin.buffer)
        try:
            warm_up()
            for line in lines:
                say(answer(line, lambda generation: say(_progress(generation))))
        except BrokenPipeError:
            pass
        except BaseException as error:
            tell_end(error)
        finally:
            # An ordinary exit would wait for the lock of the stream that the other thread reads.
            os._exit(1)


if __name__ == "__main__":
    main()
