// What the attention kernels share: tile shapes and loading for float32, the packed layout. The bf16 kernels have their
// tiles in attention_tensor.cuh.
//
// qkv is token-major [B * T, 3 * H * DH]: query block, key block, value block, each H heads of DH; o and its gradient
// are [B * T, H * DH]; lse and delta are [B, H, T]. Rotation (rotate-half) uses tables cosine, sine [T, DH / 2]: column
// j < DH / 2 turns with column j + DH / 2. Logits are post-scale, S = q . k / sqrt(DH).
#pragma once
#include "attention_stats.cuh"
#include "fragment.cuh"

// Float32: rows a block owns (16 a warp), and rows of the other side that it meets at a time; all tiles fit the 48 KiB of
// shared memory that need no opt-in.
template <int DH>
struct Shape {
    static constexpr int rows = DH == 128 ? 32 : 64;
    static constexpr int forward = DH == 128 ? 16 : DH == 64 ? 32 : 64;
    static constexpr int backward = forward / 2;
};

// Loads rows first .. first + ROWS of one head into a tile, zeros past `seq`, rotated when cosine is not null.
// `head` points at the head's columns in row 0 of the sequence, rows lie `stride` elements apart.
template <int DH, int ROWS>
__device__ __forceinline__ void load_tile(float* tile, const float* __restrict__ head, size_t stride, int first, int seq, const float* __restrict__ cosine, const float* __restrict__ sine) {
    constexpr int HALF = DH / 2, GROUPS = HALF / 4, LD = Pitch<float, DH>::value;
    for (int item = threadIdx.x; item < ROWS * GROUPS; item += blockDim.x) {
        const int r = item / GROUPS, c = item % GROUPS * 4, i = first + r;
        float low[4] = {0.f, 0.f, 0.f, 0.f}, high[4] = {0.f, 0.f, 0.f, 0.f};
        if (i < seq) {
            load4(head + i * stride + c, low);
            load4(head + i * stride + c + HALF, high);
            if (cosine) {
                float co[4], si[4];
                load4(cosine + static_cast<size_t>(i) * HALF + c, co);
                load4(sine + static_cast<size_t>(i) * HALF + c, si);
                for (int k = 0; k < 4; k++) {
                    const float x = low[k], y = high[k];
                    low[k] = x * co[k] - y * si[k];
                    high[k] = y * co[k] + x * si[k];
                }
            }
        }
        store4(tile + r * LD + c, low);
        store4(tile + r * LD + c + HALF, high);
    }
}

// Adds the squared norms of a tile's rows, as stored, to `plain`, and weighted by the causal pairs that a row is in to
// `paired`: row i of the sequence asks i + 1 keys and, as a key, is asked by seq - i rows. Rows past `seq` are zeros.
template <class T, int DH, int ROWS, bool KEY>
__device__ __forceinline__ void add_norms(const T* tile, int first, int seq, float& plain, float& paired) {
    constexpr int GROUPS = DH / 4, LD = Pitch<T, DH>::value;
    for (int item = threadIdx.x; item < ROWS * GROUPS; item += blockDim.x) {
        const int r = item / GROUPS, i = first + r;
        float v[4];
        load4(tile + r * LD + item % GROUPS * 4, v);
        const float square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3];
        plain += square;
        paired += static_cast<float>(KEY ? seq - i : i + 1) * square;
    }
}

// Turns a fragment of gradients back, rows i0 and i0 + 8 of the sequence.
template <int NT, int DH>
__device__ __forceinline__ void rotate_back(float (&c)[NT][4], int i0, int seq, const float* __restrict__ cosine, const float* __restrict__ sine) {
    static_assert(NT * 8 == DH, "a whole head");
    const int t = threadIdx.x & 3;
#pragma unroll
    for (int n = 0; n < NT / 2; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int i = i0 + (e >> 1) * 8;
            if (i >= seq) continue;
            const size_t at = static_cast<size_t>(i) * (DH / 2) + 8 * n + 2 * t + (e & 1);
            const float co = cosine[at], si = sine[at], x = c[n][e], y = c[n + NT / 2][e];
            c[n][e] = x * co + y * si;
            c[n + NT / 2][e] = y * co - x * si;
        }
    }
}

// Stores rows i0 and i0 + 8 of a fragment, those inside the sequence.
template <int NT>
__device__ __forceinline__ void store_rows(float* __restrict__ head, size_t stride, const float (&c)[NT][4], int i0, int seq, float factor0, float factor1) {
    const int t = threadIdx.x & 3;
#pragma unroll
    for (int n = 0; n < NT; n++) {
        if (i0 < seq) store2(head + i0 * stride + 8 * n + 2 * t, c[n][0] * factor0, c[n][1] * factor0);
        if (i0 + 8 < seq) store2(head + (i0 + 8) * stride + 8 * n + 2 * t, c[n][2] * factor1, c[n][3] * factor1);
    }
}
