# cython: language_level=3
"""The worker table: ids to slots, checked amounts, and who holds what; the columns are C++."""

from weakref import WeakSet

from cpython.object cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libcpp.memory cimport make_shared, shared_ptr

cimport rtscore._kernel.cpp as cpp
from rtscore._kernel.records cimport Request

from rtscore.errors import (
    CapacityError, DuplicateWorkerError, InvalidWorkerError, NotReservedError, UnknownWorkerError,
)

cdef tuple RESOURCES = ("cpu", "memory", "gpu", "storage")


cdef double checked_amount(str name, object value) except? -1.0:
    """A worker's total as the table keeps it: a finite multiple of 2**-20."""
    cdef double amount
    try:
        amount = value
    except (TypeError, ValueError):
        raise InvalidWorkerError(f"{name} is {value!r}; a number is allowed") from None
    if not 0.0 <= amount <= cpp.kMaxAmount:
        raise InvalidWorkerError(f"{name} is {value!r}; a number in [0, 2**32] is allowed")
    return cpp.quantise(amount)


cdef double checked_load(object value) except? -1.0:
    cdef double load
    try:
        load = value
    except (TypeError, ValueError):
        raise InvalidWorkerError(f"load is {value!r}; a number is allowed") from None
    if not (load >= 0.0 and isfinite(load)):
        raise InvalidWorkerError(f"load is {value!r}; a finite number that is not negative is allowed")
    return load


cdef class ColumnView:
    """Read-only memory of one column, kept alive by the view."""
    cdef shared_ptr[double] numbers
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & 1:  # PyBUF_WRITABLE
            raise BufferError("columns are read-only")
        buffer.buf = <void*>self.numbers.get()
        buffer.format = b"d"
        buffer.internal = NULL
        buffer.itemsize = sizeof(double)
        buffer.len = self.shape[0] * sizeof(double)
        buffer.ndim = 1
        buffer.obj = self
        buffer.readonly = 1
        buffer.shape = self.shape
        buffer.strides = self.strides
        buffer.suboffsets = NULL


cdef ColumnView view_of(cpp.Column[double]& column, size_t rows):
    cdef ColumnView view = ColumnView.__new__(ColumnView)
    view.numbers = column.shared()
    view.shape[0] = rows
    view.strides[0] = sizeof(double)
    return view


cdef class Table:
    """The native part of `rtscore.WorkerTable`."""

    def __cinit__(self):
        self.shared = make_shared[cpp.Table]()
        self.t = self.shared.get()
        self.ids_ = new cpp.Ids()
        self.held = {}
        self.policies = WeakSet()

    def __dealloc__(self):
        del self.ids_

    def __reduce__(self):
        raise TypeError("a worker table cannot be pickled or copied")

    cdef int64_t find(self, object worker_id) except -2:
        if not isinstance(worker_id, str):
            return -1
        if type(worker_id) is not str:
            worker_id = str.__str__(worker_id)
        return self.ids_.find(<PyObject*>worker_id)

    cdef size_t known(self, object worker_id) except? 0:
        cdef int64_t slot = self.find(worker_id)
        if slot < 0:
            raise UnknownWorkerError(f"worker {worker_id!r} is not in the table of {self.t.live} workers")
        return <size_t>slot

    cdef str id_at(self, size_t slot):
        cdef PyObject* found = self.ids_.at(slot)
        return None if found is NULL else <str><object>found

    def add(self, id, *, cpu, memory, gpu=0.0, storage=0.0):
        """Add an idle, schedulable worker and return its slot.

        Parameters
        ----------
        id : str
            Not empty, not known yet.
        cpu, memory, gpu, storage : float
            Totals in cores, GiB, devices and GiB, in `[0, 2**32]`, rounded to a multiple of `2**-20`.

        Raises
        ------
        DuplicateWorkerError
            When the id is known.
        InvalidWorkerError
            When an amount is out of bounds or the id is not a non-empty string.
        """
        cdef double totals[4]
        cdef size_t slot
        if not isinstance(id, str) or not id:
            raise InvalidWorkerError(f"worker id is {id!r}; a non-empty string is allowed")
        if type(id) is not str:
            id = str.__str__(id)
        if self.ids_.find(<PyObject*>id) >= 0:
            raise DuplicateWorkerError(f"worker {id!r} is in the table already")
        totals[0] = checked_amount("cpu", cpu)
        totals[1] = checked_amount("memory", memory)
        totals[2] = checked_amount("gpu", gpu)
        totals[3] = checked_amount("storage", storage)
        self.ids_.prepare(self.t.rows + 1)
        slot = self.t.add(totals)
        self.ids_.put(slot, <PyObject*>id)
        return slot

    def remove(self, id):
        """Remove a worker with all that is reserved on it; its slot will be reused.

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        """
        cdef size_t slot = self.known(id)
        self.t.remove(slot)
        self.ids_.erase(slot)
        self.held.pop(slot, None)

    def resize(self, id, *, cpu=None, memory=None, gpu=None, storage=None):
        """Change a worker's totals; those not given stay.

        A total below what is allocated is allowed: available is 0 until enough was released.

        Raises
        ------
        UnknownWorkerError, InvalidWorkerError
            As in `add`; then nothing changes.
        """
        cdef size_t slot = self.known(id)
        cdef double totals[4]
        cdef int k
        for k, (name, value) in enumerate(zip(RESOURCES, (cpu, memory, gpu, storage))):
            totals[k] = self.t.total[k][slot] if value is None else checked_amount(name, value)
        self.t.resize(slot, totals)

    def set_load(self, id, load):
        """Set the load that a worker reported (0 idle, may exceed 1).

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        InvalidWorkerError
            When the load is negative or not finite.
        """
        cdef size_t slot = self.known(id)
        self.t.set_reported(slot, checked_load(load))

    def _set_loads(self, const int64_t[::1] slots, const double[::1] loads):
        cdef Py_ssize_t i
        for i in range(slots.shape[0]):
            if not self.t.is_live(slots[i]):
                raise InvalidWorkerError(
                    f"slots[{i}] is {slots[i]}; the slot of one of the {self.t.live} workers is allowed"
                )
            if not (loads[i] >= 0.0 and isfinite(loads[i])):
                raise InvalidWorkerError(
                    f"loads[{i}] is {loads[i]}; a finite number that is not negative is allowed"
                )
        for i in range(slots.shape[0]):
            self.t.set_reported(<size_t>slots[i], loads[i])

    def set_schedulable(self, id, schedulable):
        """Say whether a worker may be given tasks; what it has stays reserved.

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        """
        cdef size_t slot = self.known(id)
        self.t.set_open(slot, bool(schedulable))

    def is_schedulable(self, id):
        """Return whether a worker may be given tasks."""
        return self.t.state[self.known(id)] == cpp.kOpen

    cdef void remember(self, size_t slot, Request task):
        cdef dict tasks = self.held.setdefault(slot, {})
        requests = tasks.get(task.id)
        tasks[task.id] = (task,) if requests is None else (*requests, task)

    def reserve(self, id, task):
        """Reserve what a task asks on a worker.

        The same task may be reserved several times; each reservation is released by itself.

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        CapacityError
            When the worker has less available; names the resource. Nothing changes.
        """
        cdef size_t slot = self.known(id)
        cdef double amount[4]
        cdef int short
        if not isinstance(task, Request):
            raise TypeError(f"reserve takes a Task, not {type(task).__name__}")
        (<Request>task).amounts(amount)
        short = self.t.reserve(slot, amount)
        if short >= 0:
            raise CapacityError(
                f"task {task.id!r} asks {RESOURCES[short]} {amount[short]:.6g} of worker {id!r}, which has "
                f"{self.t.available[short][slot]:.6g} available of {self.t.total[short][slot]:.6g}"
            )
        self.remember(slot, <Request>task)

    def release(self, id, task):
        """Give back what a task reserved on a worker.

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        NotReservedError
            When this task, with these amounts, is not reserved there. Nothing changes.
        """
        cdef size_t slot = self.known(id)
        cdef double amount[4]
        cdef Py_ssize_t i
        cdef dict tasks
        if not isinstance(task, Request):
            raise TypeError(f"release takes a Task, not {type(task).__name__}")
        tasks = self.held.get(slot)
        requests = None if tasks is None else tasks.get((<Request>task).id)
        if requests is None:
            raise NotReservedError(f"task {task.id!r} is not reserved on worker {id!r}")
        for i in range(len(requests)):
            if (<Request>requests[i]).same_amounts(<Request>task):
                break
        else:
            held = requests[0]
            raise NotReservedError(
                f"task {task.id!r} asks cpu {task.cpu:.6g}, memory {task.memory:.6g}, gpu {task.gpu:.6g}, "
                f"storage {task.storage:.6g}, but what is reserved under that id on worker {id!r} is "
                f"cpu {held.cpu:.6g}, memory {held.memory:.6g}, gpu {held.gpu:.6g}, storage {held.storage:.6g}"
            )
        (<Request>task).amounts(amount)
        if self.t.release(slot, amount) >= 0:
            raise NotReservedError(
                f"task {task.id!r} was released on worker {id!r} through the C entry points already"
            )
        if len(requests) > 1:
            tasks[(<Request>task).id] = requests[:i] + requests[i + 1:]
        else:
            del tasks[(<Request>task).id]
            if not tasks:
                del self.held[slot]

    def reserved(self, id):
        """Return the ids of the tasks reserved on a worker, each as often as it is reserved."""
        tasks = self.held.get(self.known(id), {})
        return [task_id for task_id, requests in tasks.items() for _ in requests]

    def slot(self, id):
        """Return a worker's slot.

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        """
        return self.known(id)

    def id(self, slot):
        """Return the id of the worker in a slot, None when it is free."""
        return self.id_at(slot) if 0 <= slot < self.t.rows else None

    def ids(self):
        """Return the ids of all workers, in slot order."""
        cdef size_t slot
        return [self.id_at(slot) for slot in range(self.t.rows) if self.t.state[slot] != cpp.kFree]

    def __len__(self):
        return self.t.live

    def __contains__(self, id):
        return self.find(id) >= 0

    @property
    def handle(self):
        """The table's address for the C entry points; valid as long as this object lives."""
        return <size_t>self.t

    def _snapshot(self):
        """Copies of what a decision reads, of one instant: ids by slot, states and columns as bytes."""
        cdef size_t rows = self.t.rows
        cdef dict columns = {}
        cdef int k
        for k in range(4):
            columns[RESOURCES[k]] = (<char*>self.t.available[k].data())[:rows * sizeof(double)] if rows else b""
        columns["load"] = (<char*>self.t.load.data())[:rows * sizeof(double)] if rows else b""
        columns["state"] = (<char*>self.t.state.data())[:rows] if rows else b""
        return [self.id_at(slot) for slot in range(rows)], columns

    def _columns(self):
        cdef int k
        cdef dict columns = {}
        for k in range(4):
            columns[f"{RESOURCES[k]}_total"] = view_of(self.t.total[k], self.t.rows)
            columns[f"{RESOURCES[k]}_allocated"] = view_of(self.t.allocated[k], self.t.rows)
            columns[f"{RESOURCES[k]}_avail"] = view_of(self.t.available[k], self.t.rows)
        columns["load"] = view_of(self.t.load, self.t.rows)
        columns["reported_load"] = view_of(self.t.reported, self.t.rows)
        return columns

    def _row(self, id):
        cdef size_t slot = self.known(id)
        return (
            self.id_at(slot), self.t.available[0][slot], self.t.available[1][slot], self.t.available[2][slot],
            self.t.available[3][slot], self.t.load[slot],
        )

    def _states(self):
        """Per slot: -1 schedulable, 1 not, 0 free."""
        cdef size_t slot
        return [self.t.state[slot] for slot in range(self.t.rows)]

    def _held(self):
        return self.held

    def _policies(self):
        return list(self.policies)

    def _anonymous(self):
        return self.t.anonymous

    @property
    def version(self):
        """A number that grows with every change of the table."""
        return self.t.changes

    @property
    def nbytes(self):
        """Bytes of native memory, the ids' strings not included."""
        return self.t.bytes() + self.ids_.bytes()
