cimport rtscore._kernel.cpp as cpp
from rtscore._kernel.records cimport Decision, Request
from rtscore._kernel.table cimport Table


cdef class Policy:
    cdef readonly Table table
    cdef cpp.Policy* p
    cdef object on_join
    cdef object __weakref__
    cdef int sync(self) except -1


cdef class Selector:
    cdef readonly Table table
    cdef readonly object fallback
    cdef Policy _policy
