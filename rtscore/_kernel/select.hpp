// The decision: the open worker that fits and has the least risk, found without looking at most of them.
//
// Design
//   1. One pass over the blocks: a block whose maxima do not cover the request is out, for the others a lower bound
//      of the risk from the block's best values (risk.hpp, a).
//   2. Scan the block of least bound, then in slot order every block whose bound does not exceed the best risk so
//      far. Ties go to the lowest slot: a block before the best worker is scanned at an equal bound too, one
//      behind it only at a lesser bound.
//   3. In a block the divisions are paid only for workers that fit and whose static term is not above the best
//      risk: lateness is never negative, so the static term alone is a bound.
//   NaN and infinity: a candidate has a finite risk. A bound that is not finite means that no worker of the block
//   has one: every operation is monotone, so what overflowed for the best values overflows for all.
#pragma once

#include "policy.hpp"

namespace rts {

enum Outcome : int { kChosen = 0, kNoFiniteRisk = 1, kNothingFits = 2 };

struct Choice {
    std::int64_t slot = -1;
    double risk = std::numeric_limits<double>::max();
    int outcome = kNothingFits;
};

inline bool block_fits(const Policy& p, std::size_t b, const double* amount) {
    return amount[0] <= p.max_available[0][b] && amount[1] <= p.max_available[1][b] &&
           amount[2] <= p.max_available[2][b] && amount[3] <= p.max_available[3][b];
}

inline void scan_block(const Policy& p, const Query& q, std::size_t block, Choice& best) {
    const Table& t = *p.table;
    const std::size_t first = block * kBlock, last = std::min(first + kBlock, t.rows);
    for (std::size_t j = first; j < last; ++j) {
        if (!t.fits(j, q.request.amount)) continue;
        const double fixed = static_term(q.beta, t.load[j], p.affinity_of(q.request.type, j), p.penalty_of(j));
        if (!(fixed <= best.risk)) continue;
        const double runtime =
            predicted_runtime(q, t.available[0][j], t.available[1][j], t.available[2][j], t.load[j]);
        const double r = risk(q, lateness(q, runtime), fixed);
        const std::int64_t slot = static_cast<std::int64_t>(j);
        if (is_finite(r) && (r < best.risk || (r == best.risk && (best.slot < 0 || slot < best.slot)))) {
            best.risk = r;
            best.slot = slot;
        }
    }
}

// The first open worker that fits, at `from` or above, then from slot 0; -1 when there is none.
inline std::int64_t next_feasible(Policy& p, std::size_t from, const double* amount) {
    p.refresh();
    const Table& t = *p.table;
    if (from >= t.rows) from = 0;
    const auto search = [&](std::size_t begin, std::size_t end) -> std::int64_t {
        for (std::size_t j = begin; j < end;) {
            const std::size_t block = j / kBlock, last = std::min((block + 1) * kBlock, end);
            if (block_fits(p, block, amount))
                for (; j < last; ++j)
                    if (t.fits(j, amount)) return static_cast<std::int64_t>(j);
            j = last;
        }
        return -1;
    };
    const std::int64_t slot = search(from, t.rows);
    return slot >= 0 ? slot : search(0, from);
}

inline Choice select(Policy& p, const Request& request) {
    p.refresh();
    const Query q(request, p.weights);
    const double* fixed = p.static_row(request.type);
    thread_local std::vector<double> bounds;
    if (bounds.size() < p.blocks) bounds.resize(p.blocks_capacity);
    std::size_t first = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t b = 0; b < p.blocks; ++b) {
        double bound = std::numeric_limits<double>::infinity();
        if (block_fits(p, b, request.amount)) {
            const double runtime = predicted_runtime(q, p.max_available[0][b], p.max_available[1][b],
                                                     p.max_available[2][b], p.min_load[b]);
            bound = risk(q, lateness(q, runtime), fixed[b]);
        }
        bounds[b] = bound;
        if (bound < least) {
            least = bound;
            first = b;
        }
    }
    Choice best;
    if (least <= best.risk) {
        scan_block(p, q, first, best);
        for (std::size_t b = 0; b < p.blocks; ++b) {
            if (b == first || !(bounds[b] <= best.risk)) continue;
            if (bounds[b] == best.risk && best.slot >= 0 && b * kBlock > static_cast<std::size_t>(best.slot)) continue;
            scan_block(p, q, b, best);
        }
    }
    if (best.slot >= 0) best.outcome = kChosen;
    else best.outcome = next_feasible(p, 0, request.amount) >= 0 ? kNoFiniteRisk : kNothingFits;
    return best;
}


// Decide requests in order; with `reserve`, each sees the reservations before it. Stops at the first request that
// fits somewhere but nowhere with a finite risk: the fallback belongs to the caller.
inline std::size_t select_many(Policy& p, const Request* requests, Choice* choices, std::size_t count, bool reserve) {
    for (std::size_t i = 0; i < count; ++i) {
        choices[i] = select(p, requests[i]);
        if (choices[i].outcome == kNoFiniteRisk) return i;
        if (reserve && choices[i].outcome == kChosen)
            p.table->reserve(static_cast<std::size_t>(choices[i].slot), requests[i].amount);
    }
    return count;
}

// Why nothing fits: of how many workers each resource is short, and how many take no work at all.
struct Shortage {
    std::int64_t live = 0, closed = 0, lacking[kResources] = {0, 0, 0, 0};
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
        for (int k = 0; k < kResources; ++k) s.lacking[k] += !(amount[k] <= t.available[k][j]);
    }
    return s;
}

}  // namespace rts
