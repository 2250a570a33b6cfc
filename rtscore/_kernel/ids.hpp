// Worker id to slot and back, for Python strings.
//
// Design
//   Open addressing with linear probing over 4-byte slots, at most two thirds full; the key is found through the
//   slot. A Python dict with an int object for each slot costs 63 to 94 bytes a worker, this 6 to 12, and the
//   memory figure needs the difference. Deletion shifts the followers back, so there are no tombstones.
//   The hash is cached in the string object. All of it runs under the GIL.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace rts {

class Ids {
  public:
    Ids() = default;
    Ids(const Ids&) = delete;
    Ids& operator=(const Ids&) = delete;
    ~Ids() {
        for (PyObject* id : by_slot_) Py_XDECREF(id);
    }

    // -1 when the id is not known. The id is an exact str.
    std::int64_t find(PyObject* id) const {
        if (cells_.empty()) return -1;
        const std::size_t mask = cells_.size() - 1;
        for (std::size_t i = hash(id) & mask; cells_[i] != 0; i = (i + 1) & mask)
            if (same(by_slot_[cells_[i] - 1], id)) return static_cast<std::int64_t>(cells_[i]) - 1;
        return -1;
    }

    // A borrowed reference, or null for a free slot.
    PyObject* at(std::size_t slot) const { return slot < by_slot_.size() ? by_slot_[slot] : nullptr; }

    // Room for one more id in a slot below `slots`; after it `put` cannot fail.
    void prepare(std::size_t slots) {
        if (slots > by_slot_.size()) {
            if (slots > by_slot_.capacity()) by_slot_.reserve(slots + slots / 8);
            by_slot_.resize(slots, nullptr);
        }
        if ((used_ + 1) * 3 > cells_.size() * 2) rebuild(cells_.empty() ? 8 : cells_.size() * 2);
    }

    void put(std::size_t slot, PyObject* id) {
        Py_INCREF(id);
        by_slot_[slot] = id;
        insert(cells_, slot);
        ++used_;
    }

    void erase(std::size_t slot) {
        const std::size_t mask = cells_.size() - 1;
        std::size_t hole = hash(by_slot_[slot]) & mask;
        while (cells_[hole] != slot + 1) hole = (hole + 1) & mask;
        for (std::size_t i = (hole + 1) & mask; cells_[i] != 0; i = (i + 1) & mask) {
            const std::size_t home = hash(by_slot_[cells_[i] - 1]) & mask;
            // The follower may move into the hole only if its home is not between the hole and itself.
            if (((i - home) & mask) >= ((i - hole) & mask)) {
                cells_[hole] = cells_[i];
                hole = i;
            }
        }
        cells_[hole] = 0;
        --used_;
        PyObject* id = by_slot_[slot];
        by_slot_[slot] = nullptr;
        Py_DECREF(id);
    }

    std::size_t size() const { return used_; }
    std::size_t bytes() const { return by_slot_.capacity() * sizeof(PyObject*) + cells_.capacity() * 4; }

  private:
    std::vector<PyObject*> by_slot_;
    std::vector<std::uint32_t> cells_;  // slot + 1; 0 is empty
    std::size_t used_ = 0;

    // A str always has a hash, so there is no error to pass on.
    static std::size_t hash(PyObject* id) { return static_cast<std::size_t>(PyObject_Hash(id)); }

    static bool same(PyObject* a, PyObject* b) { return a == b || (hash(a) == hash(b) && PyUnicode_Compare(a, b) == 0); }

    void insert(std::vector<std::uint32_t>& cells, std::size_t slot) const {
        const std::size_t mask = cells.size() - 1;
        std::size_t i = hash(by_slot_[slot]) & mask;
        while (cells[i] != 0) i = (i + 1) & mask;
        cells[i] = static_cast<std::uint32_t>(slot + 1);
    }

    void rebuild(std::size_t size) {
        std::vector<std::uint32_t> cells(size, 0);
        for (std::uint32_t cell : cells_)
            if (cell != 0) insert(cells, cell - 1);
        cells_.swap(cells);
    }
};

}  // namespace rts
