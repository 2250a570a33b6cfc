# cython: language_level=3
"""The two records of the hot path, held as C numbers: what a task asks, and what was decided."""

import cython

from rtscore._source import Source

cimport rtscore._kernel.cpp as cpp

cdef object _RTS = Source.RTS


cdef class Request:
    """What the kernel reads of a task; `rtscore.Task` checks the values and is what a user makes."""

    def __cinit__(
        self, str id not None, double cpu, double memory, double gpu, double storage, object task_type,
        int type_index, double tau, double arrival_time, double sla_multiplier, double deadline, str user_id not None,
    ):
        self.id = id
        self.cpu = cpp.quantise(cpu)
        self.memory = cpp.quantise(memory)
        self.gpu = cpp.quantise(gpu)
        self.storage = cpp.quantise(storage)
        self.task_type = task_type
        self.type_index = type_index
        self.tau = tau
        self.arrival_time = arrival_time
        self.sla_multiplier = sla_multiplier
        self.deadline = deadline
        self.user_id = user_id

    cdef bint same_amounts(self, Request other):
        return (
            self.cpu == other.cpu and self.memory == other.memory
            and self.gpu == other.gpu and self.storage == other.storage
        )

    cdef void amounts(self, double* out) noexcept:
        out[0] = self.cpu
        out[1] = self.memory
        out[2] = self.gpu
        out[3] = self.storage

    cdef cpp.Request at(self, double now) noexcept:
        cdef cpp.Request r
        self.amounts(r.amount)
        r.tau = self.tau
        r.slack = self.deadline - now
        r.type = self.type_index
        return r

    def _key(self):
        return (
            self.id, self.cpu, self.memory, self.gpu, self.storage, self.task_type, self.tau, self.arrival_time,
            self.sla_multiplier, self.deadline, self.user_id,
        )

    def __eq__(self, other):
        if not isinstance(other, Request):
            return NotImplemented
        return self._key() == (<Request>other)._key()

    def __hash__(self):
        return hash(self._key())

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


@cython.freelist(64)
cdef class Decision:
    """Where a task goes, or why nowhere.

    Attributes
    ----------
    worker_id : str or None
        None when no worker fits (`source` is then `Source.NONE`).
    slot : int or None
        The worker's row in the table at that moment.
    risk : float or None
        The risk that was minimised; None unless `source` is `Source.RTS`.
    source : Source
    reason : str
        Empty unless nothing fits; then of how many workers which resource is short. It is counted when it is
        first read (a count looks at every worker; a decision does not), and says so if the table has changed
        since the decision.
    """

    def __init__(self, worker_id=None, slot=None, risk=None, source=Source.NONE, reason=""):
        self.worker_id = worker_id
        self._slot = -1 if slot is None else slot
        self._risk = float("nan") if risk is None else risk
        self.source = Source(source)
        self._why = reason

    @property
    def slot(self):
        return None if self._slot < 0 else self._slot

    @property
    def risk(self):
        return self._risk if self.source is _RTS else None

    @property
    def reason(self):
        if not isinstance(self._why, str):
            self._why = self._why()
        return self._why

    def __eq__(self, other):
        if not isinstance(other, Decision):
            return NotImplemented
        cdef Decision d = <Decision>other
        return (
            self.worker_id == d.worker_id and self._slot == d._slot and self.source is d.source
            and self.risk == d.risk
        )

    def __hash__(self):
        return hash((self.worker_id, self._slot, self.source, self.risk))

    def __reduce__(self):
        return Decision, (self.worker_id, self.slot, self.risk, self.source, self.reason)

    def __repr__(self):
        return (
            f"Decision(worker_id={self.worker_id!r}, slot={self.slot!r}, risk={self.risk!r}, "
            f"source={str(self.source)!r}, reason={self.reason!r})"
        )
