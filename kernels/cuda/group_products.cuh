// Products of a warpgroup (four warps, 64 rows) with tiles in shared memory: wgmma, which compute capability 9.0 alone has
// (sm_90a). Fragments are laid out as in fragment.cuh, warp w has rows 16 w and on.
#pragma once
#include "attention_tensor.cuh"

// A tile in shared memory, as the tensor cores are told of it: its first byte, the bytes from a row's first columns to its
// others (leading; only of tiles whose columns become the result's) and from eight rows to the next eight (stride), and how
// sixteens of bytes are permuted. What is added moves the first byte by sixteens. The emulator reads the same 64 bits.
typedef u64 Described;

__device__ __forceinline__ u64 shared_address(const bf16* at) {
#ifdef GROWTHPATH_EMULATION
    return emu::shared_address(at);
#else
    return static_cast<u64>(__cvta_generic_to_shared(at));
#endif
}

// What `swizzled<DH, true>` lays out, from an eight of rows on that is a multiple of 8 SPAN bytes from the start.
template <int DH>
struct Tile {
    static constexpr int SPAN = DH < 64 ? 2 * DH : 128; // bytes of a row that lie together, and are permuted
    static constexpr int STRIDE = 16 * DH, OTHERS = 8 * SPAN; // bytes to the next eight rows, to the same rows' others
    static constexpr u64 PERMUTED = SPAN == 128 ? 1 : SPAN == 64 ? 2 : 3;

    static __device__ __forceinline__ Described describe(const bf16* tile, int leading = 16) {
        return (shared_address(tile) >> 4 & 0x3fff) | static_cast<u64>(leading / 16) << 16 | static_cast<u64>(STRIDE / 16) << 32 | PERMUTED << 62;
    }
    static __device__ __forceinline__ Described describe_transposed(const bf16* tile) { return describe(tile, DH == 128 ? OTHERS : 16); }
    // To the k-th sixteen columns, and the k-th sixteen rows.
    static __device__ __forceinline__ constexpr int columns(int k) { return 32 * k / SPAN * (OTHERS / 16) + 32 * k % SPAN / 16; }
    static __device__ __forceinline__ constexpr int rows(int k) { return 2 * STRIDE / 16 * k; }
};

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

#define FRAGMENT_8(M, c, n) M(c[n][0]), M(c[n][1]), M(c[n][2]), M(c[n][3])
#define FRAGMENT_16(M, c, n) FRAGMENT_8(M, c, n), FRAGMENT_8(M, c, n + 1)
#define FRAGMENT_32(M, c, n) FRAGMENT_16(M, c, n), FRAGMENT_16(M, c, n + 2)
#define FRAGMENT_64(M, c, n) FRAGMENT_32(M, c, n), FRAGMENT_32(M, c, n + 4)
#define FRAGMENT_128(M, c, n) FRAGMENT_64(M, c, n), FRAGMENT_64(M, c, n + 8)
#define GROUP_N(N) "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 "
#define NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_32 NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64                                                                                                        \
    NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, " \
             "%55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WEIGHTS(a) "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

// c [64 x 64] = (FIRST) or += a b^T over sixteen columns: a and b [64 x 16].
template <bool FIRST>
__device__ __forceinline__ void group_mma(float (&c)[8][4], Described a, Described b) {
#ifdef GROWTHPATH_EMULATION
    if (FIRST) clear(c);
    emu::group_mma<false>(c, a, b);
#else
    if constexpr (FIRST) {
        asm volatile("{ .reg .pred p; setp.ne.b32 p, 0, 0; " GROUP_N("64") "{" NAMES_32 "}, %32, %33, p, 1, 1, 0, 0; }" : FRAGMENT_64("=f", c, 0) : "l"(a), "l"(b));
    } else {
        asm volatile(GROUP_N("64") "{" NAMES_32 "}, %32, %33, 1, 1, 1, 0, 0;" : FRAGMENT_64("+f", c, 0) : "l"(a), "l"(b));
    }
#endif
}
// The same, a in registers.
template <bool FIRST>
__device__ __forceinline__ void group_mma(float (&c)[8][4], const u32 (&a)[4], Described b, Flag<FIRST>) {
#ifdef GROWTHPATH_EMULATION
    if (FIRST) clear(c);
    emu::group_mma<false>(c, a, b);
#else
    if constexpr (FIRST) {
        asm volatile("{ .reg .pred p; setp.ne.b32 p, 0, 0; " GROUP_N("64") "{" NAMES_32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0; }" : FRAGMENT_64("=f", c, 0) : WEIGHTS(a), "l"(b));
    } else {
        asm volatile(GROUP_N("64") "{" NAMES_32 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;" : FRAGMENT_64("+f", c, 0) : WEIGHTS(a), "l"(b));
    }
#endif
}
// c [64 x 8 NT] += a b: a [64 x 16] in registers, b [16 x 8 NT].
template <int NT>
__device__ __forceinline__ void group_mma(float (&c)[NT][4], const u32 (&a)[4], Described b) {
#ifdef GROWTHPATH_EMULATION
    emu::group_mma<true>(c, a, b);
#else
    if constexpr (NT == 4) {
        asm volatile(GROUP_N("32") "{" NAMES_16 "}, {%16, %17, %18, %19}, %20, 1, 1, 1, 1;" : FRAGMENT_32("+f", c, 0) : WEIGHTS(a), "l"(b));
    } else if constexpr (NT == 8) {
        asm volatile(GROUP_N("64") "{" NAMES_32 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;" : FRAGMENT_64("+f", c, 0) : WEIGHTS(a), "l"(b));
    } else {
        static_assert(NT == 16, "heads of 32, 64 and 128");
        asm volatile(GROUP_N("128") "{" NAMES_64 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;" : FRAGMENT_128("+f", c, 0) : WEIGHTS(a), "l"(b));
    }
#endif
}

// A tile's 64 rows as the left side of a product.
template <int DH, int MT>
struct GroupRows {
    static_assert(MT == 1, "a warpgroup has 64 rows");
    const bf16* tile;
    __device__ __forceinline__ GroupRows(const bf16* tile, int) : tile(tile) {}
};
// The same in registers, a warp's rows from `first` on: of wide heads, where reading both sides from shared memory would keep it
// busy all the time that the product takes.
template <int DH, int MT>
struct GroupHeld {
    static_assert(MT == 1, "a warpgroup has 64 rows");
    u32 a[DH / 16][4];
    __device__ __forceinline__ GroupHeld(const bf16* tile, int first) {
        const int lane = threadIdx.x & 31;
#pragma unroll
        for (int k = 0; k < DH / 16; k++) ldmatrix(a[k], tile + first * DH + swizzled<DH, true>(lane & 15, 2 * k + (lane >> 4)));
    }
};
template <int DH, int MT>
struct HeldIfWide {
    using type = GroupRows<DH, MT>;
};
template <int MT>
struct HeldIfWide<128, MT> {
    using type = GroupHeld<128, MT>;
};

// Starts c = a b^T of two tiles of 64 rows.
template <int DH>
__device__ __forceinline__ void group_rows_times_rows(float (&c)[8][4], const GroupHeld<DH, 1>& a, const bf16* b) {
    const Described right = Tile<DH>::describe(b);
    group_mma(c, a.a[0], right, Flag<true>());
#pragma unroll
    for (int k = 1; k < DH / 16; k++) group_mma(c, a.a[k], right + Tile<DH>::columns(k), Flag<false>());
}
template <int DH>
__device__ __forceinline__ void group_rows_times_rows(float (&c)[8][4], const GroupRows<DH, 1>& a, const bf16* b) {
    const Described left = Tile<DH>::describe(a.tile), right = Tile<DH>::describe(b);
    group_mma<true>(c, left, right);
#pragma unroll
    for (int k = 1; k < DH / 16; k++) group_mma<false>(c, left + Tile<DH>::columns(k), right + Tile<DH>::columns(k));
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
template <int DH>
__device__ __forceinline__ void group_weights_times_rows(float (&c)[DH / 8][4], const GroupWeights& p, const bf16* b) {
    const Described right = Tile<DH>::describe_transposed(b);
#pragma unroll
    for (int k = 0; k < 4; k++) group_mma(c, p.a[k], right + Tile<DH>::rows(k));
}

// How an attention kernel multiplies: four warps together (warp_products.cuh has the same for single warps). All of a block
// come to each product.
struct GroupProducts {
    static constexpr bool group = true;
    template <int DH, int MT>
    using Held = typename HeldIfWide<DH, MT>::type;
    template <int DH, int MT>
    using HeldToo = Held<DH, MT>;
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
        group_rows_times_rows<DH>(c[0], a, b);
        group_wait();
    }
    template <int DH, class A>
    static __device__ __forceinline__ void rows(float (&c)[1][8][4], const A& a, const bf16* b, float (&d)[1][8][4], const A& e, const bf16* f) {
        group_fence();
        group_rows_times_rows<DH>(c[0], a, b);
        group_rows_times_rows<DH>(d[0], e, f);
        group_wait();
    }
    template <int DH>
    static __device__ __forceinline__ void weights(float (&c)[1][DH / 8][4], const float (&p)[1][8][4], const bf16* b) {
        const GroupWeights left(p[0]);
        group_fence();
        group_weights_times_rows<DH>(c[0], left, b);
        group_wait();
    }
    template <int DH>
    static __device__ __forceinline__ void weights(float (&c)[1][DH / 8][4], const float (&p)[1][8][4], const bf16* b, float (&d)[1][DH / 8][4], const float (&q)[1][8][4], const bf16* e) {
        const GroupWeights left(p[0]), right(q[0]);
        group_fence();
        group_weights_times_rows<DH>(c[0], left, b);
        group_weights_times_rows<DH>(d[0], right, e);
        group_wait();
    }
};
