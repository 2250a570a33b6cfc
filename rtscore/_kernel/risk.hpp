// The risk formula: the only place in native code where it is written.
//
// Design
//   a. Every operation here is in the order of rtscore/reference.py, and each is monotone in the load (up),
//      the penalty (up), the available amounts (down) and the affinity (down), also after rounding. So the
//      same functions applied to the best value of each attribute in a group of workers give a lower bound of
//      the risk in that group, in floating point and not only on paper.
//   b. They are templates over the number: double for one worker, a SIMD vector for several.
//      The build sets -ffp-contract=off, so both give the same bits.
//   c. The product theta*amount does not depend on the worker and is made once per task: the formula reads
//      theta1*C_i/C_j from left to right, which is the same product divided.
//   d. NaN: lateness() passes a NaN on (the comparison is false), so a worker with a NaN or infinite term ends
//      with a risk that is not finite, and such a worker is not a candidate.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace rts {

constexpr int kTypes = 6;
constexpr int kResources = 4;  // cpu, memory, gpu, storage; the first three are in the formula

struct Weights {
    double theta[4] = {0, 0, 0, 0};
    double alpha = 0;
    double beta = 0;
};

struct Request {
    double amount[kResources];
    double tau;
    double slack;  // deadline - now
    int type;
};

// What a decision needs of a task under given weights, computed once.
struct Query {
    Query(const Request& r, const Weights& w)
        : request(r), theta4(w.theta[3]), alpha(w.alpha), beta(w.beta) {
        for (int k = 0; k < 3; ++k) weighted[k] = w.theta[k] * r.amount[k];
    }
    Request request;
    double weighted[3];
    double theta4;
    double alpha;
    double beta;
};

template <class T>
inline T share(double weighted, T available) {
    return weighted / (available == 0.0 ? T{} + 1.0 : available);
}

template <class T>
inline T predicted_runtime(const Query& q, T cpu, T memory, T gpu, T load) {
    return q.request.tau * ((((1.0 + share(q.weighted[0], cpu)) + share(q.weighted[1], memory)) +
                             share(q.weighted[2], gpu)) +
                            q.theta4 * load);
}

template <class T>
inline T lateness(const Query& q, T runtime) {
    T late = runtime - q.request.slack;
    return late < 0.0 ? T{} : late;
}

template <class T>
inline T static_term(double beta, T load, T affinity, T penalty) {
    return (beta * load - affinity) + penalty;
}

template <class T>
inline T risk(const Query& q, T late, T fixed) {
    return q.alpha * late + fixed;
}

inline bool is_finite(double x) { return std::fabs(x) <= std::numeric_limits<double>::max(); }

// Load that follows from what is allocated, weighted by what the worker has of each resource.
inline double promised_load(const double* total, const double* allocated) {
    const double w_cpu = total[0], w_memory = total[1] / 10.0, w_gpu = 2.0 * total[2];
    const double sum = (w_cpu + w_memory) + w_gpu;
    if (sum == 0.0) return 0.0;
    const double u_cpu = total[0] == 0.0 ? 0.0 : allocated[0] / total[0];
    const double u_memory = total[1] == 0.0 ? 0.0 : allocated[1] / total[1];
    const double u_gpu = total[2] == 0.0 ? 0.0 : allocated[2] / total[2];
    return ((w_cpu * u_cpu + w_memory * u_memory) + w_gpu * u_gpu) / sum;
}

// Amounts are multiples of 2^-20 up to 2^32: any sum of two fits in 53 bits, so reserve and release are exact.
constexpr double kQuantum = 1.0 / (1 << 20);
constexpr double kMaxAmount = 4294967296.0;

inline double quantise(double x) { return std::nearbyint(x * (1 << 20)) * kQuantum; }

}  // namespace rts
