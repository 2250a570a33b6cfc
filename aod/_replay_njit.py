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

from aod._njit import F64, I8, I32, I64, compiled
from aod.policies import World, choose, stretch
from rtscore import numba_api

_reserve, _release, _set_schedulable = numba_api.reserve, numba_api.release, numba_api.set_schedulable
_set_weights, _set_affinity, _set_penalty = numba_api.set_weights, numba_api.set_affinity, numba_api.set_penalty

ABSENT, HOPEFUL, HOPELESS, RUNNING, DONE = 0, 1, 2, 3, 4
# As in master.reservations and master.placement; a test compares the placements.
STARVING_S, SHARE, CANDIDATES, FAILURES = 30.0, 8, 128, 16

# Places in `State.count`.
N_HEAP, N_GROWN, N_FRESH, N_HELD, N_FAVOURED, N_HELD_HOPELESS = 0, 1, 2, 3, 4, 5
N_STARVING, N_STARVING_HOPEFUL, N_LIVE, DECISIONS, VERSION, ROSTER, LIFTED = 6, 7, 8, 9, 10, 11, 12
N_PASS, STARVING_FROM, STARVING_TO, NEXT_LATEST, NEXT_STARVING = 13, 14, 15, 16, 17
COUNTS = 18


class Tasks(NamedTuple):
    """The tasks in order of arrival; n arrays, `request` of shape (n, 4)."""

    arrival: F64
    type: I8
    request: F64
    tau: F64
    deadline: F64
    base_s: F64
    group: I32
    latest_start: F64
    by_latest: I64
    starving_at: F64
    by_starving: I64


class State(NamedTuple):
    """What changes while the replay runs."""

    tree: F64  # (2, 2·leaves, 4): least request below each node
    place: I64  # (2, n): position of a task in its order
    at: I64  # (2, n): task at a position
    status: I8
    starving: NDArray[np.bool_]
    reserved: I64  # worker that is kept for a task, or -1
    hopeless_hold: NDArray[np.bool_]  # of tasks with a reservation: were they hopeless when it was made
    favoured: NDArray[np.bool_]
    review_at: F64
    held: I64  # tasks with a reservation, in the order in which they got it
    group_size: I64
    group_fresh: I64  # the pass in which a group is new
    group_failed: I64  # the pass in which it did not fit
    group_skipped: I64
    group_unreservable: I64
    next_run: I64  # a list of the running tasks per worker, in order of placement
    previous_run: I64
    first_run: I64
    last_run: I64
    heap_time: F64
    heap_task: I64
    is_grown: NDArray[np.bool_]
    grown: I64
    taken: I64
    fresh: I64
    over_since: F64  # since when a worker is overloaded, or infinity
    scratch_time: F64
    scratch_task: I64
    failed: F64  # (16, 4)
    count: I64


class Out(NamedTuple):
    """Results; `worker` is -1 of a task that never ran, and its times NaN. `found` (n, 4): available cpu,
    memory and gpu of the worker just before the placement, and its load."""

    start: F64
    finish: F64
    worker: I64
    found: F64
    overload_s: F64


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
                return i - leaves
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
    i = s.count[N_HEAP]
    s.count[N_HEAP] += 1
    while i:
        parent = (i - 1) >> 1
        if s.heap_time[parent] <= time:
            break
        s.heap_time[i], s.heap_task[i] = s.heap_time[parent], s.heap_task[parent]
        i = parent
    s.heap_time[i], s.heap_task[i] = time, task


@compiled
def heap_pop(s: State) -> int:
    """The task that finishes first."""
    task = s.heap_task[0]
    s.count[N_HEAP] -= 1
    n = s.count[N_HEAP]
    time, last = s.heap_time[n], s.heap_task[n]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and s.heap_time[child + 1] < s.heap_time[child]:
            child += 1
        if time <= s.heap_time[child]:
            break
        s.heap_time[i], s.heap_task[i] = s.heap_time[child], s.heap_task[child]
        i = child
    s.heap_time[i], s.heap_task[i] = time, last
    return task


# ---- queue and reservations ----


@compiled
def grow(s: State, j: int) -> None:
    """Worker j gained room."""
    if not s.is_grown[j]:
        s.is_grown[j] = True
        s.grown[s.count[N_GROWN]] = j
        s.count[N_GROWN] += 1


@compiled
def enqueue(t: Tasks, s: State, ours: bool, i: int, now: float) -> None:
    """Let a task that arrived wait."""
    hopeful = now <= t.latest_start[i]
    s.status[i] = HOPEFUL if hopeful else HOPELESS
    k = 0 if hopeful or not ours else 1
    tree_put(s, k, s.place[k, i], t.request[i])
    s.group_size[t.group[i]] += 1


@compiled
def dequeue(t: Tasks, s: State, ours: bool, i: int) -> None:
    """Take a task out of the queue."""
    k = 1 if ours and s.status[i] == HOPELESS else 0
    tree_drop(s, k, s.place[k, i])
    s.group_size[t.group[i]] -= 1
    if s.starving[i]:
        unstarve(s, i)


@compiled
def starve(s: State, i: int) -> None:
    """Let a task that waited too long ask for a reservation."""
    s.starving[i] = True
    s.count[N_STARVING] += 1
    if s.status[i] == HOPEFUL:
        s.count[N_STARVING_HOPEFUL] += 1
    s.count[STARVING_FROM] = min(s.count[STARVING_FROM], i)
    s.count[STARVING_TO] = max(s.count[STARVING_TO], i + 1)


@compiled
def unstarve(s: State, i: int) -> None:
    """A starving task asks no more."""
    s.starving[i] = False
    s.count[N_STARVING] -= 1
    if s.status[i] == HOPEFUL:
        s.count[N_STARVING_HOPEFUL] -= 1


@compiled
def lift(w: World, s: State, i: int) -> None:
    """End a task's reservation."""
    j = s.reserved[i]
    s.reserved[i] = -1
    n = 0
    for m in range(s.count[N_HELD]):
        if s.held[m] != i:
            s.held[n] = s.held[m]
            n += 1
    s.count[N_HELD] = n
    if s.hopeless_hold[i]:
        s.count[N_HELD_HOPELESS] -= 1
    w.open[j] = True
    _set_schedulable(w.table, j, 1)
    s.count[VERSION] += 1
    s.count[LIFTED] = 1
    grow(s, j)


@compiled
def advance(t: Tasks, s: State, ours: bool, now: float) -> None:
    """Let time pass: tasks lose hope or begin to starve."""
    n = t.arrival.shape[0]
    p = s.count[NEXT_LATEST]
    while p < n and t.latest_start[t.by_latest[p]] < now:
        i = t.by_latest[p]
        p += 1
        if s.status[i] == HOPEFUL:
            s.status[i] = HOPELESS
            if s.starving[i]:
                s.count[N_STARVING_HOPEFUL] -= 1
            if ours:
                tree_drop(s, 0, s.place[0, i])
                tree_put(s, 1, s.place[1, i], t.request[i])
    s.count[NEXT_LATEST] = p
    p = s.count[NEXT_STARVING]
    while p < n and t.starving_at[t.by_starving[p]] < now:
        i = t.by_starving[p]
        p += 1
        if s.status[i] == HOPEFUL or s.status[i] == HOPELESS:
            starve(s, i)
    s.count[NEXT_STARVING] = p


@compiled
def room_at(t: Tasks, w: World, s: State, out: Out, j: int, i: int, now: float) -> float:
    """When worker j will probably have room for task i, as far as τ tells."""
    a, b = t.request[i, 0] - w.cpu[j], t.request[i, 1] - w.gib[j]
    c, d = t.request[i, 2] - w.gpu[j], t.request[i, 3] - w.storage[j]
    if max(max(a, b), max(c, d)) <= 0.0:
        return now
    n = 0
    run = s.first_run[j]
    while run >= 0:
        ends = out.start[run] + t.tau[run]
        if now >= ends:
            ends = 2.0 * now - ends
        m = n
        while m and s.scratch_time[m - 1] > ends:
            s.scratch_time[m], s.scratch_task[m] = s.scratch_time[m - 1], s.scratch_task[m - 1]
            m -= 1
        s.scratch_time[m], s.scratch_task[m] = ends, run
        n += 1
        run = s.next_run[run]
    for m in range(n):
        run = s.scratch_task[m]
        a -= t.request[run, 0]
        b -= t.request[run, 1]
        c -= t.request[run, 2]
        d -= t.request[run, 3]
        if max(max(a, b), max(c, d)) <= 0.0:
            return s.scratch_time[m]
    return np.inf


@compiled
def keep_worker(t: Tasks, w: World, s: State, out: Out, i: int, now: float) -> bool:
    """Reserve for task i the worker that will probably have room first; False when there is none."""
    n = w.load.shape[0]
    begin = s.count[ROSTER] if n > CANDIDATES else 0
    best, best_at, seen = -1, np.inf, 0
    for offset in range(n):
        j = (begin + offset) % n
        if not (
            w.open[j]
            and t.request[i, 0] <= w.totals[j, 0]
            and t.request[i, 1] <= w.totals[j, 1]
            and t.request[i, 2] <= w.totals[j, 2]
            and t.request[i, 3] <= w.totals[j, 3]
        ):
            continue
        at = room_at(t, w, s, out, j, i, now)
        if best < 0 or at < best_at:
            best, best_at = j, at
        seen += 1
        if seen == CANDIDATES:
            s.count[ROSTER] = begin + offset + 1
            break
    if best < 0:
        s.group_unreservable[t.group[i]] = s.count[VERSION]
        return False
    hopeless = s.status[i] == HOPELESS
    unstarve(s, i)
    s.reserved[i] = best
    s.review_at[i] = now + 2.0 * (best_at - now) + STARVING_S
    s.hopeless_hold[i] = hopeless
    s.held[s.count[N_HELD]] = i
    s.count[N_HELD] += 1
    if hopeless:
        s.count[N_HELD_HOPELESS] += 1
    w.open[best] = False
    _set_schedulable(w.table, best, 0)
    s.count[VERSION] += 1
    return True


@compiled
def make_reservations(t: Tasks, w: World, s: State, out: Out, now: float) -> None:
    """Reserve workers for those that starve, the longest waiting first."""
    m = 0
    while m < s.count[N_HELD]:
        i = s.held[m]
        if s.review_at[i] < now:
            lift(w, s, i)
            starve(s, i)
        else:
            m += 1
    limit = max(1, w.load.shape[0] // SHARE)
    if s.count[N_STARVING] == 0 or s.count[N_HELD] >= limit:
        return
    favours = max(1, s.count[N_LIVE] // SHARE) - s.count[N_FAVOURED] - s.count[N_HELD_HOPELESS]
    skip = s.count[N_PASS]
    begin, end = s.count[STARVING_FROM], s.count[STARVING_TO]
    while begin < end and not s.starving[begin]:
        begin += 1
    s.count[STARVING_FROM] = begin
    for i in range(begin, end):
        if favours <= 0 and s.count[N_STARVING_HOPEFUL] == 0:
            return
        g = t.group[i]
        if not s.starving[i] or s.group_skipped[g] == skip:
            continue
        hopeless = s.status[i] == HOPELESS
        if (
            s.group_unreservable[g] == s.count[VERSION]
            or (hopeless and favours <= 0)
            or not keep_worker(t, w, s, out, i, now)
        ):
            s.group_skipped[g] = skip
            continue
        if hopeless:
            favours -= 1
        if s.count[N_HELD] >= limit:
            return


# ---- placement ----


@compiled
def overload(w: World, s: State, out: Out, j: int, now: float, threshold: float, window: F64) -> None:
    """Count the overloaded time of a worker whose load has just changed, within the window."""
    since = s.over_since[j]
    if since < np.inf:
        out.overload_s[j] += max(0.0, min(now, window[1]) - max(since, window[0]))
    s.over_since[j] = now if w.load[j] > threshold else np.inf


@compiled
def attempt(
    t: Tasks,
    w: World,
    s: State,
    out: Out,
    which: int,
    ours: bool,
    i: int,
    now: float,
    threshold: float,
    window: F64,
) -> bool:
    """Place a task, queued or not; False when no worker has room for it."""
    cpu, gib, gpu, storage = t.request[i, 0], t.request[i, 1], t.request[i, 2], t.request[i, 3]
    s.count[DECISIONS] += 1
    j = choose(which, w, cpu, gib, gpu, storage, t.type[i], t.tau[i], t.deadline[i] - now)
    if j < 0:
        return False
    if s.reserved[i] >= 0:
        lift(w, s, i)
    if s.status[i] != ABSENT:
        dequeue(t, s, ours, i)
    s.status[i] = RUNNING
    out.worker[i] = j
    out.start[i] = now
    out.found[i, 0], out.found[i, 1], out.found[i, 2], out.found[i, 3] = (
        w.cpu[j],
        w.gib[j],
        w.gpu[j],
        w.load[j],
    )
    runtime = t.base_s[i] * w.slowdown_tw[t.type[i], j] * stretch(w, j, cpu, gib, gpu)
    out.finish[i] = now + runtime
    _reserve(w.table, j, cpu, gib, gpu, storage)
    overload(w, s, out, j, now, threshold, window)
    heap_push(s, out.finish[i], i)
    s.next_run[i] = -1
    s.previous_run[i] = s.last_run[j]
    if s.last_run[j] >= 0:
        s.next_run[s.last_run[j]] = i
    else:
        s.first_run[j] = i
    s.last_run[j] = i
    s.count[N_LIVE] += 1
    return True


@compiled
def end(t: Tasks, w: World, s: State, out: Out, i: int, now: float, threshold: float, window: F64) -> None:
    """A task finished: its worker gains room."""
    j = out.worker[i]
    s.status[i] = DONE
    _release(w.table, j, t.request[i, 0], t.request[i, 1], t.request[i, 2], t.request[i, 3])
    overload(w, s, out, j, now, threshold, window)
    before, after = s.previous_run[i], s.next_run[i]
    if before >= 0:
        s.next_run[before] = after
    else:
        s.first_run[j] = after
    if after >= 0:
        s.previous_run[after] = before
    else:
        s.last_run[j] = before
    s.count[N_LIVE] -= 1
    if s.favoured[i]:
        s.favoured[i] = False
        s.count[N_FAVOURED] -= 1
    grow(s, j)


@compiled
def room_of(w: World, s: State, n: int, floor: F64, out_room: F64) -> None:
    """The most of each amount that one of the n workers just taken has, at least `floor`."""
    for r in range(4):
        out_room[r] = floor[r]
    for m in range(n):
        j = s.taken[m]
        if w.open[j]:
            out_room[0] = max(out_room[0], w.cpu[j])
            out_room[1] = max(out_room[1], w.gib[j])
            out_room[2] = max(out_room[2], w.gpu[j])
            out_room[3] = max(out_room[3], w.storage[j])


@compiled
def covers(room: F64, request: F64) -> bool:
    """Whether a request is within a room."""
    return request[0] <= room[0] and request[1] <= room[1] and request[2] <= room[2] and request[3] <= room[3]


@compiled
def will_fail(s: State, n: int, request: F64) -> bool:
    """Whether a request is not smaller than one of the n that failed in this pass."""
    for m in range(n):
        if covers(request, s.failed[m]):
            return True
    return False


@compiled
def fill(
    t: Tasks,
    w: World,
    s: State,
    out: Out,
    which: int,
    ours: bool,
    n_taken: int,
    fresh_room: F64,
    now: float,
    threshold: float,
    window: F64,
) -> None:
    """Place in order what arrived and what fits into the room that the taken workers have."""
    nothing, first_room, room, reach = np.full(4, -1.0), np.empty(4), np.empty(4), np.empty(4)
    room_of(w, s, n_taken, nothing, first_room)
    room[:] = first_room
    room_of(w, s, n_taken, fresh_room, reach)
    n_failed = 0
    s.count[LIFTED] = 0
    this = s.count[N_PASS]
    for k in range(2 if ours else 1):
        position = tree_next(s, k, 0, reach)
        while position >= 0:
            i = s.at[k, position]
            g = t.group[i]
            if s.group_failed[g] == this:
                pass
            elif not (s.group_fresh[g] == this or covers(room, t.request[i])):
                pass
            elif will_fail(s, n_failed, t.request[i]):
                s.group_failed[g] = this
            elif attempt(t, w, s, out, which, ours, i, now, threshold, window):
                # A worker that is no longer reserved has room that was not asked about: what fitted at first
                # is then tried again, as the master does.
                if s.count[LIFTED]:
                    room[:] = first_room
                else:
                    room_of(w, s, n_taken, nothing, room)
                for r in range(4):
                    reach[r] = max(room[r], fresh_room[r])
            else:
                s.group_failed[g] = this
                if n_failed < FAILURES:
                    s.failed[n_failed] = t.request[i]
                    n_failed += 1
            position = tree_next(s, k, position + 1, reach)


@compiled
def place(
    t: Tasks, w: World, s: State, out: Out, which: int, ours: bool, now: float, threshold: float, window: F64
) -> None:
    """One pass over the queue."""
    advance(t, s, ours, now)
    fresh_room = np.full(4, -1.0)
    s.count[N_PASS] += 1
    if s.count[N_FRESH] == 1 and s.count[N_GROWN] == 0:
        # By far the most common pass: one task arrived.
        i = s.fresh[0]
        s.count[N_FRESH] = 0
        if s.group_size[t.group[i]] or not attempt(t, w, s, out, which, ours, i, now, threshold, window):
            enqueue(t, s, ours, i, now)
    while s.count[N_FRESH] or s.count[N_GROWN]:
        s.count[N_PASS] += 1
        this = s.count[N_PASS]
        fresh_room[:] = -1.0
        for m in range(s.count[N_FRESH]):
            i = s.fresh[m]
            g = t.group[i]
            if s.group_size[g] == 0 or s.group_fresh[g] == this:
                s.group_fresh[g] = this
                for r in range(4):
                    fresh_room[r] = max(fresh_room[r], t.request[i, r])
            enqueue(t, s, ours, i, now)
        s.count[N_FRESH] = 0
        n_taken = s.count[N_GROWN]
        for m in range(n_taken):
            s.taken[m] = s.grown[m]
        s.count[N_GROWN] = 0
        n_ready = 0
        for m in range(s.count[N_HELD]):
            i = s.held[m]
            j = s.reserved[i]
            if s.is_grown[j] and (
                t.request[i, 0] <= w.cpu[j]
                and t.request[i, 1] <= w.gib[j]
                and t.request[i, 2] <= w.gpu[j]
                and t.request[i, 3] <= w.storage[j]
            ):
                s.scratch_task[n_ready] = i
                n_ready += 1
        for m in range(n_taken):
            s.is_grown[s.taken[m]] = False
        for m in range(n_ready):
            i = s.scratch_task[m]
            hopeless = s.hopeless_hold[i]
            lift(w, s, i)
            if not attempt(t, w, s, out, which, ours, i, now, threshold, window):
                starve(s, i)
            elif hopeless:
                s.favoured[i] = True
                s.count[N_FAVOURED] += 1
        fill(t, w, s, out, which, ours, n_taken, fresh_room, now, threshold, window)
    make_reservations(t, w, s, out, now)


@compiled
def run(
    t: Tasks, w: World, s: State, out: Out, which: int, ours: bool, threshold: float, window: F64
) -> None:
    """Replay all tasks; a task that no worker could ever run (group -1) is not queued."""
    n, p = t.arrival.shape[0], 0
    now = -np.inf
    while True:
        arrives = t.arrival[p] if p < n else np.inf
        ends = s.heap_time[0] if s.count[N_HEAP] else np.inf
        if min(arrives, ends) < np.inf:
            now = min(arrives, ends)
        elif s.count[N_GROWN] == 0:
            # Nothing runs, nothing will come, and no worker has room that the queue has not seen.
            break
        while s.count[N_HEAP] and s.heap_time[0] <= now:
            end(t, w, s, out, heap_pop(s), now, threshold, window)
        while p < n and t.arrival[p] <= now:
            if t.group[p] >= 0:
                s.fresh[s.count[N_FRESH]] = p
                s.count[N_FRESH] += 1
            p += 1
        place(t, w, s, out, which, ours, now, threshold, window)


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
