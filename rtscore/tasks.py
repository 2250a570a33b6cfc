"""What a task is: its type, its request, its deadline; checked once, immutable after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, SupportsFloat

from rtscore._kernel.records import Request
from rtscore.errors import InvalidTaskError

MAX_AMOUNT = 2.0**32
DEFAULT_SLA_MULTIPLIER = 2.0


class TaskType(StrEnum):
    """The six task types, in the order that rows of matrices and files have everywhere."""

    CPU_LIGHT = "cpu-light"
    CPU_HEAVY = "cpu-heavy"
    MEMORY_HEAVY = "memory-heavy"
    GPU_INFERENCE = "gpu-inference"
    GPU_TRAINING = "gpu-training"
    MIXED = "mixed"


TASK_TYPES: tuple[TaskType, ...] = tuple(TaskType)

DEFAULT_TAU: Mapping[str, float] = MappingProxyType(
    dict(zip(TASK_TYPES, (5.0, 15.0, 20.0, 10.0, 60.0, 10.0), strict=True))
)
"""Seconds that a task of each type is expected to run before anything was learned."""

_TYPE_INDEX: dict[str, int] = {task_type: index for index, task_type in enumerate(TASK_TYPES)}


def is_valid_task_type(task_type: object) -> bool:
    """Return whether this is one of the six types (a `TaskType` or its string)."""
    return isinstance(task_type, str) and task_type in _TYPE_INDEX


def infer_task_type(cpu: float = 0.0, memory: float = 0.0, gpu: float = 0.0) -> TaskType:
    """Return the type that a request suggests; used only when none is given.

    Parameters
    ----------
    cpu, memory, gpu : float
        Cores, GiB, devices.
    """
    if gpu > 2 and cpu > 4:
        return TaskType.GPU_TRAINING
    if gpu > 0:
        return TaskType.GPU_INFERENCE
    if memory > 8:
        return TaskType.MEMORY_HEAVY
    if cpu > 4:
        return TaskType.CPU_HEAVY
    if cpu > 0:
        return TaskType.CPU_LIGHT
    return TaskType.MIXED


def _number(name: str, value: object, allowed: str) -> float:
    if type(value) is float:
        number = value
    elif isinstance(value, (bool, str, bytes)) or not isinstance(value, SupportsFloat):
        raise InvalidTaskError(f"{name} is {value!r}; {allowed} is allowed")
    else:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidTaskError(f"{name} is {value!r}; {allowed} is allowed") from None
    if not math.isfinite(number):
        raise InvalidTaskError(f"{name} is {value!r}; {allowed} is allowed")
    return number


def _amount(name: str, value: object) -> float:
    number = _number(name, value, "a number in [0, 2**32]")
    if not 0.0 <= number <= MAX_AMOUNT:
        raise InvalidTaskError(f"{name} is {value!r}; a number in [0, 2**32] is allowed")
    return number


def _positive(name: str, value: object) -> float:
    number = _number(name, value, "a finite positive number")
    if not number > 0.0:
        raise InvalidTaskError(f"{name} is {value!r}; a finite positive number is allowed")
    return number


class Task(Request):
    """One piece of work that wants a worker. Immutable, hashable, picklable.

    Parameters
    ----------
    id : str
        Not empty.
    cpu, memory, gpu, storage : float
        The request in cores, GiB, devices and GiB; in `[0, 2**32]`, rounded to the nearest multiple of
        `2**-20` (half to even), so that reserving and releasing are exact.
    task_type : str, optional
        One of the six; inferred from the request when None.
    tau : float, optional
        Expected runtime on an average, idle worker in seconds; `DEFAULT_TAU` of the type when None.
    arrival_time : float
        Seconds; any origin, the same for all times given to one scheduler.
    sla_multiplier : float
        k, positive.
    deadline : float, optional
        ``arrival_time + sla_multiplier * tau`` when None. May lie in the past.
    user_id : str
        Carried along.

    Raises
    ------
    InvalidTaskError
        When a field is none of this; the message names the field, the value and what is allowed.
    """

    __slots__ = ()

    def __new__(
        cls,
        id: str,
        *,
        cpu: float = 0.0,
        memory: float = 0.0,
        gpu: float = 0.0,
        storage: float = 0.0,
        task_type: str | None = None,
        tau: float | None = None,
        arrival_time: float = 0.0,
        sla_multiplier: float = DEFAULT_SLA_MULTIPLIER,
        deadline: float | None = None,
        user_id: str = "",
    ) -> Task:
        if not isinstance(id, str) or not id:
            raise InvalidTaskError(f"id is {id!r}; a non-empty string is allowed")
        if not isinstance(user_id, str):
            raise InvalidTaskError(f"user_id is {user_id!r}; a string is allowed")
        cpu, memory = _amount("cpu", cpu), _amount("memory", memory)
        gpu, storage = _amount("gpu", gpu), _amount("storage", storage)
        if task_type is None:
            kind = infer_task_type(cpu, memory, gpu)
        elif is_valid_task_type(task_type):
            kind = TaskType(task_type)
        else:
            raise InvalidTaskError(f"task_type is {task_type!r}; allowed are {', '.join(TASK_TYPES)}")
        tau = DEFAULT_TAU[kind] if tau is None else _positive("tau", tau)
        arrival_time = _number("arrival_time", arrival_time, "a finite number of seconds")
        sla_multiplier = _positive("sla_multiplier", sla_multiplier)
        if deadline is None:
            deadline = arrival_time + sla_multiplier * tau
            if not math.isfinite(deadline):
                raise InvalidTaskError(
                    f"deadline is arrival_time {arrival_time!r} + sla_multiplier {sla_multiplier!r} * "
                    f"tau {tau!r}, which is not finite"
                )
        else:
            deadline = _number("deadline", deadline, "a finite number of seconds")
        return Request.__new__(
            cls,
            str.__str__(id),
            cpu,
            memory,
            gpu,
            storage,
            kind,
            _TYPE_INDEX[kind],
            tau,
            arrival_time,
            sla_multiplier,
            deadline,
            str.__str__(user_id),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), *self._key())

    def __repr__(self) -> str:
        return (
            f"Task({self.id!r}, cpu={self.cpu!r}, memory={self.memory!r}, gpu={self.gpu!r}, "
            f"storage={self.storage!r}, task_type={str(self.task_type)!r}, tau={self.tau!r}, "
            f"arrival_time={self.arrival_time!r}, sla_multiplier={self.sla_multiplier!r}, "
            f"deadline={self.deadline!r}, user_id={self.user_id!r})"
        )


def _rebuild(
    cls: type[Task],
    id: str,
    cpu: float,
    memory: float,
    gpu: float,
    storage: float,
    task_type: str,
    tau: float,
    arrival_time: float,
    sla_multiplier: float,
    deadline: float,
    user_id: str,
) -> Task:
    return cls(
        id,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        storage=storage,
        task_type=task_type,
        tau=tau,
        arrival_time=arrival_time,
        sla_multiplier=sla_multiplier,
        deadline=deadline,
        user_id=user_id,
    )
