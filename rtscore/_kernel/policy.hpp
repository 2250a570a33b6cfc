// What one scheduler believes: its weights and its index of the table, brought up to date before it is read.
#pragma once

#include "index.hpp"

namespace rts {

class Policy {
  public:
    explicit Policy(std::shared_ptr<Table> table) : joins_seen(table->joins), table_(std::move(table)) {
        index = Index::built(*table_, nullptr, weights);
        seen_ = table_->changes;
    }

    std::uint64_t joins_seen;  // for the owner, who gives new workers their scores
    Weights weights;
    Index index;

    Table& workers() { return *table_; }
    const Table& workers() const { return *table_; }

    void set_weights(const Weights& w) {
        weights = w;
        refresh();
        index.leaves.summarise_all(weights);
    }

    void set_affinity(int type, std::size_t slot, double score) {
        refresh();
        index.leaves.set_affinity(type, slot, score);
        unsettled_ = true;
    }

    void set_penalty(std::size_t slot, double score) {
        refresh();
        index.leaves.set_penalty(slot, score);
        unsettled_ = true;
    }

    double affinity_of(int type, std::size_t slot) {
        refresh();
        return index.leaves.affinity_at(type, index.leaves.position_of(slot));
    }

    double penalty_of(std::size_t slot) {
        refresh();
        return index.leaves.penalty_at(index.leaves.position_of(slot));
    }

    // Follow the table's log of changes, or, behind its ring, look at every slot; anew when most may have changed.
    void refresh() {
        const Table& t = *table_;
        if (seen_ == t.changes && !unsettled_) return;
        const std::uint64_t behind = t.changes - seen_;
        if (behind > t.rows / 2 + Table::kRing) {
            index = Index::built(t, &index, weights);
        } else {
            if (behind > Table::kRing)
                for (std::size_t s = 0; s < t.rows; ++s) index.update(t, s, weights);
            else
                for (std::uint64_t n = seen_ + 1; n <= t.changes; ++n) index.update(t, t.changed_slot(n), weights);
            index.leaves.settle(weights);
            if (index.misshapen()) index = Index::built(t, &index, weights);
        }
        seen_ = t.changes;
        unsettled_ = false;
    }

    bool verify() {
        refresh();
        return index.verify(*table_, weights);
    }

  private:
    std::shared_ptr<Table> table_;
    std::uint64_t seen_ = 0;
    bool unsettled_ = false;
};

}  // namespace rts
