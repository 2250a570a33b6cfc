// A policy's index of the table: workers of like amounts and load, grouped in leaves of a k-d tree.
//
// Design
//   a. A leaf holds up to 64 workers as contiguous copies of what the formula reads, so a leaf is scanned as fast
//      as 64 consecutive rows of the table. Per leaf, over its workers: the maximum of each available amount, the
//      least load, for each task type the least static term, and the lowest slot. Per group of 32 leaves the same
//      again, when there are more than 96 leaves: at a million workers 1.1 us instead of 21 a decision.
//   b. Why not blocks of consecutive slots: the bound of a block comes from the best of each attribute, and in 128
//      workers that are in no order these are the best of the whole cluster, so for a late task, where every
//      attribute counts, no block is ever out. Measured at 10,000 heterogeneous workers: 66 us a late decision, more
//      than a plain loop. Grouped by likeness the box of a leaf is small and its bound close.
//   c. The tree splits on cpu, memory, gpu and load, ties on the slot; so equal workers are grouped by slot, and any
//      leaf can be split. A worker whose values leave its leaf's region moves. A full leaf splits at its median, a
//      leaf that two can share merges with its sibling, an empty one disappears.
//   d. Learned scores live in the leaves only (A has a column per type that has any), beside what they are added to;
//      types without affinity share the row kTypes of minima. The static term itself is not stored: two additions.
//   e. Live workers that take no tasks stay in the index, because their scores must survive, with amounts of -1, which
//      no request fits, and infinite load. Unused positions of a leaf look the same, so no loop has a special case.
//   f. Neighbouring leaves are alike when they were built together. Leaves from later splits are not beside each
//      other, so the index is built anew when it has twice the leaves it was built with, or a quarter.
//   g. `update` allocates before it changes anything, so it is whole or not at all.
#pragma once

#include <algorithm>
#include <numeric>

#include "lanes.hpp"
#include "table.hpp"

namespace rts {

// Per leaf or group: what its best worker could be.
struct Summaries {
    static constexpr int kColumns = kResources + 1 + kTypes + 1;
    // max available of each resource, min load, min static term of each type and without affinity
    Column<double> column[kColumns];
    Column<double> min_slot;

    Column<double>& max_available(int k) { return column[k]; }
    const Column<double>& max_available(int k) const { return column[k]; }
    const Column<double>& min_load() const { return column[kResources]; }
    const Column<double>& min_static(int c) const { return column[kResources + 1 + c]; }

    bool covers(std::size_t i, const double* amount) const {
        return amount[0] <= column[0][i] && amount[1] <= column[1][i] && amount[2] <= column[2][i] &&
               amount[3] <= column[3][i];
    }
    SummaryArrays arrays(std::size_t from, int row) const {
        return {{column[0].data() + from, column[1].data() + from, column[2].data() + from, column[3].data() + from},
                min_load().data() + from,
                min_static(row).data() + from};
    }
    // Larger, the new ones fitting nothing.
    Summaries grown(std::size_t used, std::size_t size) const {
        Summaries next;
        for (int i = 0; i < kColumns; ++i) next.column[i] = Column<double>::grown(column[i], used, size);
        next.min_slot = Column<double>::grown(min_slot, used, size);
        for (std::size_t i = used; i < size; ++i) next.put(i, Summary{});
        return next;
    }
    void put(std::size_t i, const Summary& s) {
        for (int k = 0; k < kResources; ++k) column[k][i] = s.max_available[k];
        column[kResources][i] = s.min_load;
        for (int c = 0; c <= kTypes; ++c) column[kResources + 1 + c][i] = s.min_static[c];
        min_slot[i] = s.min_slot;
    }
    Summary get(std::size_t i) const {
        Summary s;
        for (int k = 0; k < kResources; ++k) s.max_available[k] = column[k][i];
        s.min_load = min_load()[i];
        for (int c = 0; c <= kTypes; ++c) s.min_static[c] = min_static(c)[i];
        s.min_slot = min_slot[i];
        return s;
    }
};

struct Index {
    static constexpr std::uint32_t kNowhere = 0xffffffffu;
    static constexpr std::size_t kBulkFill = kLeaf * 7 / 8;  // room to move before the first split
    static constexpr std::size_t kGroup = 32;
    static constexpr std::size_t kGroupFrom = 96;

    // By position (leaf * kLeaf + i).
    Column<double> available[kResources], load, affinity[kTypes], penalty;  // the last two kinds may be null
    Column<std::uint32_t> slot;
    Summaries by_leaf, by_group;
    std::size_t leaves = 0;  // a multiple of 8; a leaf that is not in use fits nothing

    bool grouped() const { return leaves > kGroupFrom; }
    std::size_t groups() const { return (leaves + kGroup * 8 - 1) / (kGroup * 8) * 8; }
    // Grown by splits to twice the leaves it was built with, or mostly leaves that are not in use.
    bool misshapen() const {
        return leaves > 2 * built_leaves_ + 8 || (leaves > 64 && (leaf_.size() - free_leaves_.size()) * 4 < leaves);
    }
    int static_row(int type) const { return has_affinity_[type] ? type : kTypes; }
    double affinity_at(int type, std::size_t position) const {
        return affinity[type].data() ? affinity[type][position] : 0.0;
    }
    double penalty_at(std::size_t position) const { return penalty.data() ? penalty[position] : 0.0; }
    std::uint32_t position_of(std::size_t s) const { return s < where_.size() ? where_[s] : kNowhere; }
    std::size_t size_of(std::size_t leaf) const { return leaf_[leaf].count; }

    WorkerArrays workers(std::size_t leaf, int type) const {
        const std::size_t base = leaf * kLeaf;
        return {{available[0].data() + base, available[1].data() + base, available[2].data() + base,
                 available[3].data() + base},
                load.data() + base,
                type < kTypes && has_affinity_[type] ? affinity[type].data() + base : kZeros,
                has_penalty_ ? penalty.data() + base : kZeros};
    }

    // An index of the same table made anew: the way to a first index, and cheaper than many updates.
    static Index built(const Table& table, const Index* scores, const Weights& weights) {
        std::vector<std::uint32_t> slots;
        slots.reserve(table.live);
        for (std::size_t s = 0; s < table.rows; ++s)
            if (table.state[s] != kFree) slots.push_back(static_cast<std::uint32_t>(s));
        Index index;
        if (scores != nullptr) {
            for (int c = 0; c < kTypes; ++c) index.has_affinity_[c] = scores->has_affinity_[c];
            index.has_penalty_ = scores->has_penalty_;
        }
        index.where_.assign(table.capacity, kNowhere);
        index.fit((slots.size() + kBulkFill - 1) / kBulkFill + 8);
        index.root_ = index.build(table, scores, weights, slots.data(), slots.data() + slots.size());
        index.attach(index.root_, -1);
        index.built_leaves_ = index.leaves;
        index.summarise_all(weights);
        return index;
    }

    // Bring one slot up to date; its leaf's summary is stale until `settle`.
    void update(const Table& table, std::size_t s, const Weights& weights) {
        if (where_.size() < table.capacity) where_.resize(table.capacity, kNowhere);
        const std::uint32_t position = where_[s];
        if (table.state[s] == kFree) {
            if (position != kNowhere) erase(position);
            return;
        }
        if (position == kNowhere) {
            make_room(table, s, weights);
            place(table, s, nullptr);
            return;
        }
        double now[kResources];
        bool same = load[position] == feature(table, s, 3);
        for (int k = 0; k < kResources; ++k) {
            now[k] = feature_amount(table, s, k);
            same = same && available[k][position] == now[k];
        }
        if (same) return;
        if (route(table, s) != position / kLeaf) {
            make_room(table, s, weights);
            double scores[kTypes + 1];
            take_scores(where_[s], scores);
            erase(where_[s]);
            place(table, s, scores);
            return;
        }
        for (int k = 0; k < kResources; ++k) available[k][position] = now[k];
        load[position] = feature(table, s, 3);
        stale(position / kLeaf);
    }

    // Summarise the leaves that changed.
    void settle(const Weights& weights) {
        for (const std::uint32_t leaf : stale_) {
            leaf_[leaf].stale = false;
            by_leaf.put(leaf, summary_of(leaf, weights));
        }
        if (grouped()) {
            std::size_t last = leaf_.size();
            for (const std::uint32_t leaf : stale_) {
                const std::size_t group = leaf / kGroup;
                if (groups_valid_ && group != last) by_group.put(group, summary_of_group(group));
                last = group;
            }
            if (!groups_valid_)
                for (std::size_t g = 0; g < groups(); ++g) by_group.put(g, summary_of_group(g));
        }
        groups_valid_ = grouped();
        stale_.clear();
    }

    void summarise_all(const Weights& weights) {
        for (std::size_t leaf = 0; leaf < leaves; ++leaf) stale(leaf);
        groups_valid_ = false;
        settle(weights);
    }

    void set_affinity(int type, std::size_t s, double score) {
        if (!has_affinity_[type]) {
            if (score == 0.0) return;
            affinity[type] = Column<double>::grown({}, 0, capacity_ * kLeaf);
            has_affinity_[type] = true;
        }
        affinity[type][where_[s]] = score;
        stale(where_[s] / kLeaf);
    }

    void set_penalty(std::size_t s, double score) {
        if (!has_penalty_) {
            if (score == 0.0) return;
            penalty = Column<double>::grown({}, 0, capacity_ * kLeaf);
            has_penalty_ = true;
        }
        penalty[where_[s]] = score;
        stale(where_[s] / kLeaf);
    }

    // Whether every copy, summary and route is what the table says.
    bool verify(const Table& table, const Weights& weights) const {
        std::size_t found = 0;
        for (std::size_t s = 0; s < table.rows; ++s) {
            const std::uint32_t position = position_of(s);
            if ((position == kNowhere) != (table.state[s] == kFree)) return false;
            if (position == kNowhere) continue;
            ++found;
            bool same = slot[position] == s && load[position] == feature(table, s, 3);
            for (int k = 0; k < kResources; ++k)
                same = same && available[k][position] == feature_amount(table, s, k);
            if (!same || route(table, s) != position / kLeaf) return false;
        }
        for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
            if (!(by_leaf.get(leaf) == summary_of(leaf, weights))) return false;
            for (std::size_t p = leaf * kLeaf + leaf_[leaf].count; p < (leaf + 1) * kLeaf; ++p)
                if (available[0][p] != -1.0 || load[p] != std::numeric_limits<double>::infinity()) return false;
            found -= leaf_[leaf].count;
        }
        if (grouped())
            for (std::size_t g = 0; g < groups(); ++g)
                if (!(by_group.get(g) == summary_of_group(g))) return false;
        return found == 0;
    }

    std::size_t bytes() const {
        std::size_t columns = kResources + 1;
        for (const auto& a : affinity) columns += a.data() != nullptr;
        columns += penalty.data() != nullptr;
        return capacity_ * (kLeaf * (columns * sizeof(double) + sizeof(std::uint32_t)) +
                            (Summaries::kColumns + 1) * sizeof(double)) +
               where_.capacity() * sizeof(std::uint32_t) + leaf_.capacity() * sizeof(Leaf) +
               node_.capacity() * sizeof(Node);
    }

  private:
    struct Leaf {
        std::int32_t parent = -1;
        std::uint16_t count = 0;
        bool used = false;
        bool stale = false;
    };
    // A child is the number of a node, or ~leaf.
    struct Node {
        double value;
        std::uint32_t slot;
        std::int32_t left, right, parent;
        int dimension;
    };
    static constexpr int kDimensions = 4;  // cpu, memory, gpu, load

    std::vector<std::uint32_t> where_;
    std::vector<Leaf> leaf_;
    std::vector<Node> node_;
    std::vector<std::uint32_t> free_leaves_, free_nodes_, stale_;
    std::size_t capacity_ = 0;  // leaves that there is memory for
    std::size_t built_leaves_ = 0;
    std::int32_t root_ = ~0;
    bool groups_valid_ = false;
    bool has_affinity_[kTypes] = {};
    bool has_penalty_ = false;

    static double feature_amount(const Table& table, std::size_t s, int k) {
        return table.state[s] == kOpen ? table.available[k][s] : -1.0;
    }
    static double feature(const Table& table, std::size_t s, int dimension) {
        if (dimension < 3) return feature_amount(table, s, dimension);
        return table.state[s] == kOpen ? table.load[s] : std::numeric_limits<double>::infinity();
    }

    std::uint32_t route(const Table& table, std::size_t s) const {
        std::int32_t at = root_;
        while (at >= 0) {
            const Node& n = node_[at];
            const double value = feature(table, s, n.dimension);
            at = (value < n.value || (value == n.value && s < n.slot)) ? n.left : n.right;
        }
        return static_cast<std::uint32_t>(~at);
    }

    void stale(std::size_t leaf) {
        if (leaf_[leaf].stale) return;
        leaf_[leaf].stale = true;
        stale_.push_back(static_cast<std::uint32_t>(leaf));  // `fit` reserved for every leaf
    }

    static std::size_t group_room(std::size_t leaf_count) { return leaf_count ? (leaf_count / (kGroup * 8) + 1) * 8 : 0; }

    // Memory for `wanted` leaves, all or nothing.
    void fit(std::size_t wanted) {
        if (wanted <= capacity_) return;
        const std::size_t size = (wanted + wanted / 16 + 7) / 8 * 8, used = capacity_ * kLeaf, room = size * kLeaf;
        Index next;
        for (int k = 0; k < kResources; ++k) {
            next.available[k] = Column<double>::grown(available[k], used, room);
            std::fill(next.available[k].data() + used, next.available[k].data() + room, -1.0);
        }
        next.load = Column<double>::grown(load, used, room);
        std::fill(next.load.data() + used, next.load.data() + room, std::numeric_limits<double>::infinity());
        next.slot = Column<std::uint32_t>::grown(slot, used, room);
        for (int c = 0; c < kTypes; ++c)
            if (has_affinity_[c]) next.affinity[c] = Column<double>::grown(affinity[c], used, room);
        if (has_penalty_) next.penalty = Column<double>::grown(penalty, used, room);
        next.by_leaf = by_leaf.grown(capacity_, size);
        next.by_group = by_group.grown(group_room(capacity_), group_room(size));
        leaf_.reserve(size);
        node_.reserve(size);
        free_leaves_.reserve(size);
        free_nodes_.reserve(size);
        stale_.reserve(size);
        for (int k = 0; k < kResources; ++k) available[k] = next.available[k];
        load = next.load;
        slot = next.slot;
        for (int c = 0; c < kTypes; ++c) affinity[c] = next.affinity[c];
        penalty = next.penalty;
        by_leaf = next.by_leaf;
        by_group = next.by_group;
        leaf_.resize(size);
        for (std::size_t leaf = size; leaf-- > capacity_;) free_leaves_.push_back(static_cast<std::uint32_t>(leaf));
        capacity_ = size;
    }

    std::uint32_t new_leaf() {
        const std::uint32_t leaf = free_leaves_.back();
        free_leaves_.pop_back();
        leaf_[leaf].used = true;
        leaf_[leaf].count = 0;
        leaves = std::max<std::size_t>(leaves, (leaf + 8) / 8 * 8);
        return leaf;
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
        if (child < 0) leaf_[~child].parent = parent;
        else node_[child].parent = parent;
    }

    void take_scores(std::uint32_t position, double* scores) const {
        for (int c = 0; c < kTypes; ++c) scores[c] = affinity_at(c, position);
        scores[kTypes] = penalty_at(position);
    }

    void put_scores(std::uint32_t position, const double* scores) {
        for (int c = 0; c < kTypes; ++c)
            if (has_affinity_[c]) affinity[c][position] = scores ? scores[c] : 0.0;
        if (has_penalty_) penalty[position] = scores ? scores[kTypes] : 0.0;
    }

    void append(const Table& table, std::uint32_t leaf, std::size_t s, const double* scores) {
        const std::uint32_t position = static_cast<std::uint32_t>(leaf * kLeaf + leaf_[leaf].count++);
        for (int k = 0; k < kResources; ++k) available[k][position] = feature_amount(table, s, k);
        load[position] = feature(table, s, 3);
        slot[position] = static_cast<std::uint32_t>(s);
        put_scores(position, scores);
        where_[s] = position;
        stale(leaf);
    }

    void place(const Table& table, std::size_t s, const double* scores) { append(table, route(table, s), s, scores); }

    void shift(std::uint32_t from, std::uint32_t to) {
        for (int k = 0; k < kResources; ++k) available[k][to] = available[k][from];
        load[to] = load[from];
        slot[to] = slot[from];
        double scores[kTypes + 1];
        take_scores(from, scores);
        put_scores(to, scores);
        where_[slot[to]] = to;
    }

    void blank(std::uint32_t position) {
        for (int k = 0; k < kResources; ++k) available[k][position] = -1.0;
        load[position] = std::numeric_limits<double>::infinity();
    }

    void erase(std::uint32_t position) {
        const std::uint32_t leaf = position / kLeaf;
        where_[slot[position]] = kNowhere;
        const std::uint32_t last = static_cast<std::uint32_t>(leaf * kLeaf + --leaf_[leaf].count);
        if (last != position) shift(last, position);
        blank(last);
        stale(leaf);
        dissolve(leaf);
    }

    // Give a leaf's workers to its sibling when both fit in half a leaf, or when nothing is left of it.
    void dissolve(std::uint32_t leaf) {
        const std::int32_t parent = leaf_[leaf].parent;
        if (parent < 0) return;
        const std::int32_t mine = ~static_cast<std::int32_t>(leaf);
        const std::int32_t sibling = node_[parent].left == mine ? node_[parent].right : node_[parent].left;
        if (sibling >= 0) {
            if (leaf_[leaf].count) return;
        } else {
            if (leaf_[leaf].count + leaf_[~sibling].count > kLeaf / 2) return;
            while (leaf_[leaf].count) {
                const std::uint32_t from = static_cast<std::uint32_t>(leaf * kLeaf + --leaf_[leaf].count);
                shift(from, static_cast<std::uint32_t>(~sibling * kLeaf + leaf_[~sibling].count++));
                blank(from);
            }
            stale(static_cast<std::uint32_t>(~sibling));
        }
        const std::int32_t above = node_[parent].parent;
        if (above < 0) root_ = sibling;
        else (node_[above].left == parent ? node_[above].left : node_[above].right) = sibling;
        attach(sibling, above);
        free_nodes_.push_back(static_cast<std::uint32_t>(parent));
        leaf_[leaf].used = false;
        leaf_[leaf].parent = -1;
        free_leaves_.push_back(leaf);
    }

    // Split leaves until the one that a slot belongs to has a place. The slot may itself be in the index, with
    // values that are no longer the table's: a split goes by the table's for all but reads positions.
    void make_room(const Table& table, std::size_t s, const Weights& weights) {
        if (free_leaves_.empty()) fit(capacity_ + 1);
        const std::uint32_t leaf = route(table, s);
        if (leaf_[leaf].count == kLeaf) split(leaf, weights);
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
            const double* values = (d == 3 ? load : available[d]).data() + base;
            low[d] = *std::min_element(values, values + kLeaf);
            high[d] = *std::max_element(values, values + kLeaf);
        }
        const int d = widest(low, high, weights);
        const double* values = (d == 3 ? load : available[d]).data();
        std::uint32_t order[kLeaf];
        std::iota(order, order + kLeaf, static_cast<std::uint32_t>(base));
        std::nth_element(order, order + kLeaf / 2, order + kLeaf, [&](std::uint32_t a, std::uint32_t b) {
            return values[a] < values[b] || (values[a] == values[b] && slot[a] < slot[b]);
        });
        const std::uint32_t middle = order[kLeaf / 2];
        const double value = values[middle];
        const std::uint32_t middle_slot = slot[middle];
        const std::uint32_t right = new_leaf();
        const std::int32_t node = new_node(), above = leaf_[leaf].parent;
        node_[node] = {value, middle_slot, ~static_cast<std::int32_t>(leaf), ~static_cast<std::int32_t>(right), above, d};
        if (above < 0) root_ = node;
        else {
            const std::int32_t mine = ~static_cast<std::int32_t>(leaf);
            (node_[above].left == mine ? node_[above].left : node_[above].right) = node;
        }
        leaf_[leaf].parent = leaf_[right].parent = node;
        for (std::size_t i = kLeaf; i-- > 0;) {
            const std::uint32_t p = static_cast<std::uint32_t>(base + i);
            if (values[p] < value || (values[p] == value && slot[p] < middle_slot)) continue;
            shift(p, static_cast<std::uint32_t>(right * kLeaf + leaf_[right].count++));
            const std::uint32_t last = static_cast<std::uint32_t>(base + --leaf_[leaf].count);
            if (last != p) shift(last, p);
            blank(last);
        }
        stale(leaf);
        stale(right);
    }

    std::int32_t build(const Table& table, const Index* scores, const Weights& weights, std::uint32_t* begin,
                       std::uint32_t* end) {
        const std::size_t count = static_cast<std::size_t>(end - begin);
        if (count <= kBulkFill) {
            const std::uint32_t leaf = new_leaf();
            for (const std::uint32_t* s = begin; s != end; ++s) {
                double learned[kTypes + 1] = {};
                if (scores != nullptr && scores->position_of(*s) != kNowhere)
                    scores->take_scores(scores->position_of(*s), learned);
                append(table, leaf, *s, learned);
            }
            return ~static_cast<std::int32_t>(leaf);
        }
        double low[kDimensions], high[kDimensions];
        for (int d = 0; d < kDimensions; ++d) {
            low[d] = std::numeric_limits<double>::infinity();
            high[d] = -low[d];
            for (const std::uint32_t* s = begin; s != end; ++s) {
                low[d] = std::min(low[d], feature(table, *s, d));
                high[d] = std::max(high[d], feature(table, *s, d));
            }
        }
        const int d = widest(low, high, weights);
        const std::size_t full = (count + kBulkFill - 1) / kBulkFill;
        std::uint32_t* middle = begin + full / 2 * kBulkFill;
        std::nth_element(begin, middle, end, [&](std::uint32_t a, std::uint32_t b) {
            const double x = feature(table, a, d), y = feature(table, b, d);
            return x < y || (x == y && a < b);
        });
        const std::int32_t node = new_node();
        const double value = feature(table, *middle, d);
        const std::uint32_t middle_slot = *middle;
        const std::int32_t left = build(table, scores, weights, begin, middle);
        const std::int32_t right = build(table, scores, weights, middle, end);
        node_[node] = {value, middle_slot, left, right, -1, d};
        attach(left, node);
        attach(right, node);
        return node;
    }

    Summary summary_of(std::size_t leaf, const Weights& weights) const {
        Summary s;
        const Lanes& lanes = *active_lanes();
        lanes.amounts(workers(leaf, kTypes), s);
        for (int c = 0; c <= kTypes; ++c)
            if (c == kTypes || has_affinity_[c]) s.min_static[c] = lanes.statics(workers(leaf, c), weights.beta);
        const std::uint32_t* begin = slot.data() + leaf * kLeaf;
        if (leaf_[leaf].count) s.min_slot = *std::min_element(begin, begin + leaf_[leaf].count);
        return s;
    }

    Summary summary_of_group(std::size_t group) const {
        Summary s;
        for (std::size_t leaf = group * kGroup, end = std::min(leaf + kGroup, leaves); leaf < end; ++leaf) {
            for (int k = 0; k < kResources; ++k) s.max_available[k] = std::max(s.max_available[k], by_leaf.max_available(k)[leaf]);
            s.min_load = std::min(s.min_load, by_leaf.min_load()[leaf]);
            for (int c = 0; c <= kTypes; ++c) s.min_static[c] = std::min(s.min_static[c], by_leaf.min_static(c)[leaf]);
            s.min_slot = std::min(s.min_slot, by_leaf.min_slot[leaf]);
        }
        return s;
    }
};

}  // namespace rts
