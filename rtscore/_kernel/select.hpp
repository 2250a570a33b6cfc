// The decision: the open worker that fits and has the least risk, found without looking at most of them.
//
// Design
//   1. One pass over the leaves (with many, over groups of leaves and then inside the groups that are worth it): a
//      leaf whose maxima do not cover the request is out, for the others a lower bound of the risk from the leaf's
//      best values (risk.hpp, a).
//   2. Scan the leaf of least bound, then every leaf whose bound does not exceed the best risk so far. Ties go to the
//      lowest slot: at an equal bound a leaf is scanned only if it has a lower slot than the best worker.
//   3. In a leaf, a bound per worker without divisions (lanes.hpp, c); the exact risk only where that does not rule
//      the worker out.
//   NaN and infinity: a candidate has a finite risk. A bound that is not finite means that no worker under it has
//   one: every operation is monotone, so what overflows for the best values overflows for all.
#pragma once

#include "policy.hpp"

namespace rts {

enum Outcome : int { kChosen = 0, kNoFiniteRisk = 1, kNothingFits = 2 };

struct Choice {
    std::int64_t slot = -1;
    double risk = std::numeric_limits<double>::max();
    int outcome = kNothingFits;
};

// The first open worker that fits, at slot `from` or above, then from slot 0; -1 when there is none. In slot order,
// which the index does not have: the fallback's search, a plain loop.
inline std::int64_t next_feasible(const Table& t, std::size_t from, const double* amount) {
    if (from >= t.rows) from = 0;
    for (std::size_t j = from; j < t.rows; ++j)
        if (t.fits(j, amount)) return static_cast<std::int64_t>(j);
    for (std::size_t j = 0; j < from; ++j)
        if (t.fits(j, amount)) return static_cast<std::int64_t>(j);
    return -1;
}

inline bool worth(const Summaries& by, std::size_t i, double bound, const Choice& best) {
    if (!(bound <= best.risk)) return false;
    return bound < best.risk || best.slot < 0 || by.min_slot[i] < static_cast<double>(best.slot);
}

// Of the members from..from+count with this bound, the one with the lowest slot.
inline std::size_t likeliest(const Summaries& by, const double* bounds, std::size_t from, std::size_t count, double bound) {
    std::size_t found = count;
    for (std::size_t i = 0; i < count; ++i)
        if (bounds[i] == bound && (found == count || by.min_slot[from + i] < by.min_slot[from + found])) found = i;
    return found;
}

// What a search keeps when it looks for one worker; `bound` is what the next one must beat.
struct Best {
    static constexpr bool kSeveral = false;
    Choice bound;
    void take(std::int64_t slot, double r) {
        bound.risk = r;
        bound.slot = slot;
    }
};

template <class Kept>
class Search {
  public:
    Search(const Leaves& all, const Query& query, Kept& keep)
        : kept(keep), best(keep.bound), x(all), q(query), row(all.static_row(query.request.type)) {}

    void run() {
        if (!x.grouped()) {
            leaves(0, x.leaves);
            return;
        }
        const std::size_t count = x.groups();
        double* const bounds = scratch(count);
        const double least = lanes.bounds(q, x.by_group.arrays(0, row), count, bounds);
        if (!(least <= best.risk)) return;
        if constexpr (Kept::kSeveral) {
            in_order(x.by_group, bounds, 0, count, least, [this](std::size_t g) { leaves(g * Leaves::kGroup, Leaves::kGroup); });
            return;
        }
        const std::size_t first = likeliest(x.by_group, bounds, 0, count, least);
        leaves(first * Leaves::kGroup, Leaves::kGroup);
        for (std::size_t g = 0; g < count; ++g)
            if (g != first && worth(x.by_group, g, bounds[g], best)) leaves(g * Leaves::kGroup, Leaves::kGroup);
    }

  private:
    Kept& kept;
    const Choice& best;
    const Leaves& x;
    const Query& q;
    const Lanes& lanes = *active_lanes();
    const int row;

    static double* scratch(std::size_t count) {
        thread_local std::vector<double> memory;
        if (memory.size() < count) memory.resize(count);
        return memory.data();
    }

    void leaves(std::size_t from, std::size_t count) {
        count = std::min(count, x.leaves - from);
        double bounds[Leaves::kGroupFrom];
        const double least = lanes.bounds(q, x.by_leaf.arrays(from, row), count, bounds);
        if (!(least <= best.risk)) return;
        if constexpr (Kept::kSeveral) {
            in_order(x.by_leaf, bounds, from, count, least, [this, from](std::size_t i) { leaf(from + i); });
            return;
        }
        const std::size_t first = likeliest(x.by_leaf, bounds, from, count, least);
        if (worth(x.by_leaf, from + first, least, best)) leaf(from + first);
        bounds[first] = std::numeric_limits<double>::infinity();
        if (lanes.within(bounds, count, best.risk) == 0) return;
        for (std::size_t i = 0; i < count; ++i)
            if (worth(x.by_leaf, from + i, bounds[i], best)) leaf(from + i);
    }

    // Least bound first, until the next is not worth it. For the best eight of 10,000 that took 4.6 us instead of 5.7 on
    // an idle cluster and 5.3 instead of 4.7 on a late one, on a busy machine; one worker is found without it.
    template <class Visit>
    void in_order(const Summaries& by, double* bounds, std::size_t from, std::size_t count, double least, Visit visit) {
        while (least <= best.risk) {
            const std::size_t next = likeliest(by, bounds, from, count, least);
            if (!worth(by, from + next, least, best)) return;
            bounds[next] = std::numeric_limits<double>::infinity();
            visit(next);
            least = std::numeric_limits<double>::infinity();
            for (std::size_t i = 0; i < count; ++i) least = bounds[i] < least ? bounds[i] : least;
        }
    }

    void leaf(std::size_t number) {
        const std::size_t base = number * kLeaf, count = (x.count(number) + 7) / 8 * 8;
        const double stretch = ((1.0 + share(q.weighted[0], x.by_leaf.max_available(0)[number])) +
                                share(q.weighted[1], x.by_leaf.max_available(1)[number])) +
                               share(q.weighted[2], x.by_leaf.max_available(2)[number]);
        alignas(64) double bounds[kLeaf];
        const double least = lanes.leaf(q, x.workers(number, q.request.type), stretch, count, bounds);
        if (!(least <= best.risk)) return;
        // The likeliest first, of equal ones the lowest slot: after it few others are worth their divisions.
        std::size_t first = count;
        for (std::size_t i = 0; i < count; ++i)
            if (bounds[i] == least && (first == count || x.slot[base + i] < x.slot[base + first])) first = i;
        worker(base + first);
        bounds[first] = std::numeric_limits<double>::infinity();
        if (lanes.within(bounds, count, best.risk) == 0) return;
        for (std::size_t i = 0; i < count; ++i)
            if (bounds[i] < best.risk || (bounds[i] == best.risk && (best.slot < 0 || x.slot[base + i] < best.slot)))
                worker(base + i);
    }

    void worker(std::size_t p) {
        const double fixed = static_term(q.beta, x.load[p], x.affinity_at(q.request.type, p), x.penalty_at(p));
        const double runtime =
            predicted_runtime(q, x.available[0][p], x.available[1][p], x.available[2][p], x.load[p]);
        const double r = risk(q, lateness(q, runtime), fixed);
        const std::int64_t slot = x.slot[p];
        if (is_finite(r) && (r < best.risk || (r == best.risk && (best.slot < 0 || slot < best.slot)))) kept.take(slot, r);
    }
};

inline bool anything_fits(const Leaves& x, const double* amount) {
    for (std::size_t leaf = 0; leaf < x.leaves; ++leaf) {
        if (x.grouped() && leaf % Leaves::kGroup == 0 && !x.by_group.covers(leaf / Leaves::kGroup, amount)) {
            leaf += Leaves::kGroup - 1;
            continue;
        }
        if (!x.by_leaf.covers(leaf, amount)) continue;
        for (std::size_t p = leaf * kLeaf, end = p + x.count(leaf); p < end; ++p)
            if (amount[0] <= x.available[0][p] && amount[1] <= x.available[1][p] && amount[2] <= x.available[2][p] &&
                amount[3] <= x.available[3][p])
                return true;
    }
    return false;
}

inline Choice select(Policy& p, const Request& request) {
    p.refresh();
    const Query q(request, p.weights);
    Best best;
    Search<Best>(p.index.leaves, q, best).run();
    Choice choice = best.bound;
    if (choice.slot >= 0) choice.outcome = kChosen;
    else if (anything_fits(p.index.leaves, request.amount)) choice.outcome = kNoFiniteRisk;
    return choice;
}

// Decide requests in order; with `reserve`, each sees the reservations before it. Stops at the first request that
// fits somewhere but nowhere with a finite risk: the fallback belongs to the caller.
inline std::size_t select_many(Policy& p, const Request* requests, Choice* choices, std::size_t count, bool reserve) {
    for (std::size_t i = 0; i < count; ++i) {
        choices[i] = select(p, requests[i]);
        if (choices[i].outcome == kNoFiniteRisk) return i;
        if (reserve && choices[i].outcome == kChosen)
            p.workers().reserve(static_cast<std::size_t>(choices[i].slot), requests[i].amount);
    }
    return count;
}

// How a request fits: on how many workers, of how many each resource is short, and how many take no work at all.
struct Shortage {
    std::int64_t live = 0, closed = 0, fitting = 0, lacking[kResources] = {0, 0, 0, 0};
};

inline Shortage shortage(const Table& t, const double* amount) {
    Shortage s;
    for (std::size_t j = 0; j < t.rows; ++j) {
        if (t.state[j] == kFree) continue;
        ++s.live;
        if (t.state[j] == kClosed) {
            ++s.closed;
            continue;
        }
        bool fits = true;
        for (int k = 0; k < kResources; ++k) {
            const bool enough = amount[k] <= t.available[k][j];
            s.lacking[k] += !enough;
            fits &= enough;
        }
        s.fitting += fits;
    }
    return s;
}

}  // namespace rts
