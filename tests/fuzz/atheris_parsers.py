"""`make fuzz`: the targets of `fuzz_targets` under atheris, which looks for inputs that reach new code.

`python tests/fuzz/atheris_parsers.py [TARGET ...] [-max_total_time=S ...]`: the options are libFuzzer's. The
targets run one after the other, each in a process of its own and for that time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def one(name: str, options: list[str]) -> None:
    """Fuzz one target until its time is over; a failure ends the process with the input in a file."""
    import atheris

    read = ["rtscore", "aod", "master", "worker", "json", "tomllib"]
    # What numba compiles knows no calls of atheris.
    with atheris.instrument_imports(include=read, exclude=["aod._njit", "aod._replay_njit"]):
        from fuzz_targets import SAMPLES, TARGETS

    corpus = Path(tempfile.mkdtemp(prefix=f"rts-fuzz-{name}-"))
    (corpus / "sample").write_bytes(SAMPLES[name])
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> None:
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    if "RTS_FUZZ_TARGET" in os.environ:
        one(os.environ["RTS_FUZZ_TARGET"], options)
        return
    from fuzz_targets import TARGETS

    failed = []
    for name in names or TARGETS:
        ran = subprocess.run(
            [sys.executable, __file__, *options],
            env={**os.environ, "RTS_FUZZ_TARGET": name},
            capture_output=True,
        )
        *_, last = [line for line in ran.stderr.decode(errors="replace").splitlines() if line] or [
            "no output"
        ]
        print(f"{name:16} {'ok' if ran.returncode == 0 else 'FAILED'}  {last}", flush=True)
        if ran.returncode != 0:
            failed.append(name)
            sys.stderr.write(
                ran.stdout.decode(errors="replace")[-3000:] + ran.stderr.decode(errors="replace")[-3000:]
            )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
