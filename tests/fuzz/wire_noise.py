"""Messages that nobody should send: well-formed with bad values, mutated, truncated, or no messages at all.

Written byte by byte from a message's descriptor: protobuf's own classes refuse to hold half of it. The ids
come from a small pool, so that messages meet: a task that is submitted, assigned, reported, reported again.
"""

from __future__ import annotations

import struct
from random import Random

from google.protobuf.descriptor import Descriptor, FieldDescriptor

IDS = (*(f"t{n}" for n in range(60)), "w1", "w2", "w3", "w4")
ADDRESSES = (
    "127.0.0.1:1",
    "127.0.0.1:9",
    "[::1]:1",
    "nowhere.invalid:1",
    "unix:/tmp/x:1",
    ":",
    "127.0.0.1",
    "a:b",
)
WORDS = (
    *(
        "",
        "",
        "success",
        "failed",
        "process",
        "container",
        "true",
        "cpu-light",
        "gpu-training",
        "cpu",
        "mixed",
    ),
    *("..", "../../etc/passwd", "a/b", "\0", "\n\x1b[31m", "é" * 100, "\u202e", "x" * 201, "😀"),
)
DOUBLES = (
    *(0.0, 1.0, 1.0, 2.0, 0.5, 4.0, -1.0, -0.0, 1e-300, 1e300, 2.0**20, 2.0**20 + 1.0, 1.8e9, 4e12),
    *(float("nan"), float("inf"), float("-inf")),
)
INTEGERS = (0, 0, 1, 1, 2, 3, 100, 1000, 1001, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
DEPTH = 4


def varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def delimited(number: int, raw: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def structured(kind: Descriptor, rng: Random, depth: int = 0) -> bytes:
    """A well-formed message: every field by itself likely to be something that passes or nearly does."""
    out = b""
    for field in kind.fields:
        if rng.random() < (0.3 if depth else 0.15):
            continue
        count = 1
        if field.is_repeated:
            count = rng.choice((0, 1, 1, 2, 5)) if depth < DEPTH else 0
        for _ in range(count):
            out += _value(field, rng, depth)
    return out


def _value(field: FieldDescriptor, rng: Random, depth: int) -> bytes:
    number = field.number
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return delimited(number, structured(field.message_type, rng, depth + 1)) if depth < DEPTH else b""
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return delimited(number, _text(field, rng))
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        value = rng.choice(DOUBLES) if rng.random() < 0.4 else rng.choice((0.0, 1.0, 2.0))
        return varint(number << 3 | 1) + struct.pack("<d", value)
    return varint(number << 3) + varint(rng.choice(INTEGERS) if rng.random() < 0.5 else rng.choice((0, 1)))


def _text(field: FieldDescriptor, rng: Random) -> bytes:
    chance = rng.random()
    if chance < 0.01:
        return rng.randbytes(rng.choice((1, 10, 1000)))
    if chance < 0.013:
        return b"y" * rng.choice((70_000, 200_000, 1_000_000))
    if field.name.endswith("_id") and chance < 0.9:
        return rng.choice(IDS).encode()
    if field.name == "worker_ip" and chance < 0.9:
        return rng.choice(ADDRESSES).encode()
    return rng.choice(WORDS).encode()


def mutated(message: bytes, rng: Random) -> bytes:
    """The message with a few bytes flipped, cut out, doubled or put in."""
    raw = bytearray(message)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(5):
            case 0 if raw:
                raw[at % len(raw)] ^= 1 << rng.randrange(8)
            case 1:
                del raw[at:]
            case 2:
                del raw[at : at + rng.randint(1, 8)]
            case 3:
                raw[at:at] = raw[at : at + rng.randint(1, 64)]
            case _:
                raw[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(raw)


def nested(rng: Random) -> bytes:
    """One field in itself again and again, deeper than parsers go."""
    message = b""
    for _ in range(rng.choice((50, 101, 500))):
        message = delimited(1, message)
    return message


def noise(kind: Descriptor, rng: Random) -> bytes:
    """A message, or what could be taken for one."""
    chance = rng.random()
    if chance < 0.5:
        return structured(kind, rng)
    if chance < 0.85:
        return mutated(structured(kind, rng), rng)
    if chance < 0.86:
        return nested(rng)
    return rng.randbytes(rng.choice((0, 1, 2, 5, 20, 200)))
