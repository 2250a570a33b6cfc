// What one scheduler believes: its weights, what it learned about the workers, and its summary of the table.
//
// Design
//   a. For each block of 128 slots, over its open workers: the maximum of each available amount, the least load,
//      and for each task type the least static term. A block without open workers has maxima of -1, which no
//      request fits.
//   b. The static term of a worker is not stored (48 bytes a worker): it is two additions from columns that a scan
//      reads anyway. Its minimum per block is stored, because one made from the block's least load, largest
//      affinity and least penalty would be a far weaker bound.
//   c. A type without any affinity has no column, and all such types share one row of minima (kTypes): parameters
//      that have learned nothing cost one pass instead of six when a block is refreshed.
//   d. The index belongs to a policy, not to the table: schedulers with different weights may share a table. It
//      catches up with the table's log of changes before it is read.
#pragma once

#include "table.hpp"

namespace rts {

struct Policy {
    explicit Policy(std::shared_ptr<Table> workers) : table(std::move(workers)) {}

    std::shared_ptr<Table> table;
    Weights weights;
    Column<double> affinity[kTypes], penalty;  // null: all zero
    std::size_t columns_capacity = 0;
    std::uint64_t joins_seen = 0;

    std::size_t blocks = 0;
    std::size_t blocks_capacity = 0;
    Column<double> max_available[kResources], min_load, min_static[kTypes + 1];
    std::uint64_t seen = 0;

    const double* static_row(int type) const {
        return (affinity[type].data() ? min_static[type] : min_static[kTypes]).data();
    }
    double affinity_of(int type, std::size_t slot) const {
        return affinity[type].data() ? affinity[type][slot] : 0.0;
    }
    double penalty_of(std::size_t slot) const { return penalty.data() ? penalty[slot] : 0.0; }

    void set_weights(const Weights& w) {
        weights = w;
        forget();
    }

    void set_affinity(int type, std::size_t slot, double score) {
        fit_columns();
        if (!affinity[type].data()) {
            if (score == 0.0) return;
            affinity[type] = Column<double>::grown({}, 0, columns_capacity);
            forget();
        }
        affinity[type][slot] = score;
        stale(slot);
    }

    void set_penalty(std::size_t slot, double score) {
        fit_columns();
        if (!penalty.data()) {
            if (score == 0.0) return;
            penalty = Column<double>::grown({}, 0, columns_capacity);
        }
        penalty[slot] = score;
        stale(slot);
    }

    // Bring the index up to date with the table. Cheap when nothing changed.
    void refresh() {
        const Table& t = *table;
        if (seen == t.changes && !stale_) return;
        fit_columns();
        fit_blocks();
        if (all_stale_ || t.changes - seen > Table::kRing) {
            for (std::size_t b = 0; b < blocks; ++b)
                if (all_stale_ || t.block_version[b] > seen) summarise(b);
        } else {
            // Only the last change of a block summarises it.
            for (std::uint64_t n = seen + 1; n <= t.changes; ++n) {
                const std::size_t b = t.change_ring[n % Table::kRing];
                if (t.block_version[b] == n) summarise(b);
            }
        }
        for (const std::size_t b : stale_blocks_)
            if (!all_stale_) summarise(b);
        stale_blocks_.clear();
        all_stale_ = stale_ = false;
        seen = t.changes;
    }

    // Whether the index is what a full scan gives.
    bool verify() {
        refresh();
        for (std::size_t b = 0; b < blocks; ++b) {
            const Summary s = summary_of(b);
            bool same = min_load[b] == s.min_load;
            for (int k = 0; k < kResources; ++k) same = same && max_available[k][b] == s.max_available[k];
            for (int c = 0; c <= kTypes; ++c) same = same && min_static[c][b] == s.min_static[c];
            if (!same) return false;
        }
        return true;
    }

    std::size_t bytes() const {
        std::size_t columns = 0;
        for (const auto& a : affinity) columns += a.data() != nullptr;
        columns += penalty.data() != nullptr;
        return (columns * columns_capacity + (kResources + 2 + kTypes) * blocks_capacity) * sizeof(double);
    }

  private:
    bool stale_ = true;
    bool all_stale_ = true;
    std::vector<std::size_t> stale_blocks_;

    void forget() { stale_ = all_stale_ = true; }

    void stale(std::size_t slot) {
        stale_ = true;
        if (all_stale_) return;
        if (stale_blocks_.size() < 64) stale_blocks_.push_back(slot / kBlock);
        else all_stale_ = true;
    }

    void fit_columns() {
        const std::size_t size = table->capacity;
        if (columns_capacity == size) return;
        Column<double> next[kTypes + 1];
        for (int c = 0; c <= kTypes; ++c) {
            const Column<double>& from = c < kTypes ? affinity[c] : penalty;
            if (from.data()) next[c] = Column<double>::grown(from, columns_capacity, size);
        }
        for (int c = 0; c < kTypes; ++c) affinity[c] = next[c];
        penalty = next[kTypes];
        columns_capacity = size;
    }

    void fit_blocks() {
        const std::size_t needed = table->blocks();
        if (needed > blocks_capacity) {
            const std::size_t size = (needed + needed / 8 + 7) / 8 * 8;
            Column<double> next[kResources + 2 + kTypes];
            Column<double>* mine[kResources + 2 + kTypes];
            std::size_t n = 0;
            for (auto& column : max_available) mine[n++] = &column;
            mine[n++] = &min_load;
            for (auto& column : min_static) mine[n++] = &column;
            for (std::size_t i = 0; i < n; ++i) next[i] = Column<double>::grown(*mine[i], blocks, size);
            for (std::size_t i = 0; i < n; ++i) *mine[i] = next[i];
            // A block of the padding fits nothing.
            for (auto& column : max_available) std::fill(column.data() + blocks, column.data() + size, -1.0);
            blocks_capacity = size;
        }
        blocks = needed;
    }

    struct Summary {
        double max_available[kResources], min_load, min_static[kTypes + 1];
    };

    Summary summary_of(std::size_t block) const {
        const Table& t = *table;
        const std::size_t first = block * kBlock, last = std::min(first + kBlock, t.rows);
        const double infinity = std::numeric_limits<double>::infinity();
        Summary s;
        std::fill(s.max_available, s.max_available + kResources, -1.0);
        std::fill(s.min_static, s.min_static + kTypes + 1, infinity);
        s.min_load = infinity;
        for (std::size_t j = first; j < last; ++j) {
            if (t.state[j] != kOpen) continue;
            for (int k = 0; k < kResources; ++k) s.max_available[k] = std::max(s.max_available[k], t.available[k][j]);
            s.min_load = std::min(s.min_load, t.load[j]);
            for (int c = 0; c <= kTypes; ++c) {
                if (c < kTypes && !affinity[c].data()) continue;
                const double learned = c < kTypes ? affinity[c][j] : 0.0;
                const double fixed = static_term(weights.beta, t.load[j], learned, penalty_of(j));
                if (fixed < s.min_static[c]) s.min_static[c] = fixed;  // false for NaN
            }
        }
        return s;
    }

    void summarise(std::size_t block) {
        const Summary s = summary_of(block);
        for (int k = 0; k < kResources; ++k) max_available[k][block] = s.max_available[k];
        min_load[block] = s.min_load;
        for (int c = 0; c <= kTypes; ++c) min_static[c][block] = s.min_static[c];
    }
};

}  // namespace rts
