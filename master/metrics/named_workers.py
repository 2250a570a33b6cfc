"""Which workers have series of their own, so that thousands of workers do not make tens of thousands of them.

Design

a. At most `limit` workers are named; what the others did is summed under `OTHER`. A worker that is named
   stays named while it is registered: series that come and go cost Prometheus more than those that stay. A
   free place goes to the worker with the most placements; while there are places for all, everyone has one.
b. Prometheus adds up what each series grows by, so nothing may be told twice, and no series may shrink. What
   a worker did before it was named was told under `OTHER` and stays there; its own series begins at 0. What a
   named worker did between its last telling and its removal is told under `OTHER`; the rest ended with its
   series. Moving all of it there would look as if thousands of tasks had been placed in a moment.
c. So rates, summed over workers, are those of the cluster; the plain sum falls when a worker goes. Totals
   without the label are metrics of their own, and never fall.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest

from master.members import Member

# A worker of this name is never named.
OTHER = "other"

Counts = tuple[int, int, int]
NONE: Counts = (0, 0, 0)


class _Named:
    """A named worker: what it had done before its series began, and what they said last."""

    __slots__ = ("before", "member", "told")

    def __init__(self, member: Member, before: Counts) -> None:
        self.member = member
        self.before = before
        self.told = NONE


class NamedWorkers:
    """Tells what workers did: placements, results in time, results too late; by name, and for all others.

    Parameters
    ----------
    limit : int
        Workers with series of their own.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._named: dict[str, _Named] = {}
        # What ended with the series of workers that are gone.
        self._ended = NONE
        # Of these the counts so far were told under `OTHER`.
        self._unnamed: set[Member] = set()

    def read(self, members: Mapping[str, Member], total: Counts) -> dict[str, Counts]:
        """What each named worker did since its series began, and under `OTHER` the rest of `total`."""
        for worker_id, named in list(self._named.items()):
            member = members.get(worker_id)
            if member is None:
                self._ended = _plus(self._ended, named.told)
                del self._named[worker_id]
            elif member is not named.member:
                # It went and came back between two readings: its series goes on.
                named.member, named.before = member, _minus(NONE, named.told)
        if len(members) > len(self._named):
            self._name(members)
        else:
            self._unnamed.clear()
        counts, rest = {}, _minus(total, self._ended)
        for worker_id, named in self._named.items():
            named.told = counts[worker_id] = _minus(_done(named.member), named.before)
            rest = _minus(rest, named.told)
        counts[OTHER] = rest
        return counts

    def _name(self, members: Mapping[str, Member]) -> None:
        free = self._limit - len(self._named)
        unnamed = [m for worker_id, m in members.items() if worker_id not in self._named]
        chosen = [m for m in unnamed if m.id != OTHER]
        if len(chosen) > free:
            # Those that were given nothing yet can wait for the next reading.
            chosen = [m for m in nlargest(free, chosen, key=lambda m: m.placed) if m.placed]
        for member in chosen:
            before = _done(member) if member in self._unnamed else NONE
            self._named[member.id] = _Named(member, before)
        self._unnamed = set(unnamed).difference(chosen)


def _done(member: Member) -> Counts:
    return member.placed, member.sla_met, member.tasks_finished - member.sla_met


def _plus(one: Counts, other: Counts) -> Counts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _minus(one: Counts, other: Counts) -> Counts:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]
