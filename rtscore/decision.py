"""A decision and the sentence that says why there is no worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rtscore._kernel.records import Decision
from rtscore._source import Source

if TYPE_CHECKING:
    from rtscore._kernel.records import Request

__all__ = ["Decision", "Source", "describe_shortage"]

RESOURCES = ("cpu", "memory", "gpu", "storage")


def describe_shortage(task: Request, live: int, closed: int, lacking: Sequence[int], changes: int) -> str:
    """Say why no worker takes a task.

    Parameters
    ----------
    task
        What was asked.
    live, closed
        Workers in the table, and how many of them take no work.
    lacking
        For cpu, memory, gpu and storage, how many of the others have less available than is asked.
    changes
        Changes of the table between the decision and the count.
    """
    if live == 0:
        return "there are no workers"
    parts = [
        f"{count} {'lacks' if count == 1 else 'lack'} {resource} {getattr(task, resource):.6g}"
        for resource, count in zip(RESOURCES, lacking, strict=True)
        if count
    ]
    if closed:
        parts.append(f"{closed} not schedulable")
    who = "the only worker does not fit" if live == 1 else f"none of {live} workers fits"
    sentence = f"{who}: {', '.join(parts) or 'by now it would'}"
    if changes:
        sentence += f" (counted {changes} changes of the table later)"
    return sentence
