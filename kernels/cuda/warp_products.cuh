// Products of a warp with tiles in shared memory (ldmatrix, mma.sync; compute capability 8.0), over several row tiles, so that a
// fragment read from shared memory serves all of them.
#pragma once
#include "attention_tensor.cuh"

// Four 8 x 8 tiles from a swizzled tile: `at` is the lane's element (`swizzled`), `pair` exchanges its eight with the one
// 2 pair further on, `more` goes on by whole groups of eight rows.
template <bool TRANSPOSED>
__device__ __forceinline__ void load_fragment(u32 (&r)[4], const bf16* tile, int at, int pair, int more) {
    const bf16* row = tile + (at ^ 16 * pair) + more;
    TRANSPOSED ? ldmatrix_transposed(r, row) : ldmatrix(r, row);
}

// The left side of a product: rows from `first` on of a tile, as register fragments, MT row tiles of 16 x DH.
template <int DH, int MT>
struct HeldRows {
    u32 a[DH / 16][MT][4];
    __device__ __forceinline__ HeldRows(const bf16* tile, int first) {
        const int lane = threadIdx.x & 31, at = swizzled<DH>(lane & 15, lane >> 4);
        tile += first * DH;
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
#pragma unroll
            for (int m = 0; m < MT; m++) load_fragment<false>(a[k][m], tile, at, k, 16 * m * DH);
        }
    }
    __device__ __forceinline__ void get(u32 (&r)[MT][4], int k) const {
#pragma unroll
        for (int m = 0; m < MT; m++) {
#pragma unroll
            for (int e = 0; e < 4; e++) r[m][e] = a[k][m][e];
        }
    }
};

// The same left in shared memory, for kernels without registers to spare.
template <int DH, int MT>
struct SharedRows {
    const bf16* rows;
    int at;
    __device__ __forceinline__ SharedRows(const bf16* tile, int first) : rows(tile + first * DH), at(swizzled<DH>(threadIdx.x & 15, threadIdx.x >> 4 & 1)) {}
    __device__ __forceinline__ void get(u32 (&r)[MT][4], int k) const {
#pragma unroll
        for (int m = 0; m < MT; m++) load_fragment<false>(r[m], rows, at, k, 16 * m * DH);
    }
};

// c = a b^T: a 16 MT x DH, b 8 NT x DH with rows in shared memory.
template <int DH, int MT, int NT, class A>
__device__ __forceinline__ void rows_times_rows(float (&c)[MT][NT][4], const A& a, const bf16* b) {
    static_assert(NT % 2 == 0, "column tiles are loaded in pairs");
    const int lane = threadIdx.x & 31, at = swizzled<DH>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
#pragma unroll
    for (int m = 0; m < MT; m++) clear(c[m]);
#pragma unroll
    for (int k = 0; k < DH / 16; k++) {
        u32 ra[MT][4];
        a.get(ra, k);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            u32 rb[4];
            load_fragment<false>(rb, b, at, k, n * 8 * DH);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_16x8x16(c[m][n], ra[m], rb[0], rb[1]);
                mma_16x8x16(c[m][n + 1], ra[m], rb[2], rb[3]);
            }
        }
    }
}

// c += p b: p 16 MT x 8 KT as fragments, rounded to bf16, b 8 KT x DH with rows in shared memory.
template <int DH, int MT, int KT>
__device__ __forceinline__ void weights_times_rows(float (&c)[MT][DH / 8][4], const float (&p)[MT][KT][4], const bf16* b) {
    static_assert(KT % 2 == 0, "tiles are used in pairs");
    const int lane = threadIdx.x & 31, at = swizzled<DH>(lane & 15, lane >> 4);
#pragma unroll
    for (int k = 0; k < KT; k += 2) {
        u32 ra[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            ra[m][0] = pack_bf16(p[m][k][0], p[m][k][1]), ra[m][1] = pack_bf16(p[m][k][2], p[m][k][3]);
            ra[m][2] = pack_bf16(p[m][k + 1][0], p[m][k + 1][1]), ra[m][3] = pack_bf16(p[m][k + 1][2], p[m][k + 1][3]);
        }
#pragma unroll
        for (int n = 0; n < DH / 8; n += 2) {
            u32 rb[4];
            load_fragment<true>(rb, b, at, n / 2, k * 8 * DH);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_16x8x16(c[m][n], ra[m], rb[0], rb[1]);
                mma_16x8x16(c[m][n + 1], ra[m], rb[2], rb[3]);
            }
        }
    }
}

// How an attention kernel multiplies: every warp for itself. (group_products.cuh has the same for warpgroups.)
struct WarpProducts {
    static constexpr bool group = false;
    // Left sides that stay the same: one is kept in registers, a second one only where there are enough.
    template <int DH, int MT>
    using Held = HeldRows<DH, MT>;
    template <int DH, int MT>
    using HeldToo = SharedRows<DH, MT>;
    template <int DH, int MT>
    using Left = SharedRows<DH, MT>;

    static __device__ __forceinline__ void publish() {}
    // a b^T of one pair of sides, or of two.
    template <int DH, int MT, int NT, class A>
    static __device__ __forceinline__ void rows(float (&c)[MT][NT][4], const A& a, const bf16* b) {
        rows_times_rows<DH>(c, a, b);
    }
    template <int DH, int MT, int NT, class A, class B>
    static __device__ __forceinline__ void rows(float (&c)[MT][NT][4], const A& a, const bf16* b, float (&d)[MT][NT][4], const B& e, const bf16* f) {
        rows_times_rows<DH>(c, a, b);
        rows_times_rows<DH>(d, e, f);
    }
    // c += p b, and d += q e.
    template <int DH, int MT, int KT>
    static __device__ __forceinline__ void weights(float (&c)[MT][DH / 8][4], const float (&p)[MT][KT][4], const bf16* b) {
        weights_times_rows<DH>(c, p, b);
    }
    template <int DH, int MT, int KT>
    static __device__ __forceinline__ void weights(float (&c)[MT][DH / 8][4], const float (&p)[MT][KT][4], const bf16* b, float (&d)[MT][DH / 8][4], const float (&q)[MT][KT][4], const bf16* e) {
        weights_times_rows<DH>(c, p, b);
        weights_times_rows<DH>(d, q, e);
    }
};
