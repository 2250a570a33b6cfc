"""The commands that the demo submits: hash, compress, sort, multiply, sleep; each checks its own result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

# One thread per task, or every product would start as many as the machine has cores.
# The BLAS under numpy reads them when it is loaded, which happens in `multiply` and `sort`.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

MIB = 1 << 20

TIMES_VARIABLE = "RTS_DEMO_TIMES"
"""How often a task does its work; the demo sets it for a worker that plays a slow machine."""


class WrongResultError(Exception):
    """The work was done and its result is not what it must be."""


def hash_(mebibytes: float) -> str:
    """SHA-256 of so much seeded noise, read twice in pieces of different sizes."""
    import hashlib
    import random

    block = random.Random(7).randbytes(MIB)
    digests = set()
    for piece in (MIB, MIB // 16):
        digest = hashlib.sha256()
        for _ in range(max(1, round(mebibytes / 2))):
            for at in range(0, MIB, piece):
                digest.update(memoryview(block)[at : at + piece])
        digests.add(digest.hexdigest())
    if len(digests) != 1:
        raise WrongResultError(f"the digest depends on the size of the pieces: {sorted(digests)}")
    return f"sha256 of {mebibytes:g} MiB: {digests.pop()}"


def compress(mebibytes: float) -> str:
    """zlib level 9 over text of a small vocabulary, unpacked again and compared."""
    import random
    import zlib

    chance = random.Random(11)
    words = [
        bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(4096)
    ]
    size = round(mebibytes * MIB)
    pieces: list[bytes] = []
    length = 0
    while length < size:
        pieces += chance.choices(words, k=4096)
        length += sum(map(len, pieces[-4096:])) + 4096
    text = b" ".join(pieces)[:size]
    packed = zlib.compress(text, 9)
    if zlib.decompress(packed) != text:
        raise WrongResultError(f"{len(text)} bytes came back different from zlib")
    return f"{len(text)} bytes to {len(packed)}, ratio {len(text) / len(packed):.2f}"


def sort(millions: float) -> str:
    """So many million seeded floats in order, their sum unchanged."""
    import numpy as np

    values = np.random.default_rng(13).random(round(millions * 1e6))
    before = float(values.sum())
    values.sort(kind="stable")
    if np.any(values[1:] < values[:-1]) or abs(float(values.sum()) - before) > 1e-6 * before:
        raise WrongResultError("the sorted values are out of order or not the ones that came")
    return f"{len(values)} floats sorted, median {values[len(values) // 2]:.6f}"


def multiply(size: float, repeats: float = 1) -> str:
    """Products of square matrices; each is compared with the same product applied to one vector."""
    import numpy as np

    n = round(size)
    chance = np.random.default_rng(17)
    left, right, vector = chance.random((n, n)), chance.random((n, n)), chance.random(n)
    expected = left @ (right @ vector)
    for _ in range(round(repeats)):
        product = left @ right
        if not np.allclose(product @ vector, expected, rtol=1e-9):
            raise WrongResultError(f"a product of {n} x {n} matrices is off")
    return f"{round(repeats)} product(s) of {n} x {n} matrices, trace {np.trace(product):.3f}"


def sleep(seconds: float) -> str:
    """What a task that waits for something else looks like."""
    begun = time.monotonic()
    time.sleep(seconds)
    return f"slept {time.monotonic() - begun:.3f} s"


KINDS: dict[str, Callable[..., str]] = {
    "hash": hash_,
    "compress": compress,
    "sort": sort,
    "multiply": multiply,
    "sleep": sleep,
}


def main(arguments: list[str]) -> int:
    """Do one piece of work, `KIND AMOUNT [REPEATS]`, and print what came of it."""
    if not arguments or arguments[0] not in KINDS:
        print(f"got {arguments}; wanted one of {', '.join(KINDS)} and its amounts", file=sys.stderr)
        return 2
    begun = time.perf_counter()
    try:
        for _ in range(int(os.environ.get(TIMES_VARIABLE, "1"))):
            answer = KINDS[arguments[0]](*map(float, arguments[1:]))
    except WrongResultError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{answer} ({time.perf_counter() - begun:.2f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
