// The workers of an index, in leaves: contiguous copies of what the formula reads, and a summary of each leaf.
//
// Design
//   a. A leaf holds up to 64 workers, so a leaf is scanned as fast as 64 consecutive rows of the table. Per leaf, over
//      its workers: the maximum of each available amount, the least load, for each task type the least static term,
//      and the lowest slot. Per group of 32 leaves the same again, when there are more than 96 leaves: at a million
//      workers 1.1 us instead of 21 a decision.
//   b. Learned scores live here only (affinity has a column per type that has any), beside what they are added to;
//      types without affinity share the row kTypes of minima. The static term itself is not stored: two additions.
//   c. Live workers that take no tasks stay, because their scores must survive, with amounts of -1, which no request
//      fits, and infinite load. Unused positions of a leaf look the same, so no loop has a special case.
//   d. Which worker is in which leaf is not decided here (index.hpp).
#pragma once

#include <algorithm>

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

// What the index keeps of one worker, as copied from the table.
struct Features {
    double amount[kResources], load;

    Features(const Table& t, std::size_t s) {
        const bool open = t.state[s] == kOpen;
        for (int k = 0; k < kResources; ++k) amount[k] = open ? t.available[k][s] : -1.0;
        load = open ? t.load[s] : std::numeric_limits<double>::infinity();
    }
    // What the tree splits on: 0 to 2 are cpu, memory and gpu, 3 is load.
    double operator[](int dimension) const { return dimension == 3 ? load : amount[dimension]; }
};

struct Scores {
    double affinity[kTypes] = {}, penalty = 0.0;
};

struct Leaves {
    static constexpr std::uint32_t kNowhere = 0xffffffffu;
    static constexpr std::size_t kGroup = 32;
    static constexpr std::size_t kGroupFrom = 96;

    // By position (leaf * kLeaf + i).
    Column<double> available[kResources], load, affinity[kTypes], penalty;  // the last two kinds may be null
    Column<std::uint32_t> slot;
    Summaries by_leaf, by_group;
    std::size_t leaves = 0;  // a multiple of 8; a leaf that is not in use fits nothing

    bool grouped() const { return leaves > kGroupFrom; }
    std::size_t groups() const { return (leaves + kGroup * 8 - 1) / (kGroup * 8) * 8; }
    std::size_t used() const { return leaf_.size() - free_.size(); }
    std::size_t room() const { return free_.size(); }
    std::size_t count(std::size_t leaf) const { return leaf_[leaf].count; }
    int static_row(int type) const { return has_affinity_[type] ? type : kTypes; }
    std::uint32_t position_of(std::size_t s) const { return s < where_.size() ? where_[s] : kNowhere; }
    double affinity_at(int type, std::size_t p) const { return has_affinity_[type] ? affinity[type][p] : 0.0; }
    double penalty_at(std::size_t p) const { return has_penalty_ ? penalty[p] : 0.0; }

    WorkerArrays workers(std::size_t leaf, int type) const {
        const std::size_t base = leaf * kLeaf;
        return {{available[0].data() + base, available[1].data() + base, available[2].data() + base,
                 available[3].data() + base},
                load.data() + base,
                type < kTypes && has_affinity_[type] ? affinity[type].data() + base : kZeros,
                has_penalty_ ? penalty.data() + base : kZeros};
    }

    Scores scores_at(std::size_t p) const {
        Scores scores;
        for (int c = 0; c < kTypes; ++c) scores.affinity[c] = affinity_at(c, p);
        scores.penalty = penalty_at(p);
        return scores;
    }

    bool holds(std::size_t p, const Features& f) const {
        bool same = load[p] == f.load;
        for (int k = 0; k < kResources; ++k) same = same && available[k][p] == f.amount[k];
        return same;
    }

    void set_affinity(int type, std::size_t s, double score) {
        if (!has_affinity_[type]) {
            if (score == 0.0) return;
            affinity[type] = Column<double>::grown({}, 0, capacity_ * kLeaf);
            has_affinity_[type] = true;
            all_stale();  // no leaf has minima for this type yet
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

    // The kinds of scores that another one has, before anything is put in.
    void like(const Leaves& other) {
        std::copy(other.has_affinity_, other.has_affinity_ + kTypes, has_affinity_);
        has_penalty_ = other.has_penalty_;
    }

    void fit_slots(std::size_t slots) {
        if (where_.size() >= slots) return;
        where_.reserve(slots);
        where_.resize(slots, kNowhere);
    }

    // Leaves that there will be memory for when `wanted` are.
    static std::size_t rounded(std::size_t wanted) { return (wanted + wanted / 16 + 7) / 8 * 8; }

    static std::size_t group_room(std::size_t leaf_count) { return leaf_count ? (leaf_count / (kGroup * 8) + 1) * 8 : 0; }

    // Memory for `wanted` leaves, all or nothing.
    void fit(std::size_t wanted) {
        if (wanted <= capacity_) return;
        const std::size_t size = rounded(wanted), used = capacity_ * kLeaf, room = size * kLeaf;
        Leaves next;
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
        free_.reserve(size);
        stale_.reserve(size);
        for (int k = 0; k < kResources; ++k) available[k] = next.available[k];
        load = next.load;
        slot = next.slot;
        for (int c = 0; c < kTypes; ++c) affinity[c] = next.affinity[c];
        penalty = next.penalty;
        by_leaf = next.by_leaf;
        by_group = next.by_group;
        leaf_.resize(size);
        for (std::size_t leaf = size; leaf-- > capacity_;) free_.push_back(static_cast<std::uint32_t>(leaf));
        capacity_ = size;
    }

    std::uint32_t new_leaf() {
        const std::uint32_t leaf = free_.back();
        free_.pop_back();
        leaf_[leaf].count = 0;
        leaves = std::max<std::size_t>(leaves, (leaf + 8) / 8 * 8);
        return leaf;
    }

    void free_leaf(std::uint32_t leaf) { free_.push_back(leaf); }

    void append(std::uint32_t leaf, std::size_t s, const Features& f, const Scores& scores) {
        const std::uint32_t p = static_cast<std::uint32_t>(leaf * kLeaf + leaf_[leaf].count++);
        slot[p] = static_cast<std::uint32_t>(s);
        where_[s] = p;
        put_scores(p, scores);
        write(p, f);
    }

    void write(std::uint32_t p, const Features& f) {
        for (int k = 0; k < kResources; ++k) available[k][p] = f.amount[k];
        load[p] = f.load;
        stale(p / kLeaf);
    }

    void erase(std::uint32_t p) {
        where_[slot[p]] = kNowhere;
        close_up(p);
    }

    // To the end of another leaf.
    void move(std::uint32_t p, std::uint32_t leaf) {
        shift(p, static_cast<std::uint32_t>(leaf * kLeaf + leaf_[leaf].count++));
        stale(leaf);
        close_up(p);
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
        all_stale();
        settle(weights);
    }

    // Whether the summaries and the unused positions are right; the workers are for the index to compare.
    bool verify(const Weights& weights) const {
        for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
            if (!(by_leaf.get(leaf) == summary_of(leaf, weights))) return false;
            for (std::size_t p = leaf * kLeaf + leaf_[leaf].count; p < (leaf + 1) * kLeaf; ++p)
                if (available[0][p] != -1.0 || load[p] != std::numeric_limits<double>::infinity()) return false;
        }
        if (grouped())
            for (std::size_t g = 0; g < groups(); ++g)
                if (!(by_group.get(g) == summary_of_group(g))) return false;
        return true;
    }

    std::size_t bytes() const {
        std::size_t columns = kResources + 1 + has_penalty_;
        for (const bool has : has_affinity_) columns += has;
        return capacity_ * (kLeaf * (columns * sizeof(double) + sizeof(std::uint32_t)) +
                            (Summaries::kColumns + 1) * sizeof(double)) +
               where_.capacity() * sizeof(std::uint32_t) + leaf_.capacity() * sizeof(Leaf);
    }

  private:
    struct Leaf {
        std::uint16_t count = 0;
        bool stale = false;
    };

    std::vector<std::uint32_t> where_;  // by slot
    std::vector<Leaf> leaf_;
    std::vector<std::uint32_t> free_, stale_;
    std::size_t capacity_ = 0;  // leaves that there is memory for
    bool groups_valid_ = false;
    bool has_affinity_[kTypes] = {};
    bool has_penalty_ = false;

    void stale(std::size_t leaf) {
        if (leaf_[leaf].stale) return;
        leaf_[leaf].stale = true;
        stale_.push_back(static_cast<std::uint32_t>(leaf));  // `fit` reserved for every leaf
    }

    void all_stale() {
        for (std::size_t leaf = 0; leaf < leaves; ++leaf) stale(leaf);
        groups_valid_ = false;
    }

    void put_scores(std::uint32_t p, const Scores& scores) {
        for (int c = 0; c < kTypes; ++c)
            if (has_affinity_[c]) affinity[c][p] = scores.affinity[c];
        if (has_penalty_) penalty[p] = scores.penalty;
    }

    void shift(std::uint32_t from, std::uint32_t to) {
        for (int k = 0; k < kResources; ++k) available[k][to] = available[k][from];
        load[to] = load[from];
        slot[to] = slot[from];
        put_scores(to, scores_at(from));
        where_[slot[to]] = to;
    }

    // The last of the leaf takes the place that became free.
    void close_up(std::uint32_t p) {
        const std::uint32_t leaf = p / kLeaf, last = static_cast<std::uint32_t>(leaf * kLeaf + --leaf_[leaf].count);
        if (last != p) shift(last, p);
        for (int k = 0; k < kResources; ++k) available[k][last] = -1.0;
        load[last] = std::numeric_limits<double>::infinity();
        stale(leaf);
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
