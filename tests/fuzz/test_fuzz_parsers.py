"""Files and messages of strangers are read, or refused with the error that is documented."""

from __future__ import annotations

import json
import re
from random import Random

import pytest
from fuzz_targets import SAMPLES, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_noise import mutated, noise

from rtscore.rpc import agent_pb2, cluster_pb2, scheduler_pb2

KINDS = (
    scheduler_pb2.TaskSpec,
    cluster_pb2.WorkerInfo,
    cluster_pb2.Heartbeat,
    cluster_pb2.TaskResult,
    scheduler_pb2.AttemptStarted,
    scheduler_pb2.AttemptRefused,
    agent_pb2.TaskAssignments,
)
seeds = st.integers(0, 2**32)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)


def replaced(document: object, value: object, rng: Random) -> object:
    """The document with one value somewhere in it replaced, or taken out."""
    if isinstance(document, dict) and document and rng.random() < 0.9:
        key = rng.choice(list(document))
        if rng.random() < 0.1:
            return {k: v for k, v in document.items() if k != key}
        return {**document, key: replaced(document[key], value, rng)}
    if isinstance(document, list) and document and rng.random() < 0.9:
        at = rng.randrange(len(document))
        return [*document[:at], replaced(document[at], value, rng), *document[at + 1 :]]
    return value


def one_line(name: str) -> bytes:
    """The sample's first line."""
    return SAMPLES[name].split(b"\n")[0]


def test_every_target_takes_its_sample() -> None:
    assert set(SAMPLES) == set(TARGETS)
    for name, target in TARGETS.items():
        target(SAMPLES[name])


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode(errors="replace")))
def test_bytes_that_mean_nothing(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_what_would_be_read_but_for_a_few_bytes(name: str, seed: int) -> None:
    TARGETS[name](mutated(SAMPLES[name], Random(seed)))


@pytest.mark.parametrize(
    "name", ["params_file", "history_lines", "cluster_file", "task_lines", "runtime_model"]
)
@settings(max_examples=120, deadline=None)
@given(value=documents, seed=seeds)
def test_json_with_any_value_in_any_place(name: str, value: object, seed: int) -> None:
    document = replaced(json.loads(one_line(name)), value, Random(seed))
    TARGETS[name](json.dumps(document).encode(errors="replace"))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "opening", ["[", '{"a":', '{"Theta":', '{"Meta":', '{"speed":', "a = [", '{"types":{"m":']
)
def test_what_is_nested_without_end(name: str, opening: str) -> None:
    TARGETS[name]((opening * 100_000).encode())
    TARGETS[name]((opening[:-1] + "[" * 100_000).encode())


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "1" * 5000, "0." + "0" * 5000 + "1", "NaN", "Infinity", "-0.0"]
)
@pytest.mark.parametrize(
    "name", ["params_file", "history_lines", "cluster_file", "task_lines", "config_file"]
)
def test_numbers_that_no_float_holds(name: str, number: str) -> None:
    line = SAMPLES[name].decode()
    for found in re.finditer(r"(?<=[:= ])\d+(\.\d+)?", line):
        TARGETS[name]((line[: found.start()] + number + line[found.end() :]).encode())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), seeds), max_size=12))
def test_any_messages_in_any_order_leave_the_core_sound(picks: list[tuple[int, int]]) -> None:
    pieces = [bytes([kind]) + noise(KINDS[kind].DESCRIPTOR, Random(seed)) for kind, seed in picks]
    TARGETS["core"](b"\xff\xff".join(pieces))
