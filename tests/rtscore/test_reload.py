"""The reloader: a good file goes live, a bad one is reported once and changes nothing."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from rtscore import GAParams, ParamsReloader, RTSScheduler, WorkerTable, save_ga_params


class Holder:
    """Anything with parameters; tells when they change."""

    def __init__(self) -> None:
        self._params = GAParams.default()
        self.changed = threading.Event()

    @property
    def params(self) -> GAParams:
        return self._params

    @params.setter
    def params(self, params: GAParams) -> None:
        self._params = params
        self.changed.set()


LEARNED = GAParams(penalty={"w1": 1.0})


def test_a_changed_file_goes_live_once(tmp_path: Path) -> None:
    path = tmp_path / "ga.json"
    holder = Holder()
    reloader = ParamsReloader(path, holder)
    assert not reloader.check()
    save_ga_params(LEARNED, path)
    assert reloader.check()
    assert holder.params == LEARNED
    assert not reloader.check()


def test_a_bad_file_is_reported_once_and_the_parameters_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ga.json"
    holder = Holder()
    reloader = ParamsReloader(path, holder)
    save_ga_params(LEARNED, path)
    reloader.check()
    with caplog.at_level(logging.WARNING):
        path.write_text("{")
        for _ in range(3):
            assert not reloader.check()
    assert len(caplog.records) == 1
    assert holder.params == LEARNED
    save_ga_params(GAParams.default(), path)
    assert reloader.check()
    assert holder.params == GAParams.default()


def test_a_file_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ga.json"
    holder = Holder()
    save_ga_params(LEARNED, path)
    reloader = ParamsReloader(path, holder)
    reloader.check()
    path.unlink()
    assert not reloader.check()
    assert holder.params == LEARNED


def test_the_thread_notices_and_stops(tmp_path: Path) -> None:
    path = tmp_path / "ga.json"
    holder = Holder()
    with ParamsReloader(path, holder, interval_s=0.01) as reloader:
        save_ga_params(LEARNED, path)
        assert holder.changed.wait(10)
        with pytest.raises(RuntimeError, match="running already"):
            reloader.start()
    reloader.stop()
    assert not any(t.name == "rtscore-params-reloader" for t in threading.enumerate())


def test_an_interval_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="interval_s"):
        ParamsReloader(tmp_path, Holder(), interval_s=0)


def test_a_scheduler_takes_reloaded_parameters(tmp_path: Path) -> None:
    path = tmp_path / "ga.json"
    scheduler = RTSScheduler(WorkerTable())
    save_ga_params(LEARNED, path)
    assert ParamsReloader(path, scheduler).check()
    assert scheduler.params == LEARNED
