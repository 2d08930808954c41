// What the bf16 attention kernels share: tiles that arrive by asynchronous copies, two stages of the side that streams
// past, and how they lie in shared memory. Layouts as in attention.cuh.
#pragma once
#include "async.cuh"
#include "attention.cuh"

// How a kernel cuts a head, for products of single warps (warp_products.cuh) and of warpgroups (group_products.cuh): a block
// owns 64 rows, its warps `tiles` row tiles of 16 each. `keys` (forward) and `staged` (backward) rows of the other side
// arrive at a time, of which the backward takes `part` at once: what its registers hold. Threads and bytes of dynamic
// shared memory are repeated in ../src/attention/tiles.rs for the launch.
#define TILE_ROWS 64
template <int DH, bool GROUP>
struct ForwardTiles {
    static constexpr int threads = 128, keys = DH == 128 && !GROUP ? 32 : 64;
    static constexpr int value_stages = DH == 128 && GROUP ? 1 : 2; // of the keys there are always two
    static constexpr int blocks = GROUP && DH < 128 ? 4 : 3;        // on a multiprocessor
};
template <int DH, bool GROUP>
struct BackwardTiles {
    static constexpr int tiles = GROUP || DH == 128 ? 1 : 2, threads = 128 / tiles;
    static constexpr int staged = DH == 128 && !GROUP ? 32 : 64, part = GROUP ? 64 : 32;
    static constexpr int query_blocks = DH == 128 ? 2 : 4, key_blocks = GROUP && DH == 64 ? 3 : query_blocks; // on a multiprocessor
};

// Rows lie in shared memory without padding; their eights of columns (sixteen bytes) are permuted so that eight
// neighbouring rows' eights of one column range lie in different banks: those of a row by its place among eight rows.
// Warpgroups' instructions know rows of 64 columns at most: of wider heads, eight rows' first 64 columns are followed by
// the same rows' others. Eight rows are 8 DH elements either way. Element of row r, eight c.
template <int DH, bool GROUP = false>
__device__ __forceinline__ int swizzled(int r, int c) {
    if constexpr (GROUP && DH == 128) {
        return (r & ~7) * DH + (c & 8) * 64 + (r & 7) * 64 + (((c ^ r) & 7) << 3);
    } else {
        constexpr int SHIFT = DH >= 64 ? 0 : DH == 32 ? 1 : 2, MASK = DH >= 64 ? 7 : DH == 32 ? 3 : 1;
        return r * DH + ((c ^ (r >> SHIFT & MASK)) << 3);
    }
}
// The row of a tile's n-th sixteen bytes, as they lie in memory.
template <int DH, bool GROUP>
__device__ __forceinline__ u32 row_of_piece(u32 n) {
    if constexpr (GROUP && DH == 128) {
        return (n >> 7) * 8 + (n >> 3 & 7);
    } else {
        return n / (DH / 8);
    }
}

// A thread's part in copying tiles of ROWS rows: eight `c` of every STEP-th row from `r` on.
template <int DH, int ROWS, int THREADS, bool GROUP>
struct Copy {
    static constexpr int PIECES = DH / 8, STEP = THREADS / PIECES, TURNS = (ROWS + STEP - 1) / STEP;
    static_assert(ROWS % STEP == 0 || STEP % ROWS == 0, "whole turns, or a part of one");

    static __device__ __forceinline__ int row() { return threadIdx.x / PIECES; }
    static __device__ __forceinline__ int eight() { return threadIdx.x % PIECES; }
    // Where a thread's first piece comes from, in the tile whose first row is `first` of a head's rows.
    static __device__ __forceinline__ const bf16* from(const bf16* head, size_t stride, int first) { return head + static_cast<size_t>(first + row()) * stride + eight() * 8; }

    // Starts copying; of the tile's rows the first `left` are there, the others become zeros and are not read. `step`: bytes
    // from a row to the STEP-th after it.
    static __device__ __forceinline__ void start(bf16* tile, const bf16* __restrict__ from, size_t step, int left) {
        if (STEP > ROWS && row() >= ROWS) return;
        const char* at = reinterpret_cast<const char*>(from);
        const int r = row(), c = eight();
        if (left >= ROWS) {
#pragma unroll
            for (int n = 0; n < TURNS; n++, at += step) copy_async<16>(tile + swizzled<DH, GROUP>(r + n * STEP, c), at, true);
        } else {
#pragma unroll
            for (int n = 0; n < TURNS; n++, at += step) copy_async<16>(tile + swizzled<DH, GROUP>(r + n * STEP, c), at, r + n * STEP < left);
        }
    }
    static __device__ __forceinline__ size_t step(size_t stride) { return STEP * 2 * stride; }
};

// Turns eight columns with the eight that they turn with.
__device__ __forceinline__ void rotate_eights(float (&low)[8], float (&high)[8], const float (&co)[8], const float (&si)[8]) {
#pragma unroll
    for (int k = 0; k < 8; k++) {
        const float x = low[k], y = high[k];
        low[k] = x * co[k] - y * si[k];
        high[k] = y * co[k] + x * si[k];
    }
}
// Rotates a tile where it lies; rows past `seq` are zeros and stay so.
template <int DH, int ROWS, bool GROUP>
__device__ __forceinline__ void rotate_tile(bf16* tile, int first, int seq, const float* __restrict__ cosine, const float* __restrict__ sine) {
    constexpr int HALF = DH / 2, GROUPS = HALF / 8;
    if constexpr (DH == 128 && GROUP) {
        // A thread's eights lie whole eights of rows apart: one place is worked out. The tables' loads of two are under way together.
        constexpr int THREADS = 128, STEP = THREADS / GROUPS, TURNS = ROWS / STEP;
        static_assert(TURNS % 2 == 0 && STEP % 8 == 0, "pairs of turns");
        const int r = threadIdx.x / GROUPS, c = threadIdx.x % GROUPS, last = seq - 1 - first;
        bf16 *to_low = tile + swizzled<DH, GROUP>(r, c), *to_high = tile + swizzled<DH, GROUP>(r, c + GROUPS);
        const size_t start = static_cast<size_t>(first) * HALF + c * 8;
#pragma unroll 1
        for (int n = 0; n < TURNS; n += 2) {
            float co[2][8], si[2][8];
#pragma unroll
            for (int m = 0; m < 2; m++) {
                const size_t at = start + static_cast<size_t>(min(r + (n + m) * STEP, last)) * HALF; // zeros turn into zeros
                load8(cosine + at, co[m]);
                load8(sine + at, si[m]);
            }
#pragma unroll
            for (int m = 0; m < 2; m++, to_low += STEP * DH, to_high += STEP * DH) {
                float low[8], high[8];
                load8(to_low, low);
                load8(to_high, high);
                rotate_eights(low, high, co[m], si[m]);
                store8(to_low, low);
                store8(to_high, high);
            }
        }
    } else {
        for (int item = threadIdx.x; item < ROWS * GROUPS; item += blockDim.x) {
            const int r = item / GROUPS, c = item % GROUPS, i = first + r;
            if (i >= seq) continue;
            bf16 *to_low = tile + swizzled<DH, GROUP>(r, c), *to_high = tile + swizzled<DH, GROUP>(r, c + GROUPS);
            float low[8], high[8], co[8], si[8];
            load8(to_low, low);
            load8(to_high, high);
            load8(cosine + static_cast<size_t>(i) * HALF + c * 8, co);
            load8(sine + static_cast<size_t>(i) * HALF + c * 8, si);
            rotate_eights(low, high, co, si);
            store8(to_low, low);
            store8(to_high, high);
        }
    }
}

// Adds the squared norms of a tile's rows to `plain`, and weighted by the causal pairs that a row is in to `paired`, as
// `add_norms` does. The columns' order does not matter.
template <int DH, int ROWS, int THREADS, bool GROUP, bool KEY>
__device__ __forceinline__ void add_tile_norms(const bf16* tile, int first, int seq, float& plain, float& paired) {
    constexpr int PIECES = DH / 8, TURNS = (ROWS * PIECES + THREADS - 1) / THREADS;
    static_assert(THREADS % (8 * PIECES) == 0 || !GROUP || DH < 128, "a turn is whole eights of rows");
    const int r0 = first + row_of_piece<DH, GROUP>(threadIdx.x);
#pragma unroll
    for (int n = 0; n < TURNS; n++) {
        if (ROWS * PIECES % THREADS != 0 && n * THREADS + threadIdx.x >= ROWS * PIECES) continue;
        float v[8], square = 0.f;
        load8(tile + (n * THREADS + threadIdx.x) * 8, v);
#pragma unroll
        for (int k = 0; k < 8; k++) square += v[k] * v[k];
        const int i = r0 + n * THREADS / PIECES; // rows past `seq` are zeros
        plain += square;
        paired += static_cast<float>(KEY ? seq - i : i + 1) * square;
    }
}

// Stores a warp's fragments, rows row .. row + 16 MT of the sequence, those inside it, through the warp's own rows of a
// tile that nobody else reads any more: sixteen bytes a lane, whole lines of memory.
template <int DH, bool GROUP, int MT>
__device__ __forceinline__ void store_tile(bf16* __restrict__ head, size_t stride, bf16* own, const float (&c)[MT][DH / 8][4], const float (&factor)[MT][2], int row, int seq) {
    constexpr int PIECES = DH / 8, STEP = WARP / PIECES;
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    __syncwarp(FULL_WARP);
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < PIECES; n++) {
            const int at = swizzled<DH, GROUP>(16 * m + g, n) + 2 * t;
            store2(own + at, c[m][n][0] * factor[m][0], c[m][n][1] * factor[m][0]);
            store2(own + at + 8 * DH, c[m][n][2] * factor[m][1], c[m][n][3] * factor[m][1]);
        }
    }
    __syncwarp(FULL_WARP);
    const int r = lane / PIECES, k = lane % PIECES, left = seq - row - r;
    bf16* to = head + static_cast<size_t>(row + r) * stride + k * 8;
#pragma unroll
    for (int n = 0; n < 16 * MT / STEP; n++) {
        if (n * STEP < left) *reinterpret_cast<uint4*>(to + n * STEP * stride) = *reinterpret_cast<const uint4*>(own + swizzled<DH, GROUP>(r + n * STEP, k));
    }
}
