# What the Cython modules see of the C++ headers.

from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int64_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector


cdef extern from "risk.hpp" namespace "rts" nogil:
    const int kTypes
    const int kResources
    const double kMaxAmount
    double quantise(double)
    cdef struct Weights:
        double theta[4]
        double alpha
        double beta
    cdef struct Request:
        double amount[4]
        double tau
        double slack
        int type


cdef extern from "table.hpp" namespace "rts" nogil:
    const int8_t kOpen
    const int8_t kFree
    const int8_t kClosed
    cdef cppclass Column[T]:
        T* data()
        T& operator[](size_t)
        const shared_ptr[T]& shared()
    cdef cppclass Table:
        size_t rows
        size_t capacity
        size_t live
        bool anonymous
        uint64_t changes
        uint64_t joins
        size_t joined_slot(uint64_t)
        const size_t kRing
        Column[double]* total
        Column[double]* allocated
        Column[double]* available
        Column[double] load
        Column[double] reported
        Column[int8_t] state
        size_t add(const double*) except +
        void remove(size_t) except +
        void resize(size_t, const double*)
        void set_reported(size_t, double)
        void set_open(size_t, bool)
        int reserve(size_t, const double*)
        int release(size_t, const double*)
        bool is_live(int64_t)
        bool fits(size_t, const double*)
        double derived_available(size_t, int)
        double derived_load(size_t)
        size_t bytes()


cdef extern from "ids.hpp" namespace "rts":
    cdef cppclass Ids:
        int64_t find(PyObject*)
        PyObject* at(size_t)
        void prepare(size_t) except +
        void put(size_t, PyObject*)
        void erase(size_t)
        size_t size()
        size_t bytes()


cdef extern from "policy.hpp" namespace "rts" nogil:
    cdef cppclass Index:
        size_t bytes()
    cdef cppclass Policy:
        Policy(shared_ptr[Table]) except +
        Weights weights
        uint64_t joins_seen
        void set_weights(const Weights&) except +
        void set_affinity(int, size_t, double) except +
        void set_penalty(size_t, double) except +
        double affinity_of(int, size_t) except +
        double penalty_of(size_t) except +
        Index index
        void refresh() except +
        bool verify() except +


cdef extern from "select.hpp" namespace "rts" nogil:
    const int kChosen
    const int kNoFiniteRisk
    const int kNothingFits
    cdef struct Choice:
        int64_t slot
        double risk
        int outcome
    cdef struct Shortage:
        int64_t live
        int64_t closed
        int64_t fitting
        int64_t lacking[4]
    Choice select(Policy&, const Request&) except +
    size_t select_many(Policy&, const Request*, Choice*, size_t, bool) except +
    int64_t next_feasible(const Table&, size_t, const double*)
    Shortage shortage(const Table&, const double*)
    cdef cppclass Lanes:
        const char* name
    const Lanes* lanes_named(const char*)
    const Lanes*& active_lanes()


cdef extern from "rank.hpp" namespace "rts" nogil:
    cdef struct Candidate:
        int64_t slot
        double runtime
        double late
        double load
        double affinity
        double penalty
        double risk
    vector[Candidate] candidates(Policy&, const Request&, size_t) except +


cdef extern from "capi.hpp" nogil:
    void rts_select()
    void rts_runtime()
    void rts_next_feasible()
    void rts_reserve()
    void rts_release()
    void rts_set_load()
    void rts_set_schedulable()
    void rts_load()
    void rts_available()
    void rts_rows()
    void rts_clear()
    void rts_set_weights()
    void rts_set_affinity()
    void rts_set_penalty()
