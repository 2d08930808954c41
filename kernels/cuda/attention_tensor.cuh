// What the bf16 attention kernels share: tiles that arrive by asynchronous copies, two stages of the side that streams
// past, and warp products over several row tiles, so that a fragment read from shared memory serves all of them.
// Layouts as in attention.cuh.
#pragma once
#include "async.cuh"
#include "attention.cuh"

// A block has four warps; a warp owns `tiles` row tiles of 16 rows. `forward` and `backward` rows of the other side
// are staged at a time, of which the backward takes `part` at once: what its registers hold. The bytes of dynamic
// shared memory are repeated in ../src/attention/tiles.rs for the launch.
#define TENSOR_THREADS 128
template <int DH>
struct Tensor {
    static constexpr int tiles = DH == 128 ? 1 : 2;
    static constexpr int rows = 4 * 16 * tiles;
    static constexpr int forward = DH == 128 ? 32 : 64;
    static constexpr int backward = DH == 128 ? 32 : 64;
    static constexpr int part = 32;
    static constexpr int pitch = Pitch<bf16, DH>::value;
    // The owned tile, and a stage of the other side, in bytes.
    static constexpr int own = rows * pitch * 2;
    static constexpr int forward_stages = 2 * forward * pitch * 2;
    static constexpr int backward_stages = 2 * backward * pitch * 2;
};

#define LOG2_E 1.44269504f
#define LN_2 0.693147181f

// 2^x, to 2^-22 of its size; subnormal results are zero.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef GROWTHPATH_EMULATION
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// Starts copying rows first .. first + ROWS of one head into a tile, zeros past `seq`; rows lie `stride` elements apart.
template <int DH, int ROWS>
__device__ __forceinline__ void stage_tile(bf16* tile, const bf16* __restrict__ head, size_t stride, int first, int seq) {
    constexpr int PIECES = DH / 8, STEP = TENSOR_THREADS / PIECES, LD = Pitch<bf16, DH>::value; // rows a turn
    static_assert(ROWS % STEP == 0, "every thread copies as much");
    const int r = threadIdx.x / PIECES, c = threadIdx.x % PIECES * 8;
    // Past the sequence nothing is read: addresses are only formed.
    const bf16* from = head + static_cast<size_t>(first + r) * stride + c;
    bf16* to = tile + r * LD + c;
#pragma unroll
    for (int turn = 0; turn < ROWS / STEP; turn++) {
        copy_async<16>(to + turn * STEP * LD, from + static_cast<size_t>(turn * STEP) * stride, first + r + turn * STEP < seq);
    }
}

// Rotates a tile where it lies; rows past `seq` are zeros and stay so.
template <int DH, int ROWS>
__device__ __forceinline__ void rotate_tile(bf16* tile, int first, int seq, const float* __restrict__ cosine, const float* __restrict__ sine) {
    constexpr int HALF = DH / 2, GROUPS = HALF / 8, LD = Pitch<bf16, DH>::value;
    for (int item = threadIdx.x; item < ROWS * GROUPS; item += TENSOR_THREADS) {
        const int r = item / GROUPS, c = item % GROUPS * 8, i = first + r;
        if (i >= seq) continue;
        float low[8], high[8], co[8], si[8];
        load8(tile + r * LD + c, low);
        load8(tile + r * LD + c + HALF, high);
        load8(cosine + static_cast<size_t>(i) * HALF + c, co);
        load8(sine + static_cast<size_t>(i) * HALF + c, si);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const float x = low[k], y = high[k];
            low[k] = x * co[k] - y * si[k];
            high[k] = y * co[k] + x * si[k];
        }
        store8(tile + r * LD + c, low);
        store8(tile + r * LD + c + HALF, high);
    }
}

// Stores a warp's fragments, rows row .. row + 16 MT of the sequence, those inside it, through the warp's own rows of a
// tile that nobody else reads any more: sixteen bytes a lane, whole lines of memory.
template <int DH, int MT>
__device__ __forceinline__ void store_tile(bf16* __restrict__ head, size_t stride, bf16* own, const float (&c)[MT][DH / 8][4], const float (&factor)[MT][2], int row, int seq) {
    constexpr int PIECES = DH / 8, LD = Pitch<bf16, DH>::value;
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    __syncwarp(FULL_WARP);
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < PIECES; n++) {
            store2(own + (16 * m + g) * LD + 8 * n + 2 * t, c[m][n][0] * factor[m][0], c[m][n][1] * factor[m][0]);
            store2(own + (16 * m + g + 8) * LD + 8 * n + 2 * t, c[m][n][2] * factor[m][1], c[m][n][3] * factor[m][1]);
        }
    }
    __syncwarp(FULL_WARP);
#pragma unroll
    for (int item = lane; item < 16 * MT * PIECES; item += WARP) {
        const int r = item / PIECES, k = item % PIECES * 8;
        if (row + r < seq) *reinterpret_cast<uint4*>(head + static_cast<size_t>(row + r) * stride + k) = *reinterpret_cast<const uint4*>(own + r * LD + k);
    }
}

// Rows of the left side of a product as register fragments, MT row tiles of 16 x DH.
template <int DH, int MT>
struct HeldRows {
    u32 a[DH / 16][MT][4];
    __device__ __forceinline__ void load(const bf16* tile) {
        const int lane = threadIdx.x & 31;
        const bf16* row = tile + (lane & 15) * Pitch<bf16, DH>::value + (lane >> 4) * 8;
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
#pragma unroll
            for (int m = 0; m < MT; m++) ldmatrix(a[k][m], row + 16 * m * Pitch<bf16, DH>::value + 16 * k);
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
    const bf16* row;
    __device__ __forceinline__ void load(const bf16* tile) {
        const int lane = threadIdx.x & 31;
        row = tile + (lane & 15) * Pitch<bf16, DH>::value + (lane >> 4) * 8;
    }
    __device__ __forceinline__ void get(u32 (&r)[MT][4], int k) const {
#pragma unroll
        for (int m = 0; m < MT; m++) ldmatrix(r[m], row + 16 * m * Pitch<bf16, DH>::value + 16 * k);
    }
};

// c = a b^T: a 16 MT x DH, b 8 NT x DH with rows in shared memory.
template <int DH, int MT, int NT, class A>
__device__ __forceinline__ void rows_times_rows(float (&c)[MT][NT][4], const A& a, const bf16* b) {
    static_assert(NT % 2 == 0, "column tiles are loaded in pairs");
    constexpr int LD = Pitch<bf16, DH>::value;
    const int lane = threadIdx.x & 31;
    const bf16* b_row = b + ((lane & 7) + (lane >> 4) * 8) * LD + (lane >> 3 & 1) * 8;
#pragma unroll
    for (int m = 0; m < MT; m++) clear(c[m]);
#pragma unroll
    for (int k = 0; k < DH / 16; k++) {
        u32 ra[MT][4];
        a.get(ra, k);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            u32 rb[4];
            ldmatrix(rb, b_row + n * 8 * LD + 16 * k);
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
    constexpr int LD = Pitch<bf16, DH>::value;
    const int lane = threadIdx.x & 31;
    const bf16* b_row = b + (lane & 15) * LD + (lane >> 4) * 8;
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
            ldmatrix_transposed(rb, b_row + k * 8 * LD + n * 8);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_16x8x16(c[m][n], ra[m], rb[0], rb[1]);
                mma_16x8x16(c[m][n + 1], ra[m], rb[2], rb[3]);
            }
        }
    }
}
