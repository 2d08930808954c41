// QK-norm: RMSNorm of every head's query and key vector, with a gain [dh] each, before any rotation. Values pass.
#include "common.cuh"

// One warp a vector; the lane keeps columns lane, lane + 32, ...: head widths up to 128.
#define PER_LANE 4
#define QK_WARPS 8

// qkv, out [N, 3 * H * dh] (query, key, value blocks); gain_q, gain_k [dh]; rstd [N, 2, H] (query, key).
// Launch: block 256, grid = any number of blocks.
template <class T>
__device__ __forceinline__ void qk_norm_fwd(const T* __restrict__ qkv, const float* __restrict__ gain_q, const float* __restrict__ gain_k, T* __restrict__ out, float* __restrict__ rstd, int N,
                                            int H, int dh, float eps) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (long long item = static_cast<long long>(blockIdx.x) * QK_WARPS + warp; item < static_cast<long long>(N) * 3 * H; item += static_cast<long long>(gridDim.x) * QK_WARPS) {
        const int which = static_cast<int>(item / H % 3), head = static_cast<int>(item % H);
        const long long n = item / (3 * H);
        const T* in = qkv + item * dh;
        float v[PER_LANE] = {}, square = 0.f;
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) {
            const int c = lane + i * WARP;
            if (c < dh) v[i] = to_float(in[c]);
            square += v[i] * v[i];
        }
        float inverse = 1.f;
        if (which < 2) {
            inverse = 1.f / sqrtf(warp_sum(square) / dh + eps);
            if (lane == 0) rstd[(n * 2 + which) * H + head] = inverse;
        }
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) {
            const int c = lane + i * WARP;
            if (c >= dh) continue;
            const float gain = which == 0 ? gain_q[c] : which == 1 ? gain_k[c] : 1.f;
            out[item * dh + c] = from_float<T>(v[i] * inverse * gain);
        }
    }
}

// dout, qkv, din [N, 3 * H * dh]; din = gradient at the raw qkv; dgain [gridDim.x, 2, dh] = partial gain gradients.
// Launch: as the forward.
template <class T>
__device__ __forceinline__ void qk_norm_bwd(const T* __restrict__ dout, const T* __restrict__ qkv, const float* __restrict__ rstd, const float* __restrict__ gain_q,
                                            const float* __restrict__ gain_k, T* __restrict__ din, float* __restrict__ dgain, int N, int H, int dh) {
    SHARED(lanes, Array<float, QK_WARPS * 2 * PER_LANE * WARP>);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float to_q[PER_LANE] = {}, to_k[PER_LANE] = {};
    for (long long item = static_cast<long long>(blockIdx.x) * QK_WARPS + warp; item < static_cast<long long>(N) * 3 * H; item += static_cast<long long>(gridDim.x) * QK_WARPS) {
        const int which = static_cast<int>(item / H % 3), head = static_cast<int>(item % H);
        const long long n = item / (3 * H);
        const float inverse = which < 2 ? rstd[(n * 2 + which) * H + head] : 1.f;
        float unit[PER_LANE] = {}, pull[PER_LANE] = {}, along = 0.f;
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) {
            const int c = lane + i * WARP;
            if (c >= dh) continue;
            pull[i] = to_float(dout[item * dh + c]);
            if (which == 2) continue;
            unit[i] = to_float(qkv[item * dh + c]) * inverse;
            if (which == 0) {
                to_q[i] += pull[i] * unit[i];
                pull[i] *= gain_q[c];
            } else {
                to_k[i] += pull[i] * unit[i];
                pull[i] *= gain_k[c];
            }
            along += pull[i] * unit[i];
        }
        along = warp_sum(along) / dh; // zero for values: `unit` is
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) {
            const int c = lane + i * WARP;
            if (c < dh) din[item * dh + c] = from_float<T>(inverse * (pull[i] - unit[i] * along));
        }
    }
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) {
        lanes[(warp * 2 + 0) * PER_LANE * WARP + lane + i * WARP] = to_q[i];
        lanes[(warp * 2 + 1) * PER_LANE * WARP + lane + i * WARP] = to_k[i];
    }
    __syncthreads();
    for (int c = threadIdx.x; c < 2 * dh; c += blockDim.x) {
        const int which = c / dh, column = c % dh;
        float sum = 0.f;
        for (int w = 0; w < QK_WARPS; w++) sum += lanes[(w * 2 + which) * PER_LANE * WARP + column];
        dgain[static_cast<size_t>(blockIdx.x) * 2 * dh + c] = sum;
    }
}

#define EXPORT_QK_NORM_FWD(NAME, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) NAME(                                                             \
        const T* qkv, const float* gain_q, const float* gain_k, T* out, float* rstd, int N, int H, int dh, float eps) { \
        qk_norm_fwd<T>(qkv, gain_q, gain_k, out, rstd, N, H, dh, eps);                                                  \
    }
EXPORT_QK_NORM_FWD(qk_norm_fwd_f32, float)
EXPORT_QK_NORM_FWD(qk_norm_fwd_bf16, bf16)

#define EXPORT_QK_NORM_BWD(NAME, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) NAME(                                                             \
        const T* dout, const T* qkv, const float* rstd, const float* gain_q, const float* gain_k, T* din,               \
        float* dgain, int N, int H, int dh) {                                                                           \
        qk_norm_bwd<T>(dout, qkv, rstd, gain_q, gain_k, din, dgain, N, H, dh);                                          \
    }
EXPORT_QK_NORM_BWD(qk_norm_bwd_f32, float)
EXPORT_QK_NORM_BWD(qk_norm_bwd_bf16, bf16)
