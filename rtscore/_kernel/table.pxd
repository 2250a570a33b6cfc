from libc.stdint cimport int64_t
from libcpp.memory cimport shared_ptr

cimport rtscore._kernel.cpp as cpp
from rtscore._kernel.records cimport Request


cdef class Table:
    cdef shared_ptr[cpp.Table] shared
    cdef cpp.Table* t
    cdef cpp.Ids* ids_
    cdef dict held  # slot -> {task id: the requests reserved there}
    cdef object policies
    cdef int64_t find(self, object worker_id) except -2
    cdef size_t known(self, object worker_id) except? 0
    cdef void remember(self, size_t slot, Request task)
    cdef str id_at(self, size_t slot)
