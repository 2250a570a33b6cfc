"""The compiled event loop of the replay: arrivals, finishes, the queue of 7.2, backfill and reservations.

Design

a. Time moves from one instant with arrivals or finishes to the next; at each, everything that happens is
   noted and then one pass places what fits, as in `master.placement`. Nothing happens between two instants.
b. All keys of the queue are known before the replay: a position per task in order of deadline (or of another
   order), and one in order of arrival for the hopeless. A binary tree over the positions holds the least
   request below each node, infinite where nothing waits, so "the next in order that may fit this room" costs
   a few comparisons however long the queue is.
c. Between two passes nothing that waits fits anywhere. So a pass looks only at what arrived, and at what
   fits in the room of the workers that gained some.
d. Reservations follow `master.reservations`, with its limits; tasks of equal request share a group there and
   here. All workers stay registered, so what the master does about silence and drain is not here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aod._njit import F64, I64, compiled
from aod.policies import World, choose, fits, stretch
from rtscore import numba_api

_reserve, _release, _set_schedulable = numba_api.reserve, numba_api.release, numba_api.set_schedulable
_set_weights, _set_affinity, _set_penalty = (
    numba_api.set_weights,
    numba_api.set_affinity,
    numba_api.set_penalty,
)

ABSENT, HOPEFUL, HOPELESS, RUNNING, DONE = 0, 1, 2, 3, 4
# As in master.reservations and master.placement; a test compares the placements.
STARVING_S, SHARE, CANDIDATES, FAILURES = 30.0, 8, 128, 16

# Places in `State.counts`.
N_HEAP, N_GROWN, N_FRESH, N_HELD, N_FAVOURED, N_HELD_HOPELESS = 0, 1, 2, 3, 4, 5
N_STARVING, N_STARVING_HOPEFUL, N_LIVE, DECISIONS, VERSION, ROSTER, LIFTED = 6, 7, 8, 9, 10, 11, 12
N_PASS, STARVING_FROM, STARVING_TO, NEXT_LATEST, NEXT_STARVING = 13, 14, 15, 16, 17
COUNTS = 18


TASK = np.dtype(
    [
        *(
            (name, np.float64)
            for name in ("arrival", "cpu", "gib", "gpu", "storage", "tau", "deadline", "base_s")
        ),
        *((name, np.float64) for name in ("latest_start", "starving_at")),
        # Results: NaN and -1 of a task that never ran. What is found is what its worker had before.
        *(
            (name, np.float64)
            for name in ("start", "finish", "found_cpu", "found_gib", "found_gpu", "found_load")
        ),
        ("worker", np.int64),
        ("type", np.int64),
        ("group", np.int64),
        ("status", np.int64),
        # Asks for a reservation; the worker that is kept for it, or -1; when to think again; whether it was
        # hopeless when it got the worker; whether it runs because of that.
        ("starving", np.int64),
        ("reserved", np.int64),
        ("review_at", np.float64),
        ("hopeless_hold", np.int64),
        ("favoured", np.int64),
        # Its neighbours in the list of what its worker runs, in order of placement.
        ("next_run", np.int64),
        ("previous_run", np.int64),
        # Storage, by index and not by task: orders of time, the heap of finishes, lists.
        ("by_latest", np.int64),
        ("by_starving", np.int64),
        ("heap_time", np.float64),
        ("heap_task", np.int64),
        ("fresh", np.int64),
        ("scratch_time", np.float64),
        ("scratch_task", np.int64),
    ]
)

GROUP = np.dtype(
    [
        # Tasks that wait; the last round in which it was new, was asked for in vain, did not fit, and could
        # reserve nothing; and the version of the reservations for which no worker was left.
        *((name, np.int64) for name in ("size", "fresh", "tried", "failed", "skipped", "unreservable")),
    ]
)


class State(NamedTuple):
    """What changes while the replay runs.

    `t` has the dtype `TASK` and the order of arrival, `groups` `GROUP`; `request` (n, 4) holds the amounts
    of `t` once more. `tree` (2, 2·leaves, 4): the least request below each node. `order` (2, 2, n): [k, 0]
    the position of a task in order k, [k, 1] the task at a position. `held`: tasks with a reservation, in the
    order in which they got it. `failed` (16, 4). `window`: the instants between which overload is counted,
    and the load above which it is.
    """

    t: NDArray[np.void]
    request: F64
    groups: NDArray[np.void]
    tree: F64
    order: I64
    held: I64
    failed: F64
    counts: I64
    window: F64


# ---- the tree ----


@compiled
def tree_put(s: State, k: int, position: int, request: F64) -> None:
    """Let a task wait at a position of order k."""
    tree, leaves = s.tree, s.tree.shape[1] // 2
    i = leaves + position
    for r in range(4):
        tree[k, i, r] = request[r]
    i >>= 1
    while i:
        changed = False
        for r in range(4):
            if request[r] < tree[k, i, r]:
                tree[k, i, r] = request[r]
                changed = True
        if not changed:
            break
        i >>= 1


@compiled
def tree_drop(s: State, k: int, position: int) -> None:
    """Take away what waits at a position of order k."""
    tree, leaves = s.tree, s.tree.shape[1] // 2
    i = leaves + position
    for r in range(4):
        tree[k, i, r] = np.inf
    i >>= 1
    while i:
        changed = False
        for r in range(4):
            least = min(tree[k, 2 * i, r], tree[k, 2 * i + 1, r])
            if least != tree[k, i, r]:
                tree[k, i, r] = least
                changed = True
        if not changed:
            break
        i >>= 1


@compiled
def tree_next(s: State, k: int, position: int, room: F64) -> int:
    """The first position from `position` on with a request within the room, or -1."""
    tree, leaves = s.tree, s.tree.shape[1] // 2
    if position >= leaves:
        return -1
    i = leaves + position
    while True:
        if (
            tree[k, i, 0] <= room[0]
            and tree[k, i, 1] <= room[1]
            and tree[k, i, 2] <= room[2]
            and tree[k, i, 3] <= room[3]
        ):
            if i >= leaves:
                return int(i - leaves)
            i *= 2
        else:
            while i & 1:
                i >>= 1
            if i == 0:
                return -1
            i += 1


# ---- finishes ----


@compiled
def heap_push(s: State, time: float, task: int) -> None:
    """Note when a task will finish."""
    i = s.counts[N_HEAP]
    s.counts[N_HEAP] += 1
    while i:
        parent = (i - 1) >> 1
        if s.t[parent].heap_time <= time:
            break
        s.t[i].heap_time, s.t[i].heap_task = s.t[parent].heap_time, s.t[parent].heap_task
        i = parent
    s.t[i].heap_time, s.t[i].heap_task = time, task


@compiled
def heap_pop(s: State) -> int:
    """The task that finishes first."""
    task: int = s.t[0].heap_task
    s.counts[N_HEAP] -= 1
    n = s.counts[N_HEAP]
    time, last = s.t[n].heap_time, s.t[n].heap_task
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and s.t[child + 1].heap_time < s.t[child].heap_time:
            child += 1
        if time <= s.t[child].heap_time:
            break
        s.t[i].heap_time, s.t[i].heap_task = s.t[child].heap_time, s.t[child].heap_task
        i = child
    s.t[i].heap_time, s.t[i].heap_task = time, last
    return task


# ---- queue and reservations ----


@compiled
def grow(w: World, s: State, j: int) -> None:
    """Worker j gained room."""
    if not w.workers[j].is_grown:
        w.workers[j].is_grown = 1
        w.workers[s.counts[N_GROWN]].grown = j
        s.counts[N_GROWN] += 1


@compiled
def enqueue(s: State, ours: bool, i: int, now: float) -> None:
    """Let a task that arrived wait."""
    hopeful = now <= s.t[i].latest_start
    s.t[i].status = HOPEFUL if hopeful else HOPELESS
    k = 0 if hopeful or not ours else 1
    tree_put(s, k, s.order[k, 0, i], s.request[i])
    s.groups[s.t[i].group].size += 1


@compiled
def dequeue(s: State, ours: bool, i: int) -> None:
    """Take a task out of the queue."""
    k = 1 if ours and s.t[i].status == HOPELESS else 0
    tree_drop(s, k, s.order[k, 0, i])
    s.groups[s.t[i].group].size -= 1
    if s.t[i].starving:
        unstarve(s, i)


@compiled
def starve(s: State, i: int) -> None:
    """Let a task that waited too long ask for a reservation."""
    s.t[i].starving = 1
    s.counts[N_STARVING] += 1
    if s.t[i].status == HOPEFUL:
        s.counts[N_STARVING_HOPEFUL] += 1
    s.counts[STARVING_FROM] = min(s.counts[STARVING_FROM], i)
    s.counts[STARVING_TO] = max(s.counts[STARVING_TO], i + 1)


@compiled
def unstarve(s: State, i: int) -> None:
    """A starving task asks no more."""
    s.t[i].starving = 0
    s.counts[N_STARVING] -= 1
    if s.t[i].status == HOPEFUL:
        s.counts[N_STARVING_HOPEFUL] -= 1


@compiled
def lift(w: World, s: State, i: int) -> None:
    """End a task's reservation."""
    j = s.t[i].reserved
    s.t[i].reserved = -1
    n = 0
    for m in range(s.counts[N_HELD]):
        if s.held[m] != i:
            s.held[n] = s.held[m]
            n += 1
    s.counts[N_HELD] = n
    if s.t[i].hopeless_hold:
        s.counts[N_HELD_HOPELESS] -= 1
    w.workers[j].open = 1
    _set_schedulable(w.table, j, 1)
    s.counts[VERSION] += 1
    s.counts[LIFTED] = 1
    grow(w, s, j)


@compiled
def advance(s: State, ours: bool, now: float) -> None:
    """Let time pass: tasks lose hope or begin to starve."""
    n = s.t.shape[0]
    p = s.counts[NEXT_LATEST]
    while p < n and s.t[s.t[p].by_latest].latest_start < now:
        i = s.t[p].by_latest
        p += 1
        if s.t[i].status == HOPEFUL:
            s.t[i].status = HOPELESS
            if s.t[i].starving:
                s.counts[N_STARVING_HOPEFUL] -= 1
            if ours:
                tree_drop(s, 0, s.order[0, 0, i])
                tree_put(s, 1, s.order[1, 0, i], s.request[i])
    s.counts[NEXT_LATEST] = p
    p = s.counts[NEXT_STARVING]
    while p < n and s.t[s.t[p].by_starving].starving_at < now:
        i = s.t[p].by_starving
        p += 1
        if s.t[i].status == HOPEFUL or s.t[i].status == HOPELESS:
            starve(s, i)
    s.counts[NEXT_STARVING] = p


@compiled
def room_at(w: World, s: State, j: int, i: int, now: float) -> float:
    """When worker j will probably have room for task i, as far as τ tells."""
    a, b = s.t[i].cpu - w.cpu[j], s.t[i].gib - w.gib[j]
    c, d = s.t[i].gpu - w.gpu[j], s.t[i].storage - w.storage[j]
    if max(max(a, b), max(c, d)) <= 0.0:
        return now
    n = 0
    run = w.workers[j].first_run
    while run >= 0:
        ends = s.t[run].start + s.t[run].tau
        if now >= ends:
            ends = 2.0 * now - ends
        m = n
        while m and s.t[m - 1].scratch_time > ends:
            s.t[m].scratch_time, s.t[m].scratch_task = s.t[m - 1].scratch_time, s.t[m - 1].scratch_task
            m -= 1
        s.t[m].scratch_time, s.t[m].scratch_task = ends, run
        n += 1
        run = s.t[run].next_run
    for m in range(n):
        run = s.t[m].scratch_task
        a -= s.t[run].cpu
        b -= s.t[run].gib
        c -= s.t[run].gpu
        d -= s.t[run].storage
        if max(max(a, b), max(c, d)) <= 0.0:
            return float(s.t[m].scratch_time)
    return np.inf


@compiled
def keep_worker(w: World, s: State, i: int, now: float) -> bool:
    """Reserve for task i the worker that will probably have room first; False when there is none."""
    n = w.load.shape[0]
    begin = s.counts[ROSTER] if n > CANDIDATES else 0
    best, best_at, seen = -1, np.inf, 0
    for offset in range(n):
        j = (begin + offset) % n
        if not (
            w.workers[j].open
            and s.t[i].cpu <= w.workers[j].total_cpu
            and s.t[i].gib <= w.workers[j].total_gib
            and s.t[i].gpu <= w.workers[j].total_gpu
            and s.t[i].storage <= w.workers[j].total_storage
        ):
            continue
        at = room_at(w, s, j, i, now)
        if best < 0 or at < best_at:
            best, best_at = j, at
        seen += 1
        if seen == CANDIDATES:
            s.counts[ROSTER] = begin + offset + 1
            break
    if best < 0:
        s.groups[s.t[i].group].unreservable = s.counts[VERSION]
        return False
    hopeless = s.t[i].status == HOPELESS
    unstarve(s, i)
    s.t[i].reserved = best
    s.t[i].review_at = now + 2.0 * (best_at - now) + STARVING_S
    s.t[i].hopeless_hold = 1 if hopeless else 0
    s.held[s.counts[N_HELD]] = i
    s.counts[N_HELD] += 1
    if hopeless:
        s.counts[N_HELD_HOPELESS] += 1
    w.workers[best].open = 0
    _set_schedulable(w.table, best, 0)
    s.counts[VERSION] += 1
    return True


@compiled
def make_reservations(w: World, s: State, live: int, now: float) -> None:
    """Reserve workers for those that starve, the longest waiting first; `live` tasks ran before the pass."""
    m = 0
    while m < s.counts[N_HELD]:
        i = s.held[m]
        if s.t[i].review_at < now:
            lift(w, s, i)
            starve(s, i)
        else:
            m += 1
    limit = max(1, w.load.shape[0] // SHARE)
    if s.counts[N_STARVING] == 0 or s.counts[N_HELD] >= limit:
        return
    favours = max(1, live // SHARE) - s.counts[N_FAVOURED] - s.counts[N_HELD_HOPELESS]
    skip = s.counts[N_PASS]
    begin, end = s.counts[STARVING_FROM], s.counts[STARVING_TO]
    while begin < end and not s.t[begin].starving:
        begin += 1
    s.counts[STARVING_FROM] = begin
    for i in range(begin, end):
        if favours <= 0 and s.counts[N_STARVING_HOPEFUL] == 0:
            return
        g = s.t[i].group
        if not s.t[i].starving or s.groups[g].skipped == skip:
            continue
        hopeless = s.t[i].status == HOPELESS
        if (
            s.groups[g].unreservable == s.counts[VERSION]
            or (hopeless and favours <= 0)
            or not keep_worker(w, s, i, now)
        ):
            s.groups[g].skipped = skip
            continue
        if hopeless:
            favours -= 1
        if s.counts[N_HELD] >= limit:
            return


# ---- placement ----


@compiled
def overload(w: World, s: State, j: int, now: float) -> None:
    """Count the overloaded time of a worker whose load has just changed, within the window."""
    since = w.workers[j].over_since
    if since < np.inf:
        w.workers[j].overload_s += max(0.0, min(now, s.window[1]) - max(since, s.window[0]))
    w.workers[j].over_since = now if w.load[j] > s.window[2] else np.inf


@compiled
def attempt(
    w: World,
    s: State,
    which: int,
    ours: bool,
    i: int,
    now: float,
) -> bool:
    """Place a task, queued or not; False when no worker has room for it."""
    cpu, gib, gpu, storage = s.t[i].cpu, s.t[i].gib, s.t[i].gpu, s.t[i].storage
    s.counts[DECISIONS] += 1
    j = choose(which, w, cpu, gib, gpu, storage, s.t[i].type, s.t[i].tau, s.t[i].deadline - now)
    if j < 0:
        return False
    if s.t[i].reserved >= 0:
        lift(w, s, i)
    if s.t[i].status != ABSENT:
        dequeue(s, ours, i)
    s.t[i].status = RUNNING
    s.t[i].worker = j
    s.t[i].start = now
    s.t[i].found_cpu, s.t[i].found_gib = w.cpu[j], w.gib[j]
    s.t[i].found_gpu, s.t[i].found_load = w.gpu[j], w.load[j]
    runtime = s.t[i].base_s * w.slowdown_tw[s.t[i].type, j] * stretch(w, j, cpu, gib, gpu)
    s.t[i].finish = now + runtime
    _reserve(w.table, j, cpu, gib, gpu, storage)
    overload(w, s, j, now)
    heap_push(s, s.t[i].finish, i)
    s.t[i].next_run = -1
    s.t[i].previous_run = w.workers[j].last_run
    if w.workers[j].last_run >= 0:
        s.t[w.workers[j].last_run].next_run = i
    else:
        w.workers[j].first_run = i
    w.workers[j].last_run = i
    s.counts[N_LIVE] += 1
    return True


@compiled
def end(w: World, s: State, i: int, now: float) -> None:
    """A task finished: its worker gains room."""
    j = s.t[i].worker
    s.t[i].status = DONE
    _release(w.table, j, s.t[i].cpu, s.t[i].gib, s.t[i].gpu, s.t[i].storage)
    overload(w, s, j, now)
    before, after = s.t[i].previous_run, s.t[i].next_run
    if before >= 0:
        s.t[before].next_run = after
    else:
        w.workers[j].first_run = after
    if after >= 0:
        s.t[after].previous_run = before
    else:
        w.workers[j].last_run = before
    s.counts[N_LIVE] -= 1
    if s.t[i].favoured:
        s.t[i].favoured = 0
        s.counts[N_FAVOURED] -= 1
    grow(w, s, j)


@compiled
def room_of(w: World, s: State, n: int, out_room: F64) -> None:
    """The most of each amount that one of the workers has that gained room: the n taken, and those since."""
    out_room[:] = -1.0
    for m in range(n + s.counts[N_GROWN]):
        j = w.workers[m].taken if m < n else w.workers[m - n].grown
        if w.workers[j].open:
            out_room[0] = max(out_room[0], w.cpu[j])
            out_room[1] = max(out_room[1], w.gib[j])
            out_room[2] = max(out_room[2], w.gpu[j])
            out_room[3] = max(out_room[3], w.storage[j])


@compiled
def has_room(w: World, s: State, n: int, i: int) -> bool:
    """Whether task i, which fitted nowhere before the pass, fits a worker that has gained room since.

    Half of the decisions of an overloaded cluster would otherwise be asked in vain.
    """
    found = False
    for m in range(n + s.counts[N_GROWN]):
        j = w.workers[m].taken if m < n else w.workers[m - n].grown
        found |= fits(w, j, s.t[i].cpu, s.t[i].gib, s.t[i].gpu, s.t[i].storage)
    return found


@compiled
def covers(room: F64, request: F64) -> bool:
    """Whether a request is within a room."""
    return bool(
        request[0] <= room[0] and request[1] <= room[1] and request[2] <= room[2] and request[3] <= room[3]
    )


@compiled
def will_fail(s: State, n: int, request: F64) -> bool:
    """Whether a request is not smaller than one of the n that failed in this pass."""
    found = False
    for m in range(n):
        found |= covers(request, s.failed[m])
    return found


@compiled
def pass_over(s: State, k: int, position: int, n_failed: int, room: F64, reach: F64) -> int:
    """Note as failed, in order, who contended before a position and still waits; how many requests failed.

    Only when a worker is no longer reserved does it matter: who is further back in the order may have it in
    this round, who was passed over only in the next.
    """
    this = s.counts[N_PASS]
    for before in range(k + 1):
        at = tree_next(s, before, 0, reach)
        while at >= 0 and (before < k or at < position):
            i = s.order[before, 1, at]
            g = s.t[i].group
            if s.groups[g].failed != this and (s.groups[g].fresh == this or covers(room, s.request[i])):
                s.groups[g].failed = this
                if n_failed < FAILURES and not will_fail(s, n_failed, s.request[i]):
                    s.failed[n_failed] = s.request[i]
                    n_failed += 1
            at = tree_next(s, before, at + 1, reach)
    return n_failed


@compiled
def fill(w: World, s: State, which: int, ours: bool, n_taken: int, fresh_room: F64, now: float) -> None:
    """Place in order what arrived and what fits into the room that the taken workers have."""
    first_room, room, reach, first_reach = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    # What came fresh contends, and what is within the room at the beginning; of those, who fits the room that
    # is left is worth asking for.
    room_of(w, s, n_taken, first_room)
    room[:] = first_room
    for r in range(4):
        first_reach[r] = max(first_room[r], fresh_room[r])
    reach[:] = first_reach
    n_failed = 0
    s.counts[LIFTED] = 0
    this = s.counts[N_PASS]
    for k in range(2 if ours else 1):
        position = tree_next(s, k, 0, reach)
        while position >= 0:
            i = s.order[k, 1, position]
            g = s.t[i].group
            fresh = s.groups[g].fresh == this
            contends = fresh or covers(room, s.request[i])
            if s.groups[g].failed == this or s.groups[g].tried == this or not contends:
                pass
            elif will_fail(s, n_failed, s.request[i]):
                s.groups[g].failed = this
            elif (fresh or has_room(w, s, n_taken, i)) and attempt(w, s, which, ours, i, now):
                if s.counts[LIFTED]:
                    s.counts[LIFTED] = 0
                    n_failed = pass_over(s, k, position, n_failed, first_room, first_reach)
                room_of(w, s, n_taken, room)
                for r in range(4):
                    room[r] = min(room[r], first_room[r])
                    reach[r] = max(room[r], fresh_room[r])
            else:
                s.groups[g].tried = this
            position = tree_next(s, k, position + 1, reach)


@compiled
def place(w: World, s: State, which: int, ours: bool, now: float) -> None:
    """One pass over the queue."""
    advance(s, ours, now)
    live = s.counts[N_LIVE]
    fresh_room = np.full(4, -1.0)
    s.counts[N_PASS] += 1
    if s.counts[N_FRESH] == 1 and s.counts[N_GROWN] == 0:
        # By far the most common pass: one task arrived.
        i = s.t[0].fresh
        s.counts[N_FRESH] = 0
        if s.groups[s.t[i].group].size or not attempt(w, s, which, ours, i, now):
            enqueue(s, ours, i, now)
    while s.counts[N_FRESH] or s.counts[N_GROWN]:
        s.counts[N_PASS] += 1
        this = s.counts[N_PASS]
        fresh_room[:] = -1.0
        for m in range(s.counts[N_FRESH]):
            i = s.t[m].fresh
            g = s.t[i].group
            if s.groups[g].size == 0 or s.groups[g].fresh == this:
                s.groups[g].fresh = this
                for r in range(4):
                    fresh_room[r] = max(fresh_room[r], s.request[i, r])
            enqueue(s, ours, i, now)
        s.counts[N_FRESH] = 0
        n_taken = s.counts[N_GROWN]
        for m in range(n_taken):
            w.workers[m].taken = w.workers[m].grown
        s.counts[N_GROWN] = 0
        n_ready = 0
        for m in range(s.counts[N_HELD]):
            i = s.held[m]
            j = s.t[i].reserved
            if w.workers[j].is_grown and (
                s.t[i].cpu <= w.cpu[j]
                and s.t[i].gib <= w.gib[j]
                and s.t[i].gpu <= w.gpu[j]
                and s.t[i].storage <= w.storage[j]
            ):
                s.t[n_ready].scratch_task = i
                n_ready += 1
        for m in range(n_taken):
            w.workers[w.workers[m].taken].is_grown = 0
        for m in range(n_ready):
            i = s.t[m].scratch_task
            hopeless = s.t[i].hopeless_hold
            lift(w, s, i)
            if not attempt(w, s, which, ours, i, now):
                starve(s, i)
            elif hopeless:
                s.t[i].favoured = 1
                s.counts[N_FAVOURED] += 1
        fill(w, s, which, ours, n_taken, fresh_room, now)
    make_reservations(w, s, live, now)


@compiled
def run(w: World, s: State, which: int, ours: bool) -> None:
    """Replay all tasks; a task that no worker could ever run (group -1) is not queued."""
    n, p = s.t.shape[0], 0
    now = -np.inf
    while True:
        arrives = s.t[p].arrival if p < n else np.inf
        ends = s.t[0].heap_time if s.counts[N_HEAP] else np.inf
        if min(arrives, ends) < np.inf:
            now = min(arrives, ends)
        elif s.counts[N_GROWN] == 0:
            # Nothing runs, nothing will come, and no worker has room that the queue has not seen.
            break
        while s.counts[N_HEAP] and s.t[0].heap_time <= now:
            end(w, s, heap_pop(s), now)
        while p < n and s.t[p].arrival <= now:
            if s.t[p].group >= 0:
                s.t[s.counts[N_FRESH]].fresh = p
                s.counts[N_FRESH] += 1
            p += 1
        place(w, s, which, ours, now)


@compiled
def adopt(policy: int, weights: F64, affinity_tw: F64, penalty_w: F64) -> None:
    """Give a policy handle its θ, α, β (6 numbers) and the scores of slots 0 to workers - 1."""
    _set_weights(policy, weights[0], weights[1], weights[2], weights[3], weights[4], weights[5])
    for j in range(penalty_w.shape[0]):
        for c in range(affinity_tw.shape[0]):
            if affinity_tw[c, j] != 0.0:
                _set_affinity(policy, c, j, affinity_tw[c, j])
        if penalty_w[j] != 0.0:
            _set_penalty(policy, j, penalty_w[j])
