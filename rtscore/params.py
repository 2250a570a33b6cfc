"""The learned parameters of the risk model: immutable, checked, and the JSON file they travel in."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from rtscore.errors import ParamsError
from rtscore.tasks import TASK_TYPES, is_valid_task_type

THETA_MAX = 2.0
AFFINITY_BOUND = 5.0


def _bounded(field: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParamsError(f"{field} is {value!r}; a number in [{low:g}, {high:g}] is allowed")
    number = float(value)
    if not (low <= number <= high and math.isfinite(number)):
        raise ParamsError(f"{field} is {number!r}; a finite number in [{low:g}, {high:g}] is allowed")
    return number


class _Weights(msgspec.Struct, frozen=True):
    """A group of non-negative finite numbers; a subclass may lower the upper bound."""

    def __post_init__(self) -> None:
        high = THETA_MAX if isinstance(self, Theta) else math.inf
        for name in self.__struct_fields__:
            value = _bounded(f"{type(self).__name__}.{name}", getattr(self, name), 0.0, high)
            msgspec.structs.force_setattr(self, name, value)


class Theta(_Weights, frozen=True):
    """Prediction weights: how a request's share of cpu, memory and gpu, and load, stretch a runtime.

    Each is finite and in [0, 2].
    """

    theta1: float = 0.1
    theta2: float = 0.1
    theta3: float = 0.3
    theta4: float = 0.2


class Risk(_Weights, frozen=True):
    """Weight of predicted lateness (`alpha`, per second) and of load (`beta`); finite and not negative."""

    alpha: float = 10.0
    beta: float = 1.0


class AffinityWeights(_Weights, frozen=True):
    """Weights of speed, reliability and overload in an affinity; finite and not negative."""

    a1: float = 1.0
    a2: float = 2.0
    a3: float = 0.5


class PenaltyWeights(_Weights, frozen=True):
    """Weights of SLA failures, overload and energy in a penalty; finite and not negative."""

    g1: float = 2.0
    g2: float = 1.0
    g3: float = 0.5


class GAParams(msgspec.Struct, frozen=True):
    """Everything that AOD learns and the scheduler uses.

    Parameters
    ----------
    theta, risk, affinity_weights, penalty_weights
        The weight groups; defaults as in their classes.
    affinity : mapping of task type to mapping of worker id to score
        Scores in [-5, +5]; a pair that is not named has 0, which means average.
    penalty : mapping of worker id to score
        Scores finite and not negative; a worker that is not named has 0.
    meta : mapping
        Where the set came from; carried along, never interpreted.

    Raises
    ------
    ParamsError
        When a value is out of bounds; the message names the field, the value and the bound.
    """

    theta: Theta = Theta()
    risk: Risk = Risk()
    affinity_weights: AffinityWeights = AffinityWeights()
    penalty_weights: PenaltyWeights = PenaltyWeights()
    affinity: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    penalty: Mapping[str, float] = MappingProxyType({})
    meta: Mapping[str, Any] = MappingProxyType({})

    def __post_init__(self) -> None:
        for field, kind in (
            ("theta", Theta),
            ("risk", Risk),
            ("affinity_weights", AffinityWeights),
            ("penalty_weights", PenaltyWeights),
        ):
            if not isinstance(getattr(self, field), kind):
                raise ParamsError(f"{field} is {getattr(self, field)!r}; a {kind.__name__} is allowed")
        affinity: dict[str, Mapping[str, float]] = {}
        for task_type, row in _mapping("affinity", self.affinity).items():
            if not is_valid_task_type(task_type):
                raise ParamsError(f"affinity has the row {task_type!r}; allowed are {', '.join(TASK_TYPES)}")
            affinity[str(task_type)] = MappingProxyType(
                {
                    str(worker): _bounded(
                        f"affinity[{task_type}][{worker}]", score, -AFFINITY_BOUND, AFFINITY_BOUND
                    )
                    for worker, score in _mapping(f"affinity[{task_type}]", row).items()
                }
            )
        penalty = {
            str(worker): _bounded(f"penalty[{worker}]", score, 0.0, math.inf)
            for worker, score in _mapping("penalty", self.penalty).items()
        }
        msgspec.structs.force_setattr(self, "affinity", MappingProxyType(affinity))
        msgspec.structs.force_setattr(self, "penalty", MappingProxyType(penalty))
        meta = dict(_mapping("meta", self.meta))
        try:
            # Python reads Infinity and NaN where JSON has neither; the set could not be saved again.
            json.dumps(meta, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ParamsError(f"meta cannot be written as JSON: {error}") from None
        msgspec.structs.force_setattr(self, "meta", MappingProxyType(meta))

    @classmethod
    def default(cls) -> GAParams:
        """The set that is in use before anything was learned."""
        return cls()


def _mapping(field: str, value: object) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ParamsError(f"{field} is {value!r}; an object is allowed")
    return value


# The file's key, the field, and per group its class and the prefix that its numbered keys have in the file.
_GROUPS: tuple[tuple[str, str, type[_Weights]], ...] = (
    ("Theta", "theta", Theta),
    ("Risk", "risk", Risk),
    ("AffinityW", "affinity_weights", AffinityWeights),
    ("PenaltyW", "penalty_weights", PenaltyWeights),
)


def params_to_dict(params: GAParams) -> dict[str, Any]:
    """The parameters in the layout of the file, as plain dicts and floats."""
    document: dict[str, Any] = {
        key: {
            name.capitalize(): value for name, value in msgspec.structs.asdict(getattr(params, field)).items()
        }
        for key, field, _ in _GROUPS
    }
    document["AffinityMatrix"] = {task_type: dict(row) for task_type, row in params.affinity.items()}
    document["PenaltyVector"] = dict(params.penalty)
    document["Meta"] = dict(params.meta)
    return document


def params_from_dict(document: object) -> GAParams:
    """Parameters from the layout of the file.

    A missing group or key takes its default; an unknown key is ignored.

    Raises
    ------
    ParamsError
        When a value is out of bounds or of the wrong kind.
    """
    if not isinstance(document, Mapping):
        raise ParamsError(f"the document is {type(document).__name__}; an object is allowed")
    fields: dict[str, Any] = {}
    for key, field, kind in _GROUPS:
        group = _mapping(key, document.get(key))
        names = {name.capitalize(): name for name in kind.__struct_fields__}
        fields[field] = kind(**{names[k]: v for k, v in group.items() if k in names})
    return GAParams(
        affinity=_mapping("AffinityMatrix", document.get("AffinityMatrix")),
        penalty=_mapping("PenaltyVector", document.get("PenaltyVector")),
        meta=_mapping("Meta", document.get("Meta")),
        **fields,
    )


def load_ga_params(path: str | os.PathLike[str]) -> GAParams:
    """Read a parameter file.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ParamsError
        When it is not JSON (with line and column) or holds a value out of bounds (with the field).
    """
    raw = Path(path).read_bytes()
    try:
        return params_from_dict(json.loads(raw))
    except json.JSONDecodeError as error:
        raise ParamsError(
            f"{os.fspath(path)}: not JSON at line {error.lineno} column {error.colno}: {error.msg}"
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{os.fspath(path)}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ParamsError(f"{os.fspath(path)}: nested too deeply to be parameters") from None
    except ValueError as error:
        # A ParamsError, or an integer of more digits than Python reads.
        raise ParamsError(f"{os.fspath(path)}: {error}") from None


def save_ga_params(params: GAParams, path: str | os.PathLike[str]) -> None:
    """Write a parameter file so that a reader sees the old one or the new one, never a part of either."""
    target = Path(path)
    text = json.dumps(params_to_dict(params), indent=2, sort_keys=True, allow_nan=False) + "\n"
    fd, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    # The rename itself is durable only once the directory is.
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
