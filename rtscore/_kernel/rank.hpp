// The best few workers in the reference's order, found by the search for the best one.
//
// Design
//   a. The search of select.hpp rules out what cannot beat `bound`. Here that is the worst worker of a full list: risk,
//      then slot, the same order that breaks ties there. So it rules out what cannot enter the list, and nothing else.
//   b. The list is a heap with its worst on top. Only slot and risk are kept: the other terms are computed for the few
//      that are left, by the same functions from the same numbers, so they have the same bits.
#pragma once

#include "select.hpp"

namespace rts {

// One worker with the terms of its risk.
struct Candidate {
    std::int64_t slot;
    double runtime, late, load, affinity, penalty, risk;
};

inline bool before(const Choice& a, const Choice& b) {
    return a.risk < b.risk || (a.risk == b.risk && a.slot < b.slot);
}

// What a search keeps when it looks for at most `limit` workers, which is at least one.
class BestOf {
  public:
    BestOf(std::size_t limit, std::size_t live) : limit_(limit) { heap_.reserve(std::min(limit, live) + 1); }

    static constexpr bool kSeveral = true;
    Choice bound;

    void take(std::int64_t slot, double r) {
        Choice choice;
        choice.slot = slot;
        choice.risk = r;
        heap_.push_back(choice);
        std::push_heap(heap_.begin(), heap_.end(), before);
        if (heap_.size() > limit_) {
            std::pop_heap(heap_.begin(), heap_.end(), before);
            heap_.pop_back();
        }
        if (heap_.size() == limit_) bound = heap_.front();
    }

    std::vector<Choice>& sorted() {
        std::sort_heap(heap_.begin(), heap_.end(), before);
        return heap_;
    }

  private:
    std::size_t limit_;
    std::vector<Choice> heap_;
};

inline std::vector<Candidate> candidates(Policy& p, const Request& request, std::size_t limit) {
    p.refresh();
    const Query q(request, p.weights);
    const Leaves& x = p.index.leaves;
    BestOf best(limit, p.workers().live);
    Search<BestOf>(x, q, best).run();
    std::vector<Candidate> found;
    found.reserve(limit < p.workers().live ? limit : p.workers().live);
    for (const Choice& choice : best.sorted()) {
        const std::size_t at = x.position_of(static_cast<std::size_t>(choice.slot));
        const double runtime = predicted_runtime(q, x.available[0][at], x.available[1][at], x.available[2][at], x.load[at]);
        found.push_back({choice.slot, runtime, lateness(q, runtime), x.load[at], x.affinity_at(request.type, at),
                         x.penalty_at(at), choice.risk});
    }
    return found;
}

}  // namespace rts
