// How a row of logits ends: its log-sum-exp, and its part of the forward's statistics (attention_stats.cuh). One
// definition for all forward kernels.
#pragma once
#include "attention_stats.cuh"
#include "common.cuh"

// A finished row, in natural units: the same in every lane that shares it.
struct Row {
    float top, low; // largest and smallest logit
    float l, u;     // sum of exp(S - top), and of exp(S - top) (S - top)
    float c;        // a reference near the logits,
    float s1, s2;   // the sum of S - c, and of its square
    int best;       // earliest key whose logit is `top`
};

// What a thread adds up of its rows; maxima keep a NaN.
struct ForwardStats {
    float sums[FORWARD_SUMS] = {};
    float top, depth, bracket = 0.f;
    __device__ __forceinline__ ForwardStats() : top(-infinity()), depth(-infinity()) {}
};

// Takes row i in; gives its log-sum-exp.
__device__ __forceinline__ float finish_row(ForwardStats& to, const Row& row, int i) {
    const float len = static_cast<float>(i + 1), log_len = logf(len), log_l = logf(row.l), lse = row.top + log_l, weight = __fdividef(1.f, row.l);
    const bool sound = row.l == row.l; // fmaxf and fminf dropped NaN logits from top and low, l kept them
    to.sums[FORWARD_SQUARES] += row.s2 + 2.f * row.c * row.s1 + len * row.c * row.c;
    to.sums[FORWARD_LOGITS] += row.s1 + len * row.c;
    const float centred = row.s2 - row.s1 * row.s1 / len;
    to.sums[FORWARD_CENTRED] += centred < 0.f ? 0.f : centred; // fmaxf would hide a NaN
    // H = ln l - u / l, both terms non-negative: no cancellation
    const float relative = __fdividef(log_l - row.u * weight, log_len);
    if (i > 0) to.sums[FORWARD_ENTROPY] += relative;
    if (i + 1 >= SHARP_KEYS) to.sums[FORWARD_SHARPNESS] += 1.f - relative;
    to.sums[FORWARD_TOP1] += weight;
    to.sums[FORWARD_DISTANCE] += sound ? static_cast<float>(i - row.best) : row.l;
    to.top = loud_max(to.top, sound ? row.top : row.l);
    to.depth = loud_max(to.depth, sound ? -row.low : row.l);
    to.bracket = loud_max(to.bracket, fmaxf(lse - row.top - log_len, row.top - lse)); // (2.5)
    return lse;
}

// Of 2 HALF values a lane keeps the half that its bit names, and adds what the lane across had of it.
template <int HALF>
__device__ __forceinline__ void halve(float (&v)[16]) {
    const bool upper = threadIdx.x & 2 * HALF;
#pragma unroll
    for (int n = 0; n < HALF; n++) {
        const float give = upper ? v[n] : v[n + HALF];
        v[n] = (upper ? v[n + HALF] : v[n]) + __shfl_xor_sync(FULL_WARP, give, 2 * HALF);
    }
}

// Totals of a warp's lanes, value n in lanes 2n and 2n + 1. At most sixteen values.
template <int N>
__device__ __forceinline__ float warp_totals(const float (&values)[N]) {
    static_assert(N <= 16, "two lanes a value");
    float v[16] = {};
#pragma unroll
    for (int n = 0; n < N; n++) v[n] = values[n];
    halve<8>(v);
    halve<4>(v);
    halve<2>(v);
    halve<1>(v);
    return v[0] + __shfl_xor_sync(FULL_WARP, v[0], 1);
}

// Adds a block's threads up and writes its partial row; `scratch` holds 32 FORWARD_STATS floats.
__device__ __forceinline__ void write_forward_stats(ForwardStats& own, float* scratch, float* __restrict__ out) {
    const int lane = threadIdx.x & 31, warps = blockDim.x >> 5, n = threadIdx.x;
    float* row = scratch + (threadIdx.x >> 5) * FORWARD_STATS;
    const float sum = warp_totals(own.sums);
    if ((lane & 1) == 0 && lane / 2 < FORWARD_SUMS) row[lane / 2] = sum;
    const float top = loud_warp_max(own.top), depth = loud_warp_max(own.depth), bracket = loud_warp_max(own.bracket);
    if (lane == 0) row[FORWARD_TOP] = top, row[FORWARD_DEPTH] = depth, row[FORWARD_BRACKET] = bracket;
    __syncthreads();
    if (n >= FORWARD_STATS) return;
    float total = scratch[n];
    for (int w = 1; w < warps; w++) {
        const float more = scratch[w * FORWARD_STATS + n];
        total = n < FORWARD_SUMS ? total + more : loud_max(total, more);
    }
    out[n] = total;
}
