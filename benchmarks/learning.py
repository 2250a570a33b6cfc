"""`python -m benchmarks.learning`: what learning costs, once its answers are verified."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks import epoch, regression
from benchmarks.machine import facts
from benchmarks.report import number, verdict_lines


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when an answer is wrong, never because of time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the command")
    options = parser.parse_args(argv)
    found = regression.measure(50_000 if options.quick else regression.RECORDS)
    learned = epoch.measure(2_000 if options.quick else epoch.TASKS)
    verdicts = regression.judge(found) + epoch.judge(learned)
    wrong = found["wrong"] + learned["wrong"]
    if options.json:
        document = {
            "regression": found,
            "epoch": learned,
            "bars": [v.as_dict() for v in verdicts],
            "machine": facts(),
        }
        print(json.dumps(document, indent=2))
    else:
        print(
            f"regression: {found['records']:,} records, {found['workers']} workers: "
            f"{number(found['median_s'])} s (best {number(found['best_s'])}) in {found['passes']} passes; "
            f"the same in NumPy {number(found['numpy_s'])} s: "
            f"{number(found['times_faster_than_numpy'])}×"
        )
        print(
            f"epoch: {learned['tasks']:,} tasks, {learned['workers']} workers: "
            f"{number(learned['median_s'])} s (best {number(learned['best_s'])}), "
            f"{learned['replays']} replays, {number(learned['tasks_replayed_per_s'])} tasks/s; "
            f"misses elsewhere {learned['misses_default']} before, {learned['misses_learned']} after"
        )
        for line in [*verdict_lines(verdicts), *(f"WRONG {line}" for line in wrong)]:
            print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
