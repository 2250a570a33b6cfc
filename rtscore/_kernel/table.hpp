// The workers' columns, one array per attribute, and the log of what changed.
//
// Design
//   a. Struct of arrays, 64-byte aligned, in whole blocks of 128 slots; slots beyond `rows` are free ones.
//   b. A column is shared with the views that Python was given of it. Growing makes new columns, and a view of
//      the old ones stays readable. Columns grow by an eighth, not by doubling: half-empty columns would break the
//      300 bytes a worker may cost, and five hundred thousand `add`s still copy each byte only about eight times.
//   c. Derived columns (available, load) are written only by `derive`, from total, allocated and reported.
//   d. Nothing here knows who is reading. Each change has a number, and a ring keeps the slots of the last 1,024,
//      so an index catches up in time proportional to what changed, or, when it fell behind the ring, with one
//      pass over the slots. Registered observers would need lifetimes across the two languages; the log needs none.
//   e. Every operation either checks first and then cannot fail, or allocates first and then cannot fail.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "risk.hpp"

namespace rts {

constexpr std::size_t kBlock = 128;  // slots that columns grow by

template <class T>
class Column {
  public:
    T* data() const { return data_.get(); }
    T& operator[](std::size_t i) const { return data_.get()[i]; }
    const std::shared_ptr<T>& shared() const { return data_; }

    // A copy of the first `used` elements in a new array of `size` (a multiple of 64 bytes), the rest zero.
    static Column grown(const Column& from, std::size_t used, std::size_t size) {
        Column column;
        const std::size_t bytes = (size * sizeof(T) + 63) / 64 * 64;
        T* raw = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (raw == nullptr) throw std::bad_alloc();
        column.data_ = std::shared_ptr<T>(raw, [](T* p) { std::free(p); });
        std::memset(static_cast<void*>(raw), 0, bytes);
        if (used) std::memcpy(static_cast<void*>(raw), from.data(), used * sizeof(T));
        return column;
    }

  private:
    std::shared_ptr<T> data_;
};

enum State : std::int8_t { kOpen = -1, kFree = 0, kClosed = 1 };  // open: a whole lane of ones once widened

struct Table {
    static constexpr std::size_t kRing = 1024;

    std::size_t rows = 0;      // slots ever used: every live worker is below
    std::size_t capacity = 0;  // a multiple of kBlock
    std::size_t live = 0;
    bool anonymous = false;  // a C caller reserved: what is allocated is more than Python remembers
    Column<double> total[kResources], allocated[kResources], available[kResources], load, reported;
    Column<std::int8_t> state;

    std::uint64_t changes = 0;
    std::uint64_t joins = 0;  // changes of who is in a slot
    std::vector<std::uint32_t> change_ring = std::vector<std::uint32_t>(kRing);
    std::vector<std::uint32_t> join_ring = std::vector<std::uint32_t>(kRing);

    std::size_t changed_slot(std::uint64_t n) const { return change_ring[n % kRing]; }
    std::size_t joined_slot(std::uint64_t n) const { return join_ring[n % kRing]; }
    bool is_live(std::int64_t slot) const {
        return slot >= 0 && static_cast<std::size_t>(slot) < rows && state[slot] != kFree;
    }

    std::size_t add(const double* totals) {
        std::size_t slot = rows;
        if (!free_.empty()) {
            // The lowest free slot, so that a table that shrank stays dense.
            slot = free_.front();
            std::pop_heap(free_.begin(), free_.end(), std::greater<>());
            free_.pop_back();
        } else {
            if (rows == capacity) grow();
            ++rows;
        }
        for (int k = 0; k < kResources; ++k) {
            total[k][slot] = totals[k];
            allocated[k][slot] = 0.0;
        }
        reported[slot] = 0.0;
        state[slot] = kOpen;
        ++live;
        joined(slot);
        derive(slot);
        return slot;
    }

    void remove(std::size_t slot) {
        free_.push_back(static_cast<std::uint32_t>(slot));
        std::push_heap(free_.begin(), free_.end(), std::greater<>());
        for (int k = 0; k < kResources; ++k) total[k][slot] = allocated[k][slot] = 0.0;
        reported[slot] = 0.0;
        state[slot] = kFree;
        --live;
        joined(slot);
        derive(slot);
    }

    void resize(std::size_t slot, const double* totals) {
        for (int k = 0; k < kResources; ++k) total[k][slot] = totals[k];
        derive(slot);
    }

    void set_reported(std::size_t slot, double value) {
        reported[slot] = value;
        derive(slot);
    }

    void set_open(std::size_t slot, bool open) {
        state[slot] = open ? kOpen : kClosed;
        touch(slot);
    }

    // -1 when done, else the resource that is short; then nothing has changed.
    int reserve(std::size_t slot, const double* amount) {
        for (int k = 0; k < kResources; ++k)
            if (!(amount[k] <= available[k][slot])) return k;
        for (int k = 0; k < kResources; ++k) allocated[k][slot] += amount[k];
        derive(slot);
        return -1;
    }

    // -1 when done, else the resource of which less is allocated; then nothing has changed.
    int release(std::size_t slot, const double* amount) {
        for (int k = 0; k < kResources; ++k)
            if (!(amount[k] <= allocated[k][slot])) return k;
        for (int k = 0; k < kResources; ++k) allocated[k][slot] -= amount[k];
        derive(slot);
        return -1;
    }

    void clear() {
        for (std::size_t slot = 0; slot < rows; ++slot) {
            if (state[slot] == kFree) continue;
            for (int k = 0; k < kResources; ++k) allocated[k][slot] = 0.0;
            reported[slot] = 0.0;
            derive(slot);
        }
    }

    bool fits(std::size_t slot, const double* amount) const {
        return state[slot] == kOpen && amount[0] <= available[0][slot] && amount[1] <= available[1][slot] &&
               amount[2] <= available[2][slot] && amount[3] <= available[3][slot];
    }

    double derived_available(std::size_t slot, int k) const {
        return std::max(total[k][slot] - allocated[k][slot], 0.0);
    }

    double derived_load(std::size_t slot) const {
        const double t[3] = {total[0][slot], total[1][slot], total[2][slot]};
        const double a[3] = {allocated[0][slot], allocated[1][slot], allocated[2][slot]};
        return std::max(reported[slot], promised_load(t, a));
    }

    std::size_t bytes() const {
        return capacity * (sizeof(double) * (3 * kResources + 2) + 1) + kRing * 8 + free_.capacity() * 4;
    }

  private:
    std::vector<std::uint32_t> free_;  // a heap, lowest slot on top

    void grow() {
        const std::size_t size = (capacity + capacity / 8 + kBlock) / kBlock * kBlock;
        Table next;
        for (int k = 0; k < kResources; ++k) {
            next.total[k] = Column<double>::grown(total[k], rows, size);
            next.allocated[k] = Column<double>::grown(allocated[k], rows, size);
            next.available[k] = Column<double>::grown(available[k], rows, size);
        }
        next.load = Column<double>::grown(load, rows, size);
        next.reported = Column<double>::grown(reported, rows, size);
        next.state = Column<std::int8_t>::grown(state, rows, size);
        for (int k = 0; k < kResources; ++k) {
            total[k] = next.total[k];
            allocated[k] = next.allocated[k];
            available[k] = next.available[k];
        }
        load = next.load;
        reported = next.reported;
        state = next.state;
        capacity = size;
    }

    void touch(std::size_t slot) {
        ++changes;
        change_ring[changes % kRing] = static_cast<std::uint32_t>(slot);
    }

    void joined(std::size_t slot) {
        ++joins;
        join_ring[joins % kRing] = static_cast<std::uint32_t>(slot);
    }

    void derive(std::size_t slot) {
        for (int k = 0; k < kResources; ++k) available[k][slot] = derived_available(slot, k);
        load[slot] = derived_load(slot);
        touch(slot);
    }
};

}  // namespace rts
