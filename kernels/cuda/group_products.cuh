// Products of a warpgroup (four warps, 64 rows) with tiles in shared memory: wgmma, which compute capability 9.0 alone has
// (sm_90a). Fragments are laid out as in fragment.cuh, warp w has rows 16 w and on.
#pragma once
#include "attention_tensor.cuh"

// A tile of rows of 64 in shared memory, as the tensor cores are told of it: the first byte, and the bytes from eight rows to
// the next eight; eights are permuted as `swizzled` does. + moves the first byte by sixteens.
#ifdef GROWTHPATH_EMULATION
struct Described {
    const bf16* tile;
    u32 first, eight_rows;
    Described operator+(int sixteens) const { return {tile, first + 16 * sixteens, eight_rows}; }
    // Element c of row r.
    u32 at(int r, int c) const {
        const u32 place = first + r / 8 * eight_rows + r % 8 * 128 + 2 * c;
        return tile[(place ^ (place >> 7 & 7) << 4) / 2].bits;
    }
    u32 two(int r, int c) const { return at(r, c) | at(r, c + 1) << 16; }
};
__device__ __forceinline__ Described describe_tile(const bf16* tile) { return {tile, 0, 1024}; }
#else
typedef u64 Described;
__device__ __forceinline__ Described describe_tile(const bf16* tile) {
    const u64 place = static_cast<u64>(__cvta_generic_to_shared(tile)); // a multiple of 1024
    return (place >> 4 & 0x3fff) | 1ull << 16 | static_cast<u64>(1024 / 16) << 32 | 1ull << 62; // swizzle of 128 bytes
}
#endif

// The registers of a warpgroup's products: fence before the first, after other code touched them; wait before other code does.
__device__ __forceinline__ void group_fence() {
#ifndef GROWTHPATH_EMULATION
    asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
#endif
}
__device__ __forceinline__ void group_wait() {
#ifndef GROWTHPATH_EMULATION
    asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory");
#endif
}

#define FRAGMENT_64(M, c)                                                                                               \
    M(c[0][0]), M(c[0][1]), M(c[0][2]), M(c[0][3]), M(c[1][0]), M(c[1][1]), M(c[1][2]), M(c[1][3]), M(c[2][0]), M(c[2][1]),             \
        M(c[2][2]), M(c[2][3]), M(c[3][0]), M(c[3][1]), M(c[3][2]), M(c[3][3]), M(c[4][0]), M(c[4][1]), M(c[4][2]), M(c[4][3]),         \
        M(c[5][0]), M(c[5][1]), M(c[5][2]), M(c[5][3]), M(c[6][0]), M(c[6][1]), M(c[6][2]), M(c[6][3]), M(c[7][0]), M(c[7][1]),         \
        M(c[7][2]), M(c[7][3])
#define GROUP_64                                                                                                        \
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, " \
    "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "

// c = (FIRST) or += a b^T over sixteen columns: a and b [64 x 16].
template <bool FIRST>
__device__ __forceinline__ void group_mma(float (&c)[8][4], Described a, Described b) {
#ifdef GROWTHPATH_EMULATION
    const int lane = threadIdx.x & 31, row = (threadIdx.x >> 5) * 16 + (lane >> 2), t = 2 * (lane & 3);
    const u32 left[4] = {a.two(row, t), a.two(row + 8, t), a.two(row, t + 8), a.two(row + 8, t + 8)};
    if (FIRST) clear(c);
    for (int n = 0; n < 8; n++) mma_16x8x16(c[n], left, b.two(8 * n + (lane >> 2), t), b.two(8 * n + (lane >> 2), t + 8));
#else
    if constexpr (FIRST) {
        asm volatile("{ .reg .pred p; setp.ne.b32 p, 0, 0; " GROUP_64 "%32, %33, p, 1, 1, 0, 0; }" : FRAGMENT_64("=f", c) : "l"(a), "l"(b));
    } else {
        asm volatile(GROUP_64 "%32, %33, 1, 1, 1, 0, 0;" : FRAGMENT_64("+f", c) : "l"(a), "l"(b));
    }
#endif
}
// c [64 x 64] += a b: a [64 x 16] in registers, b [16 x 64].
__device__ __forceinline__ void group_mma(float (&c)[8][4], const u32 (&a)[4], Described b) {
#ifdef GROWTHPATH_EMULATION
    const int lane = threadIdx.x & 31, t = 2 * (lane & 3);
    for (int n = 0; n < 8; n++) {
        const int column = 8 * n + (lane >> 2);
        mma_16x8x16(c[n], a, b.at(t, column) | b.at(t + 1, column) << 16, b.at(t + 8, column) | b.at(t + 9, column) << 16);
    }
#else
    asm volatile(GROUP_64 "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;" : FRAGMENT_64("+f", c) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}

// Starts c = a b^T of two tiles of 64 rows.
__device__ __forceinline__ void group_rows_times_rows(float (&c)[8][4], Described a, Described b) {
    group_mma<true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++) group_mma<false>(c, a + 2 * k, b + 2 * k);
}

// Weights p [64 x 64] rounded to bf16, the left side of a product.
struct GroupWeights {
    u32 a[4][4];
    __device__ __forceinline__ explicit GroupWeights(const float (&p)[8][4]) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
#pragma unroll
            for (int e = 0; e < 4; e++) a[k][e] = pack_bf16(p[2 * k + e / 2][e % 2 * 2], p[2 * k + e / 2][e % 2 * 2 + 1]);
        }
    }
};
// Starts c += p b, b a tile of 64 rows.
__device__ __forceinline__ void group_weights_times_rows(float (&c)[8][4], const GroupWeights& p, Described b) {
#pragma unroll
    for (int k = 0; k < 4; k++) group_mma(c, p.a[k], b + 128 * k);
}

// A tile's 64 rows as the left side of a product.
template <int DH, int MT>
struct GroupRows {
    static_assert(DH == 64 && MT == 1, "heads of 64: a row is as wide as the swizzle");
    const bf16* tile;
    __device__ __forceinline__ GroupRows(const bf16* tile, int) : tile(tile) {}
};

// How an attention kernel multiplies: four warps together (warp_products.cuh has the same for single warps). All of a block
// come to each product.
struct GroupProducts {
    static constexpr bool group = true;
    template <int DH, int MT>
    using Held = GroupRows<DH, MT>;
    template <int DH, int MT>
    using Left = GroupRows<DH, MT>;

    // What this thread wrote to shared memory becomes visible to the tensor cores; of other threads' writes, after a barrier.
    static __device__ __forceinline__ void publish() {
#ifndef GROWTHPATH_EMULATION
        asm volatile("fence.proxy.async.shared::cta;" : : : "memory");
#endif
    }
    template <int DH>
    static __device__ __forceinline__ void rows(float (&c)[1][8][4], const GroupRows<DH, 1>& a, const bf16* b) {
        group_fence();
        group_rows_times_rows(c[0], describe_tile(a.tile), describe_tile(b));
        group_wait();
    }
    template <int DH>
    static __device__ __forceinline__ void rows(float (&c)[1][8][4], const GroupRows<DH, 1>& a, const bf16* b, float (&d)[1][8][4], const GroupRows<DH, 1>& e, const bf16* f) {
        group_fence();
        group_rows_times_rows(c[0], describe_tile(a.tile), describe_tile(b));
        group_rows_times_rows(d[0], describe_tile(e.tile), describe_tile(f));
        group_wait();
    }
    template <int DH>
    static __device__ __forceinline__ void weights(float (&c)[1][8][4], const float (&p)[1][8][4], const bf16* b) {
        const GroupWeights left(p[0]);
        group_fence();
        group_weights_times_rows(c[0], left, describe_tile(b));
        group_wait();
    }
    template <int DH>
    static __device__ __forceinline__ void weights(float (&c)[1][8][4], const float (&p)[1][8][4], const bf16* b, float (&d)[1][8][4], const float (&q)[1][8][4], const bf16* e) {
        const GroupWeights left(p[0]), right(q[0]);
        group_fence();
        group_weights_times_rows(c[0], left, describe_tile(b));
        group_weights_times_rows(d[0], right, describe_tile(e));
        group_wait();
    }
};
