// The loops that a decision spends its time in, over arrays, for several instruction sets.
//
// Design
//   a. The bodies are written once, on scalars, through the formula in risk.hpp, with no branch in the loop, and the
//      compiler vectorises them (-fno-trapping-math lets it; that flag changes no value). A wrapper for each
//      instruction set inlines the body; the best that the CPU has is chosen when the module is loaded. No -march in
//      the build: a wheel runs anywhere.
//   b. Lanes are independent and nothing is contracted, so all variants give the same bits; a test compares them.
//   c. Neither loop divides per worker. `leaf_bounds` takes the shares of cpu, memory and gpu from the leaf's best
//      amounts and only load and static term from the worker; in a leaf of like workers that bound is close, and the
//      exact risk is then paid for the few workers that it does not rule out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "risk.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#define RTS_X86_VARIANTS 1
#endif

namespace rts {

constexpr std::size_t kLeaf = 64;
alignas(64) inline constexpr double kZeros[kLeaf] = {};

// What the best of some workers could be; of none, what fits nothing.
struct Summary {
    double max_available[kResources] = {-1, -1, -1, -1};
    double min_load = std::numeric_limits<double>::infinity();
    double min_static[kTypes + 1] = {min_load, min_load, min_load, min_load, min_load, min_load, min_load};
    double min_slot = min_load;

    bool operator==(const Summary& o) const {
        return std::equal(max_available, max_available + kResources, o.max_available) && min_load == o.min_load &&
               std::equal(min_static, min_static + kTypes + 1, o.min_static) && min_slot == o.min_slot;
    }
};

// A bound for every leaf or group: infinity where the request does not fit the maxima. Returns the least.
struct SummaryArrays {
    const double* available[kResources];
    const double* load;
    const double* fixed;
};

[[gnu::always_inline]] inline double bounds_body(const Query& query, const SummaryArrays& a, std::size_t count,
                                                 double* __restrict out) {
    const Query q = query;
    const double *cpu = a.available[0], *memory = a.available[1], *gpu = a.available[2], *storage = a.available[3];
    const double *load = a.load, *fixed = a.fixed;
    const double infinity = std::numeric_limits<double>::infinity();
    double least[8];
    std::fill(least, least + 8, infinity);
    for (std::size_t i = 0; i < count; i += 8) {
        for (std::size_t k = 0; k < 8; ++k) {
            const std::size_t j = i + k;
            const bool fits = (q.request.amount[0] <= cpu[j]) & (q.request.amount[1] <= memory[j]) &
                              (q.request.amount[2] <= gpu[j]) & (q.request.amount[3] <= storage[j]);
            const double runtime = predicted_runtime(q, cpu[j], memory[j], gpu[j], load[j]);
            const double bound = risk(q, lateness(q, runtime), fixed[j]);
            const double kept = fits ? bound : infinity;
            out[j] = kept;
            least[k] = kept < least[k] ? kept : least[k];
        }
    }
    double result = infinity;
    for (const double x : least) result = x < result ? x : result;
    return result;
}

// A bound for every worker of a leaf: infinity where the request does not fit. `stretch` is 1 + the shares of the
// leaf's best amounts. Returns the least.
struct WorkerArrays {
    const double* available[kResources];
    const double* load;
    const double* affinity;
    const double* penalty;
};

[[gnu::always_inline]] inline double leaf_body(const Query& query, const WorkerArrays& a, double stretch, std::size_t count,
                                               double* __restrict out) {
    const Query q = query;
    const double *cpu = a.available[0], *memory = a.available[1], *gpu = a.available[2], *storage = a.available[3];
    const double *load = a.load, *affinity = a.affinity, *penalty = a.penalty;
    const double infinity = std::numeric_limits<double>::infinity();
    double least[8];
    std::fill(least, least + 8, infinity);
    for (std::size_t i = 0; i < count; i += 8) {
        for (std::size_t k = 0; k < 8; ++k) {
            const std::size_t j = i + k;
            const bool fits = (q.request.amount[0] <= cpu[j]) & (q.request.amount[1] <= memory[j]) &
                              (q.request.amount[2] <= gpu[j]) & (q.request.amount[3] <= storage[j]);
            const double runtime = q.request.tau * (stretch + q.theta4 * load[j]);
            const double fixed = static_term(q.beta, load[j], affinity[j], penalty[j]);
            const double bound = risk(q, lateness(q, runtime), fixed);
            const double kept = fits ? bound : infinity;
            out[j] = kept;
            least[k] = kept < least[k] ? kept : least[k];
        }
    }
    double result = infinity;
    for (const double x : least) result = x < result ? x : result;
    return result;
}

// The summary's amounts and load over a whole leaf.
[[gnu::always_inline]] inline void amounts_body(const WorkerArrays& a, Summary& s) {
    double most[kResources][8], least[8];
    for (auto& row : most) std::fill(row, row + 8, -1.0);
    std::fill(least, least + 8, std::numeric_limits<double>::infinity());
    for (int r = 0; r < kResources; ++r) {
        const double* x = a.available[r];
        for (std::size_t i = 0; i < kLeaf; i += 8)
            for (std::size_t k = 0; k < 8; ++k) most[r][k] = x[i + k] > most[r][k] ? x[i + k] : most[r][k];
    }
    for (std::size_t i = 0; i < kLeaf; i += 8)
        for (std::size_t k = 0; k < 8; ++k) least[k] = a.load[i + k] < least[k] ? a.load[i + k] : least[k];
    for (int r = 0; r < kResources; ++r) s.max_available[r] = *std::max_element(most[r], most[r] + 8);
    s.min_load = *std::min_element(least, least + 8);
}

// The least static term of a leaf; a NaN is passed over.
[[gnu::always_inline]] inline double statics_body(const WorkerArrays& a, double beta) {
    const double *load = a.load, *affinity = a.affinity, *penalty = a.penalty;
    double least[8];
    std::fill(least, least + 8, std::numeric_limits<double>::infinity());
    for (std::size_t i = 0; i < kLeaf; i += 8)
        for (std::size_t k = 0; k < 8; ++k) {
            const double fixed = static_term(beta, load[i + k], affinity[i + k], penalty[i + k]);
            least[k] = fixed < least[k] ? fixed : least[k];
        }
    return *std::min_element(least, least + 8);
}

// How many are at most the limit: most often so few that the loop over all of them can be saved.
[[gnu::always_inline]] inline std::size_t within_body(const double* x, std::size_t count, double limit) {
    std::int64_t within[8] = {};
    for (std::size_t i = 0; i < count; i += 8)
        for (std::size_t k = 0; k < 8; ++k) within[k] += x[i + k] <= limit;
    std::int64_t sum = 0;
    for (const std::int64_t n : within) sum += n;
    return static_cast<std::size_t>(sum);
}

struct Lanes {
    const char* name;
    double (*bounds)(const Query&, const SummaryArrays&, std::size_t, double*);
    double (*leaf)(const Query&, const WorkerArrays&, double, std::size_t, double*);
    void (*amounts)(const WorkerArrays&, Summary&);
    double (*statics)(const WorkerArrays&, double);
    std::size_t (*within)(const double*, std::size_t, double);
};

#define RTS_VARIANT(suffix, attributes)                                                                              \
    attributes inline double bounds_##suffix(const Query& q, const SummaryArrays& a, std::size_t n, double* out) {   \
        return bounds_body(q, a, n, out);                                                                            \
    }                                                                                                                \
    attributes inline double leaf_##suffix(const Query& q, const WorkerArrays& a, double s, std::size_t n,           \
                                           double* out) {                                                            \
        return leaf_body(q, a, s, n, out);                                                                           \
    }                                                                                                                \
    attributes inline void amounts_##suffix(const WorkerArrays& a, Summary& s) { amounts_body(a, s); }               \
    attributes inline double statics_##suffix(const WorkerArrays& a, double beta) { return statics_body(a, beta); }  \
    attributes inline std::size_t within_##suffix(const double* x, std::size_t n, double limit) {                    \
        return within_body(x, n, limit);                                                                             \
    }                                                                                                                \
    inline const Lanes lanes_##suffix{#suffix,           bounds_##suffix,  leaf_##suffix,                            \
                                      amounts_##suffix,  statics_##suffix, within_##suffix};

RTS_VARIANT(baseline, )
#ifdef RTS_X86_VARIANTS
RTS_VARIANT(avx2, [[gnu::target("avx2")]])
RTS_VARIANT(avx512, [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]])
#endif

#undef RTS_VARIANT

// A variant by name, or the best for null; null when this CPU or this build does not have it.
inline const Lanes* lanes_named(const char* name) {
    const auto wanted = [name](const Lanes& lanes) { return name == nullptr || std::strcmp(name, lanes.name) == 0; };
#ifdef RTS_X86_VARIANTS
    if (wanted(lanes_avx512) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &lanes_avx512;
    if (wanted(lanes_avx2) && __builtin_cpu_supports("avx2")) return &lanes_avx2;
#endif
    return wanted(lanes_baseline) ? &lanes_baseline : nullptr;
}

inline const Lanes*& active_lanes() {
    static const Lanes* lanes = lanes_named(nullptr);
    return lanes;
}

}  // namespace rts
