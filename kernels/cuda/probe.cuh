// What a probe needs beside matrix products, in float64 (probe_*.cu): attention inputs and weights to factors of the metric, logits to
// sums over causal pairs, gradients to inner products with writes. Sums are in a fixed order; nothing is added atomically.
//
// n = S T tokens: S sequences of T, one after another. dp: columns of an attention input, padded; column d carries the
// biases. Projections have D = H dh columns a side (queries 0, keys 1); their columns are ordered
// (side, head, weights, coordinate), weights 0 old and 1 new: 4 D in all. Planes are [side][head][row][2 dh]: midpoint of old
// and new, then their step.
#pragma once
#include "common.cuh"

// Sums each of v over the block; every thread gets the totals. `scratch` holds N * 32 doubles, free again on return.
template <int N>
__device__ __forceinline__ void block_sum(double (&v)[N], double* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int i = 0; i < N; i++) {
        double w = v[i];
        for (int o = WARP / 2; o > 0; o >>= 1) w += __shfl_xor_sync(FULL_WARP, w, o);
        if (lane == 0) scratch[i * WARP + warp] = w;
    }
    __syncthreads();
    for (int i = 0; i < N; i++) {
        double w = lane < warps ? scratch[i * WARP + lane] : 0.0;
        for (int o = WARP / 2; o > 0; o >>= 1) w += __shfl_xor_sync(FULL_WARP, w, o);
        v[i] = w;
    }
    __syncthreads();
}

// Largest v of the block, NaN if there is one.
__device__ __forceinline__ double larger(double a, double b) { return b > a || b != b ? b : a; }
__device__ __forceinline__ double block_largest(double v, double* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int o = WARP / 2; o > 0; o >>= 1) v = larger(v, __shfl_xor_sync(FULL_WARP, v, o));
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    v = scratch[lane < warps ? lane : 0];
    for (int o = WARP / 2; o > 0; o >>= 1) v = larger(v, __shfl_xor_sync(FULL_WARP, v, o));
    __syncthreads();
    return v;
}

__device__ __forceinline__ size_t at(size_t row, size_t pitch, size_t column) { return row * pitch + column; }

// Replaces every element of a column by body(t, element), from the first row to the last or back, with eight loads under way at
// a time: stores into the column would hold the next load up.
template <bool BACK, class Body>
__device__ __forceinline__ void for_column(double* column, size_t pitch, int T, const Body& body) {
    for (int first = 0; first < T; first += 8) {
        double v[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int t = BACK ? T - 1 - (first + i) : first + i;
            if (first + i < T) v[i] = column[t * pitch];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int t = BACK ? T - 1 - (first + i) : first + i;
            if (first + i < T) column[t * pitch] = body(t, v[i]);
        }
    }
}
