from libc.stdint cimport int64_t

cimport rtscore._kernel.cpp as cpp


cdef class Request:
    cdef readonly str id
    cdef readonly str user_id
    cdef readonly object task_type
    cdef readonly double cpu
    cdef readonly double memory
    cdef readonly double gpu
    cdef readonly double storage
    cdef readonly double tau
    cdef readonly double arrival_time
    cdef readonly double sla_multiplier
    cdef readonly double deadline
    cdef int type_index
    cdef bint same_amounts(self, Request other)
    cdef void amounts(self, double* out) noexcept
    cdef cpp.Request at(self, double now) noexcept


cdef class Decision:
    cdef readonly str worker_id
    cdef readonly object source
    cdef int64_t _slot
    cdef double _risk
    cdef object _why
