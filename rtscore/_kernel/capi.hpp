// Plain C functions on opaque handles, for callers that hold no GIL (numba): the same table, the same selection.
//
// A handle is the address of a Table or Policy that Python keeps alive. Nothing here locks: a table, and the policies
// bound to it, are for one thread at a time. No exception leaves; amounts are rounded as everywhere.
#pragma once

#include "select.hpp"

namespace rts {

enum : std::int64_t { kDone = 0, kCNothingFits = -1, kCNoFiniteRisk = -2, kBadArgument = -3, kNoMemory = -4 };

inline Table& table_at(std::int64_t handle) { return *reinterpret_cast<Table*>(handle); }
inline Policy& policy_at(std::int64_t handle) { return *reinterpret_cast<Policy*>(handle); }

// Rounded amounts; false when one is none.
inline bool amounts(double cpu, double memory, double gpu, double storage, double* out) {
    const double given[kResources] = {cpu, memory, gpu, storage};
    for (int k = 0; k < kResources; ++k) {
        if (!(given[k] >= 0.0 && given[k] <= kMaxAmount)) return false;
        out[k] = quantise(given[k]);
    }
    return true;
}

template <class F>
inline std::int64_t guarded(F&& f) noexcept {
    try {
        return f();
    } catch (const std::bad_alloc&) {
        return kNoMemory;
    }
}

}  // namespace rts

extern "C" {

inline std::int64_t rts_select(std::int64_t policy, double cpu, double memory, double gpu, double storage,
                               std::int64_t type, double tau, double slack) {
    rts::Request r;
    if (type < 0 || type >= rts::kTypes || !(tau > 0.0) || !rts::amounts(cpu, memory, gpu, storage, r.amount))
        return rts::kBadArgument;
    r.tau = tau;
    r.slack = slack;
    r.type = static_cast<int>(type);
    return rts::guarded([&]() -> std::int64_t {
        const rts::Choice c = rts::select(rts::policy_at(policy), r);
        if (c.outcome == rts::kChosen) return c.slot;
        return c.outcome == rts::kNothingFits ? rts::kCNothingFits : rts::kCNoFiniteRisk;
    });
}

// The modelled runtime of a request on one worker as it is now, in seconds; NaN for a slot without a worker.
inline double rts_runtime(std::int64_t policy, std::int64_t slot, double cpu, double memory, double gpu, double tau) {
    const rts::Policy& p = rts::policy_at(policy);
    const rts::Table& t = p.workers();
    rts::Request r;
    if (!t.is_live(slot) || !rts::amounts(cpu, memory, gpu, 0.0, r.amount))
        return std::numeric_limits<double>::quiet_NaN();
    r.tau = tau;
    r.slack = 0.0;
    r.type = 0;
    const rts::Query q(r, p.weights);
    return rts::predicted_runtime(q, t.available[0][slot], t.available[1][slot], t.available[2][slot], t.load[slot]);
}

inline std::int64_t rts_next_feasible(std::int64_t table, std::int64_t from, double cpu, double memory, double gpu,
                                      double storage) {
    double amount[rts::kResources];
    if (from < 0 || !rts::amounts(cpu, memory, gpu, storage, amount)) return rts::kBadArgument;
    return rts::next_feasible(rts::table_at(table), static_cast<std::size_t>(from), amount);
}

// 0 when done, 1 to 4 for the resource that is short.
inline std::int64_t rts_reserve(std::int64_t table, std::int64_t slot, double cpu, double memory, double gpu,
                                double storage) {
    rts::Table& t = rts::table_at(table);
    double amount[rts::kResources];
    if (!t.is_live(slot) || !rts::amounts(cpu, memory, gpu, storage, amount)) return rts::kBadArgument;
    t.anonymous = true;
    return t.reserve(static_cast<std::size_t>(slot), amount) + 1;
}

// 0 when done, 1 to 4 for the resource of which less is allocated.
inline std::int64_t rts_release(std::int64_t table, std::int64_t slot, double cpu, double memory, double gpu,
                                double storage) {
    rts::Table& t = rts::table_at(table);
    double amount[rts::kResources];
    if (!t.is_live(slot) || !rts::amounts(cpu, memory, gpu, storage, amount)) return rts::kBadArgument;
    t.anonymous = true;
    return t.release(static_cast<std::size_t>(slot), amount) + 1;
}

inline std::int64_t rts_set_load(std::int64_t table, std::int64_t slot, double load) {
    rts::Table& t = rts::table_at(table);
    if (!t.is_live(slot) || !(load >= 0.0) || !rts::is_finite(load)) return rts::kBadArgument;
    t.set_reported(static_cast<std::size_t>(slot), load);
    return rts::kDone;
}

inline std::int64_t rts_set_schedulable(std::int64_t table, std::int64_t slot, std::int64_t schedulable) {
    rts::Table& t = rts::table_at(table);
    if (!t.is_live(slot)) return rts::kBadArgument;
    t.set_open(static_cast<std::size_t>(slot), schedulable != 0);
    return rts::kDone;
}

// NaN for a slot without a worker.
inline double rts_load(std::int64_t table, std::int64_t slot) {
    const rts::Table& t = rts::table_at(table);
    return t.is_live(slot) ? t.load[slot] : std::numeric_limits<double>::quiet_NaN();
}

// Resource 0 to 3: cpu, memory, gpu, storage. NaN for a slot without a worker.
inline double rts_available(std::int64_t table, std::int64_t slot, std::int64_t resource) {
    const rts::Table& t = rts::table_at(table);
    if (!t.is_live(slot) || resource < 0 || resource >= rts::kResources) return std::numeric_limits<double>::quiet_NaN();
    return t.available[resource][slot];
}

// Slots that may have a worker.
inline std::int64_t rts_rows(std::int64_t table) { return static_cast<std::int64_t>(rts::table_at(table).rows); }

// Every worker idle again: nothing allocated, nothing reported.
inline std::int64_t rts_clear(std::int64_t table) {
    rts::Table& t = rts::table_at(table);
    t.anonymous = true;
    t.clear();
    return rts::kDone;
}

inline std::int64_t rts_set_weights(std::int64_t policy, double theta1, double theta2, double theta3, double theta4,
                                    double alpha, double beta) {
    const rts::Weights w{{theta1, theta2, theta3, theta4}, alpha, beta};
    for (const double x : {theta1, theta2, theta3, theta4, alpha, beta})
        if (!(x >= 0.0) || !rts::is_finite(x)) return rts::kBadArgument;
    return rts::guarded([&]() -> std::int64_t {
        rts::policy_at(policy).set_weights(w);
        return rts::kDone;
    });
}

inline std::int64_t rts_set_affinity(std::int64_t policy, std::int64_t type, std::int64_t slot, double score) {
    rts::Policy& p = rts::policy_at(policy);
    if (type < 0 || type >= rts::kTypes || !p.workers().is_live(slot) || !rts::is_finite(score))
        return rts::kBadArgument;
    return rts::guarded([&]() -> std::int64_t {
        p.set_affinity(static_cast<int>(type), static_cast<std::size_t>(slot), score);
        return rts::kDone;
    });
}

inline std::int64_t rts_set_penalty(std::int64_t policy, std::int64_t slot, double score) {
    rts::Policy& p = rts::policy_at(policy);
    if (!p.workers().is_live(slot) || !(score >= 0.0) || !rts::is_finite(score)) return rts::kBadArgument;
    return rts::guarded([&]() -> std::int64_t {
        p.set_penalty(static_cast<std::size_t>(slot), score);
        return rts::kDone;
    });
}

}  // extern "C"
