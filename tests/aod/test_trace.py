"""The openb trace as a workload; and what is said of a folder that does not hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aod.policies import Policy
from aod.replay import Replayer
from aod.trace import NODES, PODS, load_trace
from benchmarks import openb

FOLDER = openb.folder()
present = pytest.mark.skipif(
    FOLDER is None, reason="the openb trace is absent: set RTS_OPENB_DIR to the folder with its two csv files"
)


@present
def test_the_trace_keeps_its_order_and_its_runtimes() -> None:
    assert FOLDER is not None
    machines, load = load_trace(FOLDER, 0.7, 1)
    assert (len(machines), len(load)) == (191, 7228)
    assert load.base_s.max() == 86_400.0
    half = load_trace(FOLDER, 0.35, 1)[1]
    # Another load is another span and nothing else.
    assert half.base_s.tobytes() == load.base_s.tobytes()
    assert np.allclose(half.arrival / half.arrival[-1], load.arrival / load.arrival[-1])
    assert half.arrival[-1] > 1.5 * load.arrival[-1]


@present
@pytest.mark.parametrize(("offered", "low", "high"), [(0.3, 0.2, 0.4), (0.7, 0.5, 0.8)])
def test_the_load_is_the_use_of_the_resource_that_is_asked_most(
    offered: float, low: float, high: float
) -> None:
    assert FOLDER is not None
    machines, load = load_trace(FOLDER, offered, 1)
    replay = Replayer(machines, load).run(Policy.LEAST_LOADED)
    until = load.arrival[-1]
    runs = np.maximum(np.minimum(replay.finish, until) - np.minimum(replay.start, until), 0.0)
    used = (load.request * runs[:, None]).sum(axis=0)[:3]
    share = used / (machines.totals.sum(axis=0)[:3] * until)
    assert low < share.max() < high, share


@present
def test_nodes_of_one_model_are_about_equally_fast_and_models_differ() -> None:
    assert FOLDER is not None
    speed_w = np.log(load_trace(FOLDER, 0.7, 1)[0].slowdown_tw).mean(axis=0)
    assert speed_w.std() > 0.2
    # Few speeds: sorted, most neighbours are within the nodes' own spread.
    assert np.median(np.diff(np.sort(speed_w))) < 0.01


@present
def test_a_sample_of_pods_has_the_size_asked_for_and_is_seeded() -> None:
    assert FOLDER is not None
    one, same, other = (load_trace(FOLDER, 0.7, seed, pods=3000)[1] for seed in (1, 1, 2))
    assert len(one) == 3000
    assert one.base_s.tobytes() == same.base_s.tobytes() != other.base_s.tobytes()


@present
def test_a_load_that_the_pods_cannot_offer_is_refused_with_the_bounds() -> None:
    assert FOLDER is not None
    for load in (1e-9, 1e9):
        with pytest.raises(ValueError, match=r"to .* is allowed for these pods"):
            load_trace(FOLDER, load, 1)


def test_a_file_without_the_columns_names_them(tmp_path: Path) -> None:
    (tmp_path / NODES).write_text("sn,cpu_milli\na,1\nb,2\n")
    (tmp_path / PODS).write_text("")
    with pytest.raises(ValueError, match="memory_mib, gpu, model"):
        load_trace(tmp_path, 0.7, 1)
    with pytest.raises(FileNotFoundError):
        load_trace(tmp_path / "absent", 0.7, 1)
