// A policy's index of the table: a k-d tree whose leaves are workers of like amounts and load.
//
// Design
//   a. Why not blocks of consecutive slots: the bound of a block comes from the best of each attribute, and in 128
//      workers that are in no order these are the best of the whole cluster, so for a late task, where every
//      attribute counts, no block is ever out. Measured at 10,000 heterogeneous workers: 66 us a late decision, more
//      than a plain loop; with this index 2.4. Grouped by likeness the box of a leaf is small and its bound close.
//   b. The tree splits on cpu, memory, gpu and load, ties on the slot; so equal workers are grouped by slot, and any
//      leaf can be split. A worker whose values leave its leaf's region moves. A full leaf splits at its median; a
//      leaf that fits into half a leaf together with its sibling merges with it, an empty one disappears.
//   c. Neighbouring leaves are alike when they were built together. Leaves from later splits are not beside each
//      other, so the index is built anew when it has twice the leaves it was built with, or a quarter.
//   d. `update` allocates before it changes anything, so it is whole or not at all.
#pragma once

#include <numeric>

#include "leaves.hpp"

namespace rts {

class Index {
  public:
    Leaves leaves;

    // Grown by splits to twice the leaves it was built with, or mostly leaves that are not in use.
    bool misshapen() const {
        return leaves.leaves > 2 * built_leaves_ + 8 || (leaves.leaves > 64 && leaves.used() * 4 < leaves.leaves);
    }

    // An index of the same table made anew: the way to a first index, and cheaper than many updates.
    static Index built(const Table& table, const Index* scores, const Weights& weights) {
        std::vector<Item> items;
        items.reserve(table.live);
        for (std::size_t s = 0; s < table.rows; ++s)
            if (table.state[s] != kFree) items.push_back({Features(table, s), static_cast<std::uint32_t>(s)});
        Index index;
        if (scores != nullptr) index.leaves.like(scores->leaves);
        index.leaves.fit_slots(table.capacity);
        index.fit((items.size() + kBulkFill - 1) / kBulkFill + 8);
        index.root_ = index.build(scores, weights, items.data(), items.data() + items.size());
        index.attach(index.root_, -1);
        index.built_leaves_ = index.leaves.leaves;
        index.leaves.summarise_all(weights);
        return index;
    }

    // Bring one slot up to date; its leaf's summary is stale until `leaves.settle`.
    void update(const Table& table, std::size_t s, const Weights& weights) {
        leaves.fit_slots(table.capacity);
        const std::uint32_t p = leaves.position_of(s);
        if (table.state[s] == kFree) {
            if (p != Leaves::kNowhere) erase(p);
            return;
        }
        const Features f(table, s);
        if (p == Leaves::kNowhere) {
            make_room(f, s, weights);
            leaves.append(route(f, s), s, f, Scores());
        } else if (leaves.holds(p, f)) {
            return;
        } else if (route(f, s) == p / kLeaf) {
            leaves.write(p, f);
        } else {
            make_room(f, s, weights);
            const std::uint32_t now = leaves.position_of(s);
            const Scores scores = leaves.scores_at(now);
            erase(now);
            leaves.append(route(f, s), s, f, scores);
        }
    }

    // Whether every copy, summary and route is what the table says.
    bool verify(const Table& table, const Weights& weights) const {
        std::size_t found = 0;
        for (std::size_t s = 0; s < table.rows; ++s) {
            const std::uint32_t p = leaves.position_of(s);
            if ((p == Leaves::kNowhere) != (table.state[s] == kFree)) return false;
            if (p == Leaves::kNowhere) continue;
            ++found;
            const Features f(table, s);
            if (leaves.slot[p] != s || !leaves.holds(p, f) || route(f, s) != p / kLeaf) return false;
        }
        for (std::size_t leaf = 0; leaf < leaves.leaves; ++leaf) found -= leaves.count(leaf);
        return found == 0 && leaves.verify(weights);
    }

    std::size_t bytes() const {
        return leaves.bytes() + node_.capacity() * sizeof(Node) + parent_.capacity() * sizeof(std::int32_t);
    }

  private:
    static constexpr std::size_t kBulkFill = kLeaf * 7 / 8;  // room to move before the first split
    static constexpr int kDimensions = 4;                    // as Features numbers them

    // A child is the number of a node, or ~leaf.
    struct Node {
        double value;
        std::uint32_t slot;
        std::int32_t left, right, parent;
        int dimension;
    };

    struct Item {
        Features features;
        std::uint32_t slot;
    };

    std::vector<Node> node_;
    std::vector<std::uint32_t> free_nodes_;
    std::vector<std::int32_t> parent_;  // by leaf; -1 for the root
    std::size_t built_leaves_ = 0;
    std::int32_t root_ = ~0;

    // Memory for so many leaves and the nodes above them.
    void fit(std::size_t wanted) {
        const std::size_t size = Leaves::rounded(wanted);
        node_.reserve(size);
        free_nodes_.reserve(size);
        parent_.reserve(size);
        leaves.fit(wanted);
        if (parent_.size() < size) parent_.resize(size, -1);
    }

    std::uint32_t route(const Features& f, std::size_t s) const {
        std::int32_t at = root_;
        while (at >= 0) {
            const Node& n = node_[static_cast<std::size_t>(at)];
            const double value = f[n.dimension];
            at = (value < n.value || (value == n.value && s < n.slot)) ? n.left : n.right;
        }
        return static_cast<std::uint32_t>(~at);
    }

    std::int32_t new_node() {
        if (!free_nodes_.empty()) {
            const std::uint32_t n = free_nodes_.back();
            free_nodes_.pop_back();
            return static_cast<std::int32_t>(n);
        }
        node_.emplace_back();
        return static_cast<std::int32_t>(node_.size() - 1);
    }

    void attach(std::int32_t child, std::int32_t parent) {
        if (child < 0) parent_[static_cast<std::size_t>(~child)] = parent;
        else node_[static_cast<std::size_t>(child)].parent = parent;
    }

    // Put a subtree where another one was below a parent.
    void replace(std::int32_t parent, std::int32_t old, std::int32_t next) {
        if (parent < 0) root_ = next;
        else (node_[parent].left == old ? node_[parent].left : node_[parent].right) = next;
        attach(next, parent);
    }

    void erase(std::uint32_t p) {
        leaves.erase(p);
        dissolve(p / kLeaf);
    }

    // Give a leaf's workers to its sibling when both fit in half a leaf, or when nothing is left of it.
    void dissolve(std::uint32_t leaf) {
        const std::int32_t parent = parent_[leaf], mine = ~static_cast<std::int32_t>(leaf);
        if (parent < 0) return;
        const std::int32_t sibling = node_[parent].left == mine ? node_[parent].right : node_[parent].left;
        if (sibling >= 0) {
            if (leaves.count(leaf)) return;
        } else {
            const std::uint32_t other = static_cast<std::uint32_t>(~sibling);
            if (leaves.count(leaf) + leaves.count(other) > kLeaf / 2) return;
            for (std::size_t i = leaves.count(leaf); i-- > 0;)
                leaves.move(static_cast<std::uint32_t>(leaf * kLeaf + i), other);
        }
        replace(node_[parent].parent, parent, sibling);
        free_nodes_.push_back(static_cast<std::uint32_t>(parent));
        parent_[leaf] = -1;
        leaves.free_leaf(leaf);
    }

    // Split the leaf that a worker belongs to if it is full. The worker itself may be in another leaf still.
    void make_room(const Features& f, std::size_t s, const Weights& weights) {
        if (leaves.room() == 0) fit(leaves.used() + 1);
        const std::uint32_t leaf = route(f, s);
        if (leaves.count(leaf) == kLeaf) split(leaf, weights);
    }

    // Widest in what it may add to a predicted runtime. A weight of zero still counts a little: amounts also decide
    // what fits.
    static int widest(const double* low, const double* high, const Weights& weights) {
        int best = 3;
        double spread = std::max(weights.theta[3], 0.05) * (high[3] - low[3]);
        for (int k = 0; k < 3; ++k) {
            if (!(high[k] > low[k])) continue;
            const double wide = std::max(weights.theta[k], 0.05) * (1.0 - std::max(low[k], 0.0) / std::max(high[k], 1e-9));
            if (wide > spread) {
                spread = wide;
                best = k;
            }
        }
        return best;
    }

    void split(std::uint32_t leaf, const Weights& weights) {
        const std::size_t base = leaf * kLeaf;
        double low[kDimensions], high[kDimensions];
        for (int d = 0; d < kDimensions; ++d) {
            const double* x = copies(d) + base;
            low[d] = *std::min_element(x, x + kLeaf);
            high[d] = *std::max_element(x, x + kLeaf);
        }
        const int d = widest(low, high, weights);
        const double* x = copies(d);
        const Column<std::uint32_t>& slot = leaves.slot;
        std::uint32_t order[kLeaf];
        std::iota(order, order + kLeaf, static_cast<std::uint32_t>(base));
        std::nth_element(order, order + kLeaf / 2, order + kLeaf, [&](std::uint32_t a, std::uint32_t b) {
            return x[a] < x[b] || (x[a] == x[b] && slot[a] < slot[b]);
        });
        const double value = x[order[kLeaf / 2]];
        const std::uint32_t middle = slot[order[kLeaf / 2]];
        const std::uint32_t right = leaves.new_leaf();
        const std::int32_t node = new_node(), mine = ~static_cast<std::int32_t>(leaf);
        node_[node] = {value, middle, mine, ~static_cast<std::int32_t>(right), -1, d};
        replace(parent_[leaf], mine, node);
        attach(mine, node);
        attach(~static_cast<std::int32_t>(right), node);
        for (std::size_t p = base + kLeaf; p-- > base;)
            if (!(x[p] < value || (x[p] == value && slot[p] < middle)))
                leaves.move(static_cast<std::uint32_t>(p), right);
    }

    const double* copies(int dimension) const {
        return (dimension == 3 ? leaves.load : leaves.available[dimension]).data();
    }

    // Items, not slots: a partition over gathered columns took twice the time.
    std::int32_t build(const Index* scores, const Weights& weights, Item* begin, Item* end) {
        const std::size_t count = static_cast<std::size_t>(end - begin);
        if (count <= kBulkFill) {
            const std::uint32_t leaf = leaves.new_leaf();
            for (const Item* item = begin; item != end; ++item) {
                const std::uint32_t p = scores == nullptr ? Leaves::kNowhere : scores->leaves.position_of(item->slot);
                leaves.append(leaf, item->slot, item->features,
                              p == Leaves::kNowhere ? Scores() : scores->leaves.scores_at(p));
            }
            return ~static_cast<std::int32_t>(leaf);
        }
        double low[kDimensions], high[kDimensions];
        std::fill(low, low + kDimensions, std::numeric_limits<double>::infinity());
        std::fill(high, high + kDimensions, -std::numeric_limits<double>::infinity());
        for (const Item* item = begin; item != end; ++item)
            for (int d = 0; d < kDimensions; ++d) {
                low[d] = std::min(low[d], item->features[d]);
                high[d] = std::max(high[d], item->features[d]);
            }
        const int d = widest(low, high, weights);
        // Whole full leaves to the left, so that only the last leaf is not full.
        const std::size_t full = (count + kBulkFill - 1) / kBulkFill;
        Item* const middle = begin + full / 2 * kBulkFill;
        std::nth_element(begin, middle, end, [d](const Item& a, const Item& b) {
            const double x = a.features[d], y = b.features[d];
            return x < y || (x == y && a.slot < b.slot);
        });
        const std::int32_t node = new_node();
        const double value = middle->features[d];
        const std::uint32_t slot = middle->slot;
        const std::int32_t left = build(scores, weights, begin, middle);
        const std::int32_t right = build(scores, weights, middle, end);
        node_[node] = {value, slot, left, right, -1, d};
        attach(left, node);
        attach(right, node);
        return node;
    }
};

}  // namespace rts
