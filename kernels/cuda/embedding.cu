// Token (and learned position) embeddings, and their gradients by segments of equal tokens: no atomics.
#include "common.cuh"

// out[n] = wte[tokens[n]] + wpe[n mod T] (wpe null: none). tokens [N] in 0..V (the library checks), wte [V, d], wpe
// [T, d] float32, out [N, d], d a multiple of 4. Launch: block 128, grid (ceil(d / 512), min(N, 65535)).
template <class T>
__device__ __forceinline__ void embedding_fwd(const u32* __restrict__ tokens, const float* __restrict__ wte, const float* __restrict__ wpe, T* __restrict__ out, int N, int d, int seq) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (c >= d) return;
    for (int n = blockIdx.y; n < N; n += gridDim.y) {
        float v[4];
        load4(wte + static_cast<size_t>(tokens[n]) * d + c, v);
        if (wpe) {
            float p[4];
            load4(wpe + static_cast<size_t>(n % seq) * d + c, p);
            for (int i = 0; i < 4; i++) v[i] += p[i];
        }
        store4(out + static_cast<size_t>(n) * d + c, v);
    }
}

#define SEGMENT_LANES 8
#define SEGMENT_COLUMNS 32

// dwte[token of s] += sum over the rows of segment s of dout. `order` [N] lists the rows sorted by token (stable);
// `segments` [2 S + 1] holds (first place in order, token) of each segment and then N, `count` [1] the number S: both come
// from the host, which made the tokens, and no launch depends on them. dout [N, d], dwte [V, d] float32, which must hold
// zeros or the tied head's gradient. d a multiple of 4. Launch: block (32, 8), grid (any, ceil(d / 128)).
template <class T>
__device__ __forceinline__ void embedding_bwd(const T* __restrict__ dout, const u32* __restrict__ order, const u32* __restrict__ segments, const u32* __restrict__ count, float* __restrict__ dwte, int d) {
    SHARED(lanes, Array<float, SEGMENT_LANES * SEGMENT_COLUMNS * 4>);
    const int c = (blockIdx.y * SEGMENT_COLUMNS + threadIdx.x) * 4;
    const u32 all = *count;
    for (u32 s = blockIdx.x; s < all; s += gridDim.x) {
        const u32 first = segments[2 * s], last = segments[2 * s + 2];
        float sum[4] = {0.f, 0.f, 0.f, 0.f};
        if (c < d) {
            for (u32 k = first + threadIdx.y; k < last; k += SEGMENT_LANES) {
                float v[4];
                load4(dout + static_cast<size_t>(order[k]) * d + c, v);
                for (int i = 0; i < 4; i++) sum[i] += v[i];
            }
        }
        store4(lanes + (threadIdx.y * SEGMENT_COLUMNS + threadIdx.x) * 4, sum);
        __syncthreads();
        if (threadIdx.y == 0 && c < d) {
            float* out = dwte + static_cast<size_t>(segments[2 * s + 1]) * d + c;
            for (int l = 1; l < SEGMENT_LANES; l++) {
                float v[4];
                load4(lanes + (l * SEGMENT_COLUMNS + threadIdx.x) * 4, v);
                for (int i = 0; i < 4; i++) sum[i] += v[i];
            }
            float old[4];
            load4(out, old);
            for (int i = 0; i < 4; i++) sum[i] += old[i];
            store4(out, sum);
        }
        __syncthreads(); // before the next segment's sums
    }
}

// dwpe[t] = sum over sequences b of dout[b * T + t]. dout [B * T, d], dwpe [T, d] float32, overwritten.
// Launch: block 128, grid (ceil(d / 512), min(T, 65535)).
template <class T>
__device__ __forceinline__ void position_bwd(const T* __restrict__ dout, float* __restrict__ dwpe, int B, int seq, int d) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (c >= d) return;
    for (int t = blockIdx.y; t < seq; t += gridDim.y) {
        float sum[4] = {0.f, 0.f, 0.f, 0.f};
        for (int b = 0; b < B; b++) {
            float v[4];
            load4(dout + (static_cast<size_t>(b) * seq + t) * d + c, v);
            for (int i = 0; i < 4; i++) sum[i] += v[i];
        }
        store4(dwpe + static_cast<size_t>(t) * d + c, sum);
    }
}

#define EXPORT_EMBEDDING_FWD(NAME, T)                                                                                   \
    extern "C" __global__ void __launch_bounds__(128) NAME(                                                             \
        const u32* tokens, const float* wte, const float* wpe, T* out, int N, int d, int seq) {                         \
        embedding_fwd<T>(tokens, wte, wpe, out, N, d, seq);                                                             \
    }
EXPORT_EMBEDDING_FWD(embedding_fwd_f32, float)
EXPORT_EMBEDDING_FWD(embedding_fwd_bf16, bf16)

#define EXPORT_EMBEDDING_BWD(NAME, T)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) NAME(                                                             \
        const T* dout, const u32* order, const u32* segments, const u32* count, float* dwte, int d) {                   \
        embedding_bwd<T>(dout, order, segments, count, dwte, d);                                                        \
    }
EXPORT_EMBEDDING_BWD(embedding_bwd_f32, float)
EXPORT_EMBEDDING_BWD(embedding_bwd_bf16, bf16)

#define EXPORT_POSITION_BWD(NAME, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(128) NAME(const T* dout, float* dwpe, int B, int seq, int d) {         \
        position_bwd<T>(dout, dwpe, B, seq, d);                                                                         \
    }
EXPORT_POSITION_BWD(position_bwd_f32, float)
EXPORT_POSITION_BWD(position_bwd_bf16, bf16)
