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
    const float len = static_cast<float>(i + 1), log_len = logf(len), log_l = logf(row.l), lse = row.top + log_l;
    const bool sound = row.l == row.l; // fmaxf and fminf dropped NaN logits from top and low, l kept them
    to.sums[FORWARD_SQUARES] += row.s2 + 2.f * row.c * row.s1 + len * row.c * row.c;
    to.sums[FORWARD_LOGITS] += row.s1 + len * row.c;
    const float centred = row.s2 - row.s1 * row.s1 / len;
    to.sums[FORWARD_CENTRED] += centred < 0.f ? 0.f : centred; // fmaxf would hide a NaN
    // H = ln l - u / l, both terms non-negative: no cancellation
    const float relative = (log_l - row.u / row.l) / log_len;
    if (i > 0) to.sums[FORWARD_ENTROPY] += relative;
    if (i + 1 >= SHARP_KEYS) to.sums[FORWARD_SHARPNESS] += 1.f - relative;
    to.sums[FORWARD_TOP1] += 1.f / row.l;
    to.sums[FORWARD_DISTANCE] += sound ? static_cast<float>(i - row.best) : row.l;
    to.top = loud_max(to.top, sound ? row.top : row.l);
    to.depth = loud_max(to.depth, sound ? -row.low : row.l);
    to.bracket = loud_max(to.bracket, fmaxf(lse - row.top - log_len, row.top - lse)); // (2.5)
    return lse;
}

// Adds a block's threads up and writes its partial row; `scratch` holds FORWARD_SUMS * 32 floats.
__device__ __forceinline__ void write_forward_stats(ForwardStats& own, float* scratch, float* __restrict__ out) {
    block_sum(own.sums, scratch);
    const float top = block_max(own.top, scratch), depth = block_max(own.depth, scratch), bracket = block_max(own.bracket, scratch);
    if (threadIdx.x != 0) return;
    for (int n = 0; n < FORWARD_SUMS; n++) out[n] = own.sums[n];
    out[FORWARD_TOP] = top, out[FORWARD_DEPTH] = depth, out[FORWARD_BRACKET] = bracket;
}
