// Warp-wide matrix products on 16-row fragments: the tensor cores' instructions for bf16 (warp_products.cuh makes
// products of them), fused multiply-adds for float.
//
// A fragment of a 16 x 8n tile is float c[n][4]; lane 4g + t holds, for each block of eight columns,
//   c[.][0], c[.][1]: row g,     columns 2t, 2t + 1
//   c[.][2], c[.][3]: row g + 8, columns 2t, 2t + 1
// which is the accumulator layout of mma.m16n8k16. Both storage types use it, so the code around a product is one.
#pragma once
#include "common.cuh"

// Row length in shared memory of a float tile that is DH wide: padded by 16 bytes, which keeps rows 16-byte aligned and
// puts eight neighbouring rows in different banks.
template <class T, int DH>
struct Pitch {
    static constexpr int value = DH + 16 / static_cast<int>(sizeof(T));
};

// d += a b, a 16 x 16 row-major, b 16 x 8 column-major, bf16 in registers, float32 sums.
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#ifdef GROWTHPATH_EMULATION
    emu::mma_16x8x16(d, a, b0, b1);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// Four 8 x 8 tiles of bf16: lane 8i + r names row r of tile i (16 bytes, aligned); r[i] becomes the lane's two
// neighbours of tile i, row lane / 4, columns 2 (lane % 4) and the next; of its transpose for ldmatrix_transposed.
__device__ __forceinline__ void ldmatrix(u32 (&r)[4], const bf16* row) {
#ifdef GROWTHPATH_EMULATION
    emu::ldmatrix(r, row, false);
#else
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
#endif
}
__device__ __forceinline__ void ldmatrix_transposed(u32 (&r)[4], const bf16* row) {
#ifdef GROWTHPATH_EMULATION
    emu::ldmatrix(r, row, true);
#else
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
#endif
}

template <int NT>
__device__ __forceinline__ void clear(float (&c)[NT][4]) {
#pragma unroll
    for (int n = 0; n < NT; n++)
        for (int e = 0; e < 4; e++) c[n][e] = 0.f;
}

// c = a b^T: a 16 x DH, b 8 NT x DH, both rows in shared memory at pitch Pitch<float, DH>.
template <int DH, int NT>
__device__ __forceinline__ void product_nt(float (&c)[NT][4], const float* a, const float* b) {
    constexpr int LD = Pitch<float, DH>::value;
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    clear(c);
#pragma unroll 4
    for (int k = 0; k < DH; k += 4) {
        float low[4], high[4];
        load4(a + g * LD + k, low);
        load4(a + (g + 8) * LD + k, high);
#pragma unroll
        for (int n = 0; n < NT; n++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float v[4];
                load4(b + (8 * n + 2 * t + e) * LD + k, v);
#pragma unroll
                for (int i = 0; i < 4; i++) c[n][e] += low[i] * v[i], c[n][2 + e] += high[i] * v[i];
            }
        }
    }
}

// c += p b: p 16 x 8 KT as a fragment, b 8 KT x 8 NT, rows in shared memory at pitch Pitch<float, 8 NT>.
template <int KT, int NT>
__device__ __forceinline__ void product_nn(float (&c)[NT][4], const float (&p)[KT][4], const float* b) {
    constexpr int LD = Pitch<float, 8 * NT>::value;
    const int lane = threadIdx.x & 31, t = lane & 3;
#pragma unroll
    for (int k = 0; k < KT; k++) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            // column 8k + j of p sits in the quad's lane j / 2
            const int from = (lane & ~3) + j / 2;
            const float low = __shfl_sync(FULL_WARP, p[k][j & 1], from), high = __shfl_sync(FULL_WARP, p[k][2 + (j & 1)], from);
            const float* row = b + (8 * k + j) * LD + 2 * t;
#pragma unroll
            for (int n = 0; n < NT; n++) {
                const float2 v = *reinterpret_cast<const float2*>(row + 8 * n);
                c[n][0] += low * v.x, c[n][1] += low * v.y;
                c[n][2] += high * v.x, c[n][3] += high * v.y;
            }
        }
    }
}

// Sum, maximum and minimum over the four lanes that share a fragment's rows.
__device__ __forceinline__ float quad_sum(float v) {
    v += __shfl_xor_sync(FULL_WARP, v, 1);
    return v + __shfl_xor_sync(FULL_WARP, v, 2);
}
__device__ __forceinline__ float quad_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, 1));
    return fmaxf(v, __shfl_xor_sync(FULL_WARP, v, 2));
}
__device__ __forceinline__ float quad_min(float v) {
    v = fminf(v, __shfl_xor_sync(FULL_WARP, v, 1));
    return fminf(v, __shfl_xor_sync(FULL_WARP, v, 2));
}
__device__ __forceinline__ int quad_min(int v) {
    v = min(v, __shfl_xor_sync(FULL_WARP, v, 1));
    return min(v, __shfl_xor_sync(FULL_WARP, v, 2));
}

// Two neighbours at an even element.
__device__ __forceinline__ void store2(float* p, float a, float b) {
    float2 q;
    q.x = a, q.y = b;
    *reinterpret_cast<float2*>(p) = q;
}
__device__ __forceinline__ void store2(bf16* p, float a, float b) { *reinterpret_cast<u32*>(p) = pack_bf16(a, b); }
