"""What differs between two parameter sets, in lines for people: weights, then the scores that moved most."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtscore import GAParams

_NAMES = {
    "theta": ("cpu", "memory", "gpu", "load"),
    "risk": ("lateness", "load"),
    "affinity_weights": ("speed", "reliability", "overload"),
    "penalty_weights": ("misses", "overload", "energy"),
}
_TITLES = {"theta": "theta", "risk": "risk", "affinity_weights": "affinity", "penalty_weights": "penalty"}


def changes(before: GAParams, after: GAParams, most: int = 6) -> list[str]:
    """One line per group of weights that differs, then the `most` scores of workers that moved most."""
    return [*_weights(before, after), *_scores(before, after, most)]


def _weights(before: GAParams, after: GAParams) -> list[str]:
    lines = []
    for field, names in _NAMES.items():
        one, other = getattr(before, field), getattr(after, field)
        moved = [
            f"{name} {getattr(one, key):.3g} -> {getattr(other, key):.3g}"
            for name, key in zip(names, one.__struct_fields__, strict=True)
            if getattr(one, key) != getattr(other, key)
        ]
        if moved:
            lines.append(f"weights of {_TITLES[field]}: {', '.join(moved)}")
    return lines


def _scores(before: GAParams, after: GAParams, most: int) -> list[str]:
    moved = []
    for task_type in sorted({*before.affinity, *after.affinity}):
        one, other = before.affinity.get(task_type, {}), after.affinity.get(task_type, {})
        for worker in sorted({*one, *other}):
            old, new = one.get(worker, 0.0), other.get(worker, 0.0)
            moved.append((abs(new - old), f"affinity of {task_type} for {worker}: {old:+.2f} -> {new:+.2f}"))
    for worker in sorted({*before.penalty, *after.penalty}):
        old, new = before.penalty.get(worker, 0.0), after.penalty.get(worker, 0.0)
        moved.append((abs(new - old), f"penalty of {worker}: {old:.2f} -> {new:.2f}"))
    # Largest first; of equal ones in the order of their names.
    moved.sort(key=lambda move: -move[0])
    return [text for size, text in moved[:most] if size > 0.005]
