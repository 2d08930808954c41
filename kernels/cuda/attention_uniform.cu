// Attention without a preference: each query's output is the mean of the values up to it. For reliance by ablation.
#include "common.cuh"

// o[b, i, h] = mean over j <= i of v[b, j, h] for the heads whose flag [H] is not zero; others keep what they hold.
// qkv [B * T, 3 * H * dh] (query, key, value blocks), o [B * T, H * dh]. Launch: block dh, grid (H, B).
template <class T>
__device__ __forceinline__ void attention_uniform(const T* __restrict__ qkv, const u32* __restrict__ flag, T* __restrict__ o, int H, int seq, int dh) {
    if (flag[blockIdx.x] == 0) return;
    const size_t width = static_cast<size_t>(H) * dh, column = static_cast<size_t>(blockIdx.x) * dh + threadIdx.x, start = static_cast<size_t>(blockIdx.y) * seq;
    double sum = 0.0; // of T terms in a row
    for (int i = 0; i < seq; i++) {
        sum += to_float(qkv[(start + i) * 3 * width + 2 * width + column]);
        o[(start + i) * width + column] = from_float<T>(static_cast<float>(sum / (i + 1)));
    }
}

#define EXPORT_ATTENTION_UNIFORM(NAME, T)                                                                               \
    extern "C" __global__ void __launch_bounds__(128) NAME(const T* qkv, const u32* flag, T* o, int H, int seq, int dh) { \
        attention_uniform<T>(qkv, flag, o, H, seq, dh);                                                                 \
    }
EXPORT_ATTENTION_UNIFORM(attention_uniform_f32, float)
EXPORT_ATTENTION_UNIFORM(attention_uniform_bf16, bf16)
