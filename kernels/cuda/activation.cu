// FFN activations, plain act(up) and gated act(gate) * up, with the hidden layer's energy and column sums.
#include "common.cuh"

enum { GELU = 1, RELU = 2, RELU2 = 3, SILU = 4, IDENTITY = 5 }; // the codes of ../src/activation/forms.rs

template <class T>
__device__ __forceinline__ float sigmoid(float x) {
    return reciprocal<T>(1.f + exponential<T>(-x));
}

#define GELU_SLOPE 0.79788456080286536f // sqrt(2 / pi)
#define GELU_CUBIC 0.044715f

// act(x), and its derivative in `slope`.
template <class T, int KIND>
__device__ __forceinline__ float activate_one(float x, float& slope) {
    if constexpr (KIND == GELU) { // tanh form
        // 0.5 (1 + tanh u) = sigmoid(2u): no cancellation for negative u
        const float s = sigmoid<T>(2.f * GELU_SLOPE * (x + GELU_CUBIC * x * x * x));
        slope = s + x * s * (1.f - s) * 2.f * GELU_SLOPE * (1.f + 3.f * GELU_CUBIC * x * x);
        return x * s;
    } else if constexpr (KIND == RELU) {
        slope = x > 0.f ? 1.f : 0.f;
        return x > 0.f ? x : 0.f * x; // 0 * x keeps a NaN loud
    } else if constexpr (KIND == RELU2) {
        slope = x > 0.f ? 2.f * x : 0.f;
        return x > 0.f ? x * x : 0.f * x;
    } else if constexpr (KIND == SILU) {
        const float s = sigmoid<T>(x);
        slope = s * (1.f + x * (1.f - s));
        return x * s;
    } else if constexpr (KIND == IDENTITY) {
        slope = 1.f;
        return x;
    } else { // no such activation: loud
        slope = not_a_number();
        return slope;
    }
}

template <class T, int KIND, int V>
__device__ __forceinline__ void activate_each(float (&x)[V], float (&slope)[V]) {
#pragma unroll
    for (int i = 0; i < V; i++) x[i] = activate_one<T, KIND>(x[i], slope[i]);
}

// One choice for V values.
template <class T, int V>
__device__ __forceinline__ void activate(float (&x)[V], float (&slope)[V], int kind) {
    switch (kind) {
    case GELU: activate_each<T, GELU>(x, slope); break;
    case RELU: activate_each<T, RELU>(x, slope); break;
    case RELU2: activate_each<T, RELU2>(x, slope); break;
    case SILU: activate_each<T, SILU>(x, slope); break;
    case IDENTITY: activate_each<T, IDENTITY>(x, slope); break;
    default: activate_each<T, 0>(x, slope);
    }
}

// The bias of V gate columns and, when gated, of their up columns; zeros where there is none.
template <int V>
__device__ __forceinline__ void load_biases(const float* __restrict__ bias, int c, int f, bool gated, float (&b)[2][V]) {
    for (int i = 0; i < V; i++) b[0][i] = b[1][i] = 0.f;
    if (!bias || c >= f) return;
    load(bias + c, b[0]);
    if (gated) load(bias + f + c, b[1]);
}

// up [N, f], or [N, 2f] (gate block, then up block) when gated; bias, of a row's width, is added to it first (null:
// none); a [N, f]; f a multiple of 4.
// energy [gridDim.y, gridDim.x] = sum of a^2, colsum [gridDim.y, f] = column sums of a, over this block's rows and
// columns. A thread owns V columns, eight where f allows, and has several rows under way at a time.
// Launch: block 128, grid (ceil(f / (128 V)), P).
template <class T, int V, bool GATED>
__device__ __forceinline__ void activation_fwd(const T* __restrict__ up, const float* __restrict__ bias, T* __restrict__ a, float* __restrict__ energy, float* __restrict__ colsum, int N, int f, int kind) {
    SHARED(scratch, Array<float, WARP>);
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, step = gridDim.y;
    const size_t width = static_cast<size_t>(GATED ? 2 : 1) * f;
    float square[1] = {0.f}, column[V] = {}, b[2][V];
    load_biases(bias, c, f, GATED, b);
    for_groups<GATED ? 2 : 4>(blockIdx.y, c < f ? N : 0, step, [&](auto group, int first) {
        constexpr int ROWS = decltype(group)::rows;
        float x[ROWS][V];
        [[maybe_unused]] float u[ROWS][V];
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            const int r = first + n * step;
            load(up + r * width + c, x[n]);
            if constexpr (GATED) load(up + r * width + f + c, u[n]);
        }
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            const int r = first + n * step;
            float slope[V];
            for (int i = 0; i < V; i++) x[n][i] += b[0][i];
            activate<T>(x[n], slope, kind);
            for (int i = 0; i < V; i++) {
                if constexpr (GATED) x[n][i] *= u[n][i] + b[1][i];
                x[n][i] = stored<T>(x[n][i]);
                square[0] += x[n][i] * x[n][i];
                column[i] += x[n][i];
            }
            store(a + static_cast<size_t>(r) * f + c, x[n]);
        }
    });
    if (c < f) store(colsum + static_cast<size_t>(blockIdx.y) * f + c, column);
    block_sum(square, scratch);
    if (threadIdx.x == 0) energy[blockIdx.y * gridDim.x + blockIdx.x] = square[0];
}

// da [N, f], up and dup as `up` above, bias as above; dupsum [gridDim.y, width] = column sums of dup over this block's rows, which is
// the bias gradient's first pass (null: not wanted). Launch: as the forward.
template <class T, int V, bool GATED>
__device__ __forceinline__ void activation_bwd(const T* __restrict__ da, const T* __restrict__ up, const float* __restrict__ bias, T* __restrict__ dup, float* __restrict__ dupsum, int N, int f, int kind) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, step = gridDim.y;
    if (c >= f) return;
    const size_t width = static_cast<size_t>(GATED ? 2 : 1) * f;
    float to_gate[V] = {}, to_up[V] = {}, b[2][V];
    load_biases(bias, c, f, GATED, b);
    for_groups<2>(blockIdx.y, N, step, [&](auto group, int first) {
        constexpr int ROWS = decltype(group)::rows;
        float g[ROWS][V], x[ROWS][V];
        [[maybe_unused]] float u[ROWS][V];
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            const int r = first + n * step;
            load(da + static_cast<size_t>(r) * f + c, g[n]);
            load(up + r * width + c, x[n]);
            if constexpr (GATED) load(up + r * width + f + c, u[n]);
        }
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            const int r = first + n * step;
            float slope[V];
            for (int i = 0; i < V; i++) x[n][i] += b[0][i];
            activate<T>(x[n], slope, kind); // x is its value from here on
            if constexpr (GATED) {
                for (int i = 0; i < V; i++) {
                    const float other = u[n][i] + b[1][i];
                    u[n][i] = stored<T>(g[n][i] * x[n][i]);
                    to_up[i] += u[n][i];
                    slope[i] *= other;
                }
                store(dup + r * width + f + c, u[n]);
            }
            for (int i = 0; i < V; i++) {
                x[n][i] = stored<T>(g[n][i] * slope[i]);
                to_gate[i] += x[n][i];
            }
            store(dup + r * width + c, x[n]);
        }
    });
    if (dupsum) {
        store(dupsum + blockIdx.y * width + c, to_gate);
        if constexpr (GATED) store(dupsum + blockIdx.y * width + f + c, to_up);
    }
}

#define EXPORT_ACTIVATION_FWD(NAME, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) NAME(                                                             \
        const T* up, const float* bias, T* a, float* energy, float* colsum, int N, int f, int kind, int gated) {        \
        if (f % 8 == 0) {                                                                                               \
            gated ? activation_fwd<T, 8, true>(up, bias, a, energy, colsum, N, f, kind)                                 \
                  : activation_fwd<T, 8, false>(up, bias, a, energy, colsum, N, f, kind);                               \
        } else {                                                                                                        \
            gated ? activation_fwd<T, 4, true>(up, bias, a, energy, colsum, N, f, kind)                                 \
                  : activation_fwd<T, 4, false>(up, bias, a, energy, colsum, N, f, kind);                               \
        }                                                                                                               \
    }
EXPORT_ACTIVATION_FWD(activation_fwd_f32, float)
EXPORT_ACTIVATION_FWD(activation_fwd_bf16, bf16)

#define EXPORT_ACTIVATION_BWD(NAME, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) NAME(                                                             \
        const T* da, const T* up, const float* bias, T* dup, float* dupsum, int N, int f, int kind, int gated) {        \
        if (f % 8 == 0) {                                                                                               \
            gated ? activation_bwd<T, 8, true>(da, up, bias, dup, dupsum, N, f, kind)                                   \
                  : activation_bwd<T, 8, false>(da, up, bias, dup, dupsum, N, f, kind);                                 \
        } else {                                                                                                        \
            gated ? activation_bwd<T, 4, true>(da, up, bias, dup, dupsum, N, f, kind)                                   \
                  : activation_bwd<T, 4, false>(da, up, bias, dup, dupsum, N, f, kind);                                 \
        }                                                                                                               \
    }
EXPORT_ACTIVATION_BWD(activation_bwd_f32, float)
EXPORT_ACTIVATION_BWD(activation_bwd_bf16, bf16)
