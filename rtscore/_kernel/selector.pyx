# cython: language_level=3
"""Decisions: one call into C++ each, then a Decision."""

from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libcpp.vector cimport vector

cimport rtscore._kernel.cpp as cpp
from rtscore._kernel.records cimport Decision, Request
from rtscore._kernel.table cimport Table

from rtscore._source import Source
from rtscore.candidate import Candidate, Fit
from rtscore.errors import InvalidTaskError

cdef object _RTS = Source.RTS
cdef object _ROUND_ROBIN = Source.ROUND_ROBIN
cdef object _NONE = Source.NONE


cdef double instant(Request task, object now) except? -1.0:
    cdef double t
    if now is None:
        return task.arrival_time
    try:
        t = now
    except (TypeError, ValueError):
        raise InvalidTaskError(f"now is {now!r}; a number of seconds or None is allowed") from None
    if not isfinite(t):
        raise InvalidTaskError(f"now is {now!r}; a finite number of seconds is allowed")
    return t


cdef Decision nothing_fits(Table table, Request task):
    cdef Decision d = Decision.__new__(Decision)
    d._slot = -1
    d.source = _NONE
    d._why = Shortage(table, task, table.t.changes)
    return d


cdef Decision chosen(Table table, int64_t slot, double risk, object source):
    cdef Decision d = Decision.__new__(Decision)
    d.worker_id = table.id_at(<size_t>slot)
    d._slot = slot
    d._risk = risk
    d.source = source
    d._why = ""
    return d


cdef class Shortage:
    """The sentence of a decision without a worker, made when it is read."""
    cdef Table table
    cdef Request task
    cdef unsigned long long version

    def __init__(self, Table table, Request task, version):
        self.table = table
        self.task = task
        self.version = version

    def __call__(self):
        from rtscore.decision import describe_shortage

        cdef double amount[4]
        self.task.amounts(amount)
        cdef cpp.Shortage s = cpp.shortage(self.table.t[0], amount)
        return describe_shortage(
            self.task, s.live, s.closed, [s.lacking[k] for k in range(4)], self.table.t.changes - self.version
        )


cdef class Policy:
    """Weights and learned columns bound to one table, with their index of it.

    `on_join(policy, worker_id)` is called before the next decision for every worker that joined; it sets all its
    scores, for the slot may have those of the worker before.
    """

    def __cinit__(self, Table table not None, on_join=None):
        self.table = table
        self.p = new cpp.Policy(table.shared)
        self.p.joins_seen = table.t.joins
        self.on_join = on_join
        table.policies.add(self)

    def __dealloc__(self):
        del self.p

    def __reduce__(self):
        raise TypeError("a policy cannot be pickled or copied")

    def set_weights(self, theta, double alpha, double beta):
        cdef cpp.Weights w
        w.theta[0], w.theta[1], w.theta[2], w.theta[3] = theta
        w.alpha = alpha
        w.beta = beta
        self.p.set_weights(w)

    def set_affinity(self, int task_type, worker_id, double score):
        """Set a score; False when the worker is not in the table."""
        cdef int64_t slot = self.table.find(worker_id)
        if not 0 <= task_type < cpp.kTypes:
            raise IndexError(f"task type {task_type}; 0 to {cpp.kTypes - 1} is allowed")
        if slot < 0:
            return False
        self.p.set_affinity(task_type, <size_t>slot, score)
        return True

    def set_penalty(self, worker_id, double score):
        """Set a score; False when the worker is not in the table."""
        cdef int64_t slot = self.table.find(worker_id)
        if slot < 0:
            return False
        self.p.set_penalty(<size_t>slot, score)
        return True

    def scores(self, int task_type, worker_id):
        """Return a worker's affinity for a type, and its penalty."""
        cdef size_t slot = self.table.known(worker_id)
        if not 0 <= task_type < cpp.kTypes:
            raise IndexError(f"task type {task_type}; 0 to {cpp.kTypes - 1} is allowed")
        self.sync()
        return self.p.affinity_of(task_type, slot), self.p.penalty_of(slot)

    cdef int sync(self) except -1:
        """Give the workers that joined since the last look their scores."""
        cdef cpp.Table* t = self.table.t
        cdef unsigned long long n
        if self.p.joins_seen == t.joins:
            return 0
        if self.on_join is not None:
            if t.joins - self.p.joins_seen > t.kRing:
                changed = range(t.rows)
            else:
                changed = {t.joined_slot(n) for n in range(self.p.joins_seen + 1, t.joins + 1)}
            for slot in changed:
                worker_id = self.table.id_at(slot)
                if worker_id is not None:
                    self.on_join(self, worker_id)
        self.p.joins_seen = t.joins
        return 0

    def verify(self):
        """Return whether the index is what the table says."""
        self.sync()
        return self.p.verify()

    @property
    def handle(self):
        """The policy's address for the C entry points; valid as long as this object lives."""
        return <size_t>self.p

    @property
    def nbytes(self):
        """Bytes of native memory."""
        return self.p.index.bytes()


cdef class Selector:
    """The native part of `rtscore.RTSScheduler`."""

    def __cinit__(self, Table table not None, *args, **kwargs):
        self.table = table
        self._policy = None

    @property
    def policy(self):
        """The weights and scores in use, bound to the table; another object after `params` was assigned."""
        return self._policy

    def _adopt(self, Policy policy not None, fallback):
        if policy.table is not self.table:
            raise ValueError("the policy is bound to another table")
        self._policy = policy
        self.fallback = fallback

    def select_worker(self, task, now=None):
        """Return the feasible worker of least risk.

        Parameters
        ----------
        task : Task
        now : float, optional
            The instant of the decision in seconds; the task's arrival when not given.

        Returns
        -------
        Decision
            Source `RTS`; `ROUND_ROBIN` when workers fit but none has a finite risk; `NONE` when none fits.

        Raises
        ------
        InvalidTaskError
            When `now` is not a finite number.
        TypeError
            When `task` is not a `Task`.
        """
        if not isinstance(task, Request):
            raise TypeError(f"select_worker takes a Task, not {type(task).__name__}")
        cdef Policy policy = self._policy
        if policy is None:
            raise RuntimeError("RTSScheduler.__init__ was not called")
        policy.sync()
        cdef cpp.Choice c = cpp.select(policy.p[0], (<Request>task).at(instant(<Request>task, now)))
        if c.outcome == cpp.kChosen:
            return chosen(self.table, c.slot, c.risk, _RTS)
        if c.outcome == cpp.kNothingFits:
            return nothing_fits(self.table, <Request>task)
        return self.fallback.select_worker(task, now)

    def candidates(self, task, now=None, limit=8):
        """Return the feasible workers of least risk, best first, equal risks by slot.

        The first is the worker of `select_worker`; that one costs less.

        Parameters
        ----------
        task : Task
        now : float, optional
            As in `select_worker`.
        limit : int
            At most so many, at least 1.

        Returns
        -------
        list of Candidate
            Empty when no worker fits, or none that fits has a finite risk.

        Raises
        ------
        InvalidTaskError, TypeError
            As in `select_worker`.
        ValueError
            When `limit` is below 1.
        """
        cdef vector[cpp.Candidate] found
        cdef cpp.Candidate c
        cdef Policy policy = self._policy
        cdef Py_ssize_t most = limit
        if not isinstance(task, Request):
            raise TypeError(f"candidates takes a Task, not {type(task).__name__}")
        if most < 1:
            raise ValueError(f"limit is {limit}; at least 1 is allowed")
        if policy is None:
            raise RuntimeError("RTSScheduler.__init__ was not called")
        policy.sync()
        found = cpp.candidates(policy.p[0], (<Request>task).at(instant(<Request>task, now)), most)
        return [
            Candidate(
                self.table.id_at(<size_t>c.slot), c.runtime, c.late, c.load, c.affinity, c.penalty, c.risk
            )
            for c in found
        ]

    def fit(self, task):
        """Return how many workers a task fits on, and how many lack what; looks at every worker.

        Raises
        ------
        TypeError
            When `task` is not a `Task`.
        """
        cdef double amount[4]
        if not isinstance(task, Request):
            raise TypeError(f"fit takes a Task, not {type(task).__name__}")
        (<Request>task).amounts(amount)
        cdef cpp.Shortage s = cpp.shortage(self.table.t[0], amount)
        return Fit(s.live, s.fitting, s.closed, (s.lacking[0], s.lacking[1], s.lacking[2], s.lacking[3]))

    def select_many(self, tasks, now=None, reserve=True):
        """Decide tasks in order, each seeing the reservations made before it.

        Parameters
        ----------
        tasks : sequence of Task
        now : float, optional
            One instant for all; each task's arrival when not given.
        reserve : bool
            Reserve each choice at once, as `table.reserve` does. Without it every task sees the same table.

        Returns
        -------
        list of Decision
            One per task, in order.

        Raises
        ------
        InvalidTaskError, TypeError
            As in `select_worker`, before anything is decided. When a fallback raises, everything that this call
            reserved is released.
        """
        cdef list batch = list(tasks)
        cdef Py_ssize_t count = len(batch), i = 0, begin = 0
        cdef vector[cpp.Request] requests
        cdef vector[cpp.Choice] choices
        cdef list decisions = []
        cdef Decision d
        cdef Policy policy = self._policy
        cdef bint reserving = reserve
        if policy is None:
            raise RuntimeError("RTSScheduler.__init__ was not called")
        requests.reserve(count)
        choices.resize(count)
        for task in batch:
            if not isinstance(task, Request):
                raise TypeError(f"select_many takes Tasks, not {type(task).__name__}")
            requests.push_back((<Request>task).at(instant(<Request>task, now)))
        try:
            while begin < count:
                policy.sync()
                i = begin + cpp.select_many(policy.p[0], &requests[begin], &choices[begin], count - begin, reserving)
                for k in range(begin, i):
                    if choices[k].outcome == cpp.kChosen:
                        if reserving:
                            self.table.remember(<size_t>choices[k].slot, <Request>batch[k])
                        decisions.append(chosen(self.table, choices[k].slot, choices[k].risk, _RTS))
                    else:
                        decisions.append(nothing_fits(self.table, <Request>batch[k]))
                begin = i
                if i < count:
                    d = self.fallback.select_worker(batch[i], now)
                    if reserving and d.worker_id is not None:
                        self.table.reserve(d.worker_id, batch[i])
                    decisions.append(d)
                    begin = i + 1
        except BaseException:
            if reserving:
                for task, d in zip(batch, decisions):
                    if d.worker_id is not None:
                        self.table.release(d.worker_id, task)
            raise
        return decisions


cdef class Rotation:
    """The native part of `rtscore.RoundRobinScheduler`."""
    cdef readonly Table table
    cdef size_t next_slot

    def __cinit__(self, Table table not None):
        self.table = table
        self.next_slot = 0

    def select_worker(self, task, now=None):
        """Return the next feasible worker in slot order after the last one chosen.

        `now` is checked and not used; errors as in `RTSScheduler.select_worker`.
        """
        d = self.peek(task, now)
        if d.worker_id is not None:
            self.next_slot = <size_t>(<Decision>d)._slot + 1
        return d

    def peek(self, task, now=None):
        """Return what `select_worker` would, without moving on."""
        cdef double amount[4]
        if not isinstance(task, Request):
            raise TypeError(f"select_worker takes a Task, not {type(task).__name__}")
        instant(<Request>task, now)
        (<Request>task).amounts(amount)
        cdef int64_t slot = cpp.next_feasible(self.table.t[0], self.next_slot, amount)
        if slot < 0:
            return nothing_fits(self.table, <Request>task)
        return chosen(self.table, slot, 0.0, _ROUND_ROBIN)

    def reset(self):
        """Begin again at the first slot."""
        self.next_slot = 0


def simd(name=None):
    """Return the instruction set of the kernel's loops; with a name, use that one from now on.

    Raises
    ------
    ValueError
        When this CPU or this build does not have it.
    """
    cdef bytes wanted
    cdef const cpp.Lanes* lanes
    if name is not None:
        wanted = name.encode()
        lanes = cpp.lanes_named(wanted)
        if lanes is NULL:
            raise ValueError(f"the instruction set is {name!r}; this machine has {', '.join(simd_available())}")
        (&cpp.active_lanes())[0] = lanes
    return cpp.active_lanes().name.decode()


def simd_available():
    """Return the instruction sets that `simd` takes here."""
    return [name for name in ("avx512", "avx2", "baseline") if cpp.lanes_named(name.encode()) is not NULL]


def decision_time(task, now):
    """Return the instant of a decision, checked as every decision checks it."""
    if not isinstance(task, Request):
        raise TypeError(f"a decision takes a Task, not {type(task).__name__}")
    return instant(<Request>task, now)


def c_entry_points():
    """Return the address of every C entry point (capi.hpp), by name."""
    return {
        "rts_select": <size_t>&cpp.rts_select,
        "rts_runtime": <size_t>&cpp.rts_runtime,
        "rts_next_feasible": <size_t>&cpp.rts_next_feasible,
        "rts_reserve": <size_t>&cpp.rts_reserve,
        "rts_release": <size_t>&cpp.rts_release,
        "rts_set_load": <size_t>&cpp.rts_set_load,
        "rts_set_schedulable": <size_t>&cpp.rts_set_schedulable,
        "rts_load": <size_t>&cpp.rts_load,
        "rts_available": <size_t>&cpp.rts_available,
        "rts_rows": <size_t>&cpp.rts_rows,
        "rts_clear": <size_t>&cpp.rts_clear,
        "rts_set_weights": <size_t>&cpp.rts_set_weights,
        "rts_set_affinity": <size_t>&cpp.rts_set_affinity,
        "rts_set_penalty": <size_t>&cpp.rts_set_penalty,
    }
