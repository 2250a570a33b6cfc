"""Makes the effects of events durable, in order and in groups, and only then delivers them.

Design

a. The core changes its state at once and the store follows. What the core asks for (writes, and effects for
   the world outside) gathers here in the order of the events. One task takes everything that has gathered,
   commits the writes as one transaction, delivers the other effects in order, then wakes whoever waits. While
   a commit is under way the next group gathers. A lone event waits for nothing, a crowd shares one fsync: a
   group is taken when the loop has nothing else to do, or has been busy with others for `COMPANY_S`. Taken at
   once, the groups of 64 clients were of two, because a loop that is full brings requests one by one.
b. Nothing overtakes. An effect without writes of its own (say, that a duplicate result is recorded) still
   waits for the group that gathers when it arrives, hence for every write before it.
c. `before` is called once per group, just before the group is taken; the placement pass runs there, so that a
   burst of submissions costs one pass and a task and its placement share a commit.
d. The store is unavailable: the core is ahead of it, and its writes must reach the store in this order or
   not at all. So the group is kept and tried again, with a growing pause, for as long as the process lives.
   Whoever waits is told at once that nothing was acknowledged; nothing of the group is delivered before it
   is durable. If the process dies meanwhile, the store is the state before the group: a consistent one, in
   which nothing that was acknowledged is missing. What was refused here may still become durable once the
   store is back, as with an acknowledgement that is lost on the way; a submission with an id of the client's
   is idempotent.
e. The writes do not fit the store: a bug or a second master. Nothing can be repaired from inside; the journal
   fails for good, tells everyone, and the owner stops the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import structlog

from master.errors import MasterError, StoppingError, StoreUnavailableError
from master.events import Effect, Write
from master.metrics.counters import COMMITS_S, GROUPS, Histogram
from master.store.base import Store

log = structlog.get_logger(__name__)

COMPANY_S = 4e-3
# A turn of the loop without work for others takes about 10 µs, one with a request from 60 µs on; gRPC's
# thread hands requests over one by one, so a single turn without one may come between two.
IDLE_TURN_S = 40e-6
IDLE_TURNS = 4

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0

_WRITES = frozenset(Write.__args__)


class Journal:
    """The only way from the core to the store and to the outside.

    Parameters
    ----------
    store : Store
        Open, and not written to by anyone else.
    deliver : callable
        Receives each durable effect that is not a write, in order. It must not block; what it raises is
        logged and does not keep the next effect from its delivery.
    before : callable
        Called before a group is taken; it may append to it.
    """

    def __init__(self, store: Store, deliver: Callable[[Effect], None], before: Callable[[], None]) -> None:
        self._store = store
        self._deliver = deliver
        self._before = before
        self._writes: list[Write] = []
        self._effects: list[Effect] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._busy = False
        self._stalled: StoreUnavailableError | None = None
        self._failure: BaseException | None = None
        # Seconds of each commit that succeeded, its number of writes, and commits that failed.
        self.commits = Histogram(COMMITS_S)
        self.groups = Histogram(GROUPS)
        self.failures = 0

    @property
    def stalled(self) -> StoreUnavailableError | None:
        """Why nothing becomes durable at present; None when all is well."""
        return self._stalled

    def append(self, effects: Iterable[Effect]) -> None:
        """Add what one event asks for; returns at once."""
        writes, others = self._writes, self._effects
        for effect in effects:
            if type(effect) in _WRITES:
                writes.append(cast(Write, effect))
            else:
                others.append(effect)
        self._wake.set()

    async def durable(self) -> None:
        """Return when everything appended so far is durable and delivered.

        Raises
        ------
        StoreUnavailableError
            When the store does not take writes now; they are kept and tried again.
        StoppingError
            When the journal ended first.
        """
        if self._failure is not None:
            raise StoppingError("the master is stopping; try again")
        if self._stalled is not None:
            raise StoreUnavailableError(*self._stalled.args)
        if not (self._busy or self._writes or self._effects):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        await waiter

    def close(self) -> None:
        """Let `run` return once everything appended before is durable; calling it again does nothing."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Commit and deliver until closed; cancelling gives up what is not durable.

        Raises
        ------
        StoreConflictError
            When the writes do not fit what is stored.
        """
        try:
            while not (self._closing and not self._writes and not self._effects):
                await self._wake.wait()
                self._wake.clear()
                await _company()
                await self._one_group()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._closing = True
            self._refuse(self._take_waiters(), StoppingError("the master is stopping; try again"))

    async def _one_group(self) -> None:
        self._before()
        writes, self._writes = self._writes, []
        effects, self._effects = self._effects, []
        waiters = self._take_waiters()
        self._busy = True
        try:
            if writes:
                waiters = await self._commit(writes, waiters)
            for effect in effects:
                try:
                    self._deliver(effect)
                except Exception:
                    log.exception("effect not delivered", effect=type(effect).__name__)
        except BaseException:
            self._refuse(waiters, StoppingError("the master is stopping; try again"))
            raise
        finally:
            self._busy = False
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _commit(
        self, writes: Sequence[Write], waiters: list[asyncio.Future[None]]
    ) -> list[asyncio.Future[None]]:
        """Commit, however long it takes; returns the waiters that have not been answered meanwhile."""
        pause = RETRY_FIRST_S
        while True:
            begin = time.perf_counter()
            try:
                await self._store.commit(writes)
            except StoreUnavailableError as error:
                self.failures += 1
                if self._stalled is None:
                    log.error("store unavailable; nothing is acknowledged until it is back", error=str(error))
                self._stalled = error
                self._refuse(waiters, error)
                self._refuse(self._take_waiters(), error)
                waiters = []
                await asyncio.sleep(pause)
                pause = min(2.0 * pause, RETRY_MAX_S)
            else:
                self.commits.add(time.perf_counter() - begin)
                self.groups.add(len(writes))
                if self._stalled is not None:
                    log.info("store available again", rows=len(writes))
                    self._stalled = None
                return waiters

    def _take_waiters(self) -> list[asyncio.Future[None]]:
        waiters, self._waiters = self._waiters, []
        return waiters

    @staticmethod
    def _refuse(waiters: list[asyncio.Future[None]], error: MasterError) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(type(error)(*error.args))


async def _company() -> None:
    """Let what is under way in the loop come along, for at most `COMPANY_S`."""
    now = time.perf_counter()
    end = now + COMPANY_S
    idle = 0
    while idle < IDLE_TURNS and now < end:
        begin = now
        await asyncio.sleep(0)
        now = time.perf_counter()
        idle = idle + 1 if now - begin < IDLE_TURN_S else 0
