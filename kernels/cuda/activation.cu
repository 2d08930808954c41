// FFN activations, plain act(up) and gated act(gate) * up, with the hidden layer's energy and column sums.
#include "common.cuh"

enum { GELU = 1, RELU = 2, RELU2 = 3, SILU = 4, IDENTITY = 5 }; // the codes of ../src/activation/forms.rs

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

#define GELU_SLOPE 0.79788456080286536f // sqrt(2 / pi)
#define GELU_CUBIC 0.044715f

// act(x), and its derivative in `slope`.
__device__ __forceinline__ float activate(float x, int kind, float& slope) {
    switch (kind) {
    case GELU: { // tanh form
        // 0.5 (1 + tanh u) = sigmoid(2u): no cancellation for negative u
        const float s = sigmoid(2.f * GELU_SLOPE * (x + GELU_CUBIC * x * x * x));
        slope = s + x * s * (1.f - s) * 2.f * GELU_SLOPE * (1.f + 3.f * GELU_CUBIC * x * x);
        return x * s;
    }
    case RELU:
        slope = x > 0.f ? 1.f : 0.f;
        return x > 0.f ? x : 0.f * x; // 0 * x keeps a NaN loud
    case RELU2:
        slope = x > 0.f ? 2.f * x : 0.f;
        return x > 0.f ? x * x : 0.f * x;
    case SILU: {
        const float s = sigmoid(x);
        slope = s * (1.f + x * (1.f - s));
        return x * s;
    }
    case IDENTITY:
        slope = 1.f;
        return x;
    default: // no such activation: loud
        slope = not_a_number();
        return slope;
    }
}

// The bias of four gate columns and, when gated, of their up columns; zeros where there is none.
__device__ __forceinline__ void load_biases(const float* __restrict__ bias, int c, int f, int gated, float (&b)[2][4]) {
    for (int i = 0; i < 4; i++) b[0][i] = b[1][i] = 0.f;
    if (!bias || c >= f) return;
    load4(bias + c, b[0]);
    if (gated) load4(bias + f + c, b[1]);
}

// up [N, f], or [N, 2f] (gate block, then up block) when gated; bias, of a row's width, is added to it first (null:
// none); a [N, f]; f a multiple of 4.
// energy [gridDim.y, gridDim.x] = sum of a^2, colsum [gridDim.y, f] = column sums of a, over this block's rows and
// columns. Launch: block 128, grid (ceil(f / 512), P).
template <class T>
__device__ __forceinline__ void activation_fwd(const T* __restrict__ up, const float* __restrict__ bias, T* __restrict__ a, float* __restrict__ energy, float* __restrict__ colsum, int N, int f, int kind, int gated) {
    SHARED(scratch, Array<float, WARP>);
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    const size_t width = static_cast<size_t>(gated ? 2 : 1) * f;
    float square[1] = {0.f}, column[4] = {0.f, 0.f, 0.f, 0.f}, b[2][4];
    load_biases(bias, c, f, gated, b);
    for (int r = blockIdx.y; r < N && c < f; r += gridDim.y) {
        float x[4], slope;
        load4(up + r * width + c, x);
        for (int i = 0; i < 4; i++) x[i] = activate(x[i] + b[0][i], kind, slope);
        if (gated) {
            float u[4];
            load4(up + r * width + f + c, u);
            for (int i = 0; i < 4; i++) x[i] *= u[i] + b[1][i];
        }
        for (int i = 0; i < 4; i++) {
            x[i] = stored<T>(x[i]);
            square[0] += x[i] * x[i];
            column[i] += x[i];
        }
        store4(a + static_cast<size_t>(r) * f + c, x);
    }
    if (c < f) store4(colsum + static_cast<size_t>(blockIdx.y) * f + c, column);
    block_sum(square, scratch);
    if (threadIdx.x == 0) energy[blockIdx.y * gridDim.x + blockIdx.x] = square[0];
}

// da [N, f], up and dup as `up` above, bias as above; dupsum [gridDim.y, width] = column sums of dup over this block's rows, which is
// the bias gradient's first pass (null: not wanted). Launch: as the forward.
template <class T>
__device__ __forceinline__ void activation_bwd(const T* __restrict__ da, const T* __restrict__ up, const float* __restrict__ bias, T* __restrict__ dup, float* __restrict__ dupsum, int N, int f, int kind, int gated) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (c >= f) return;
    const size_t width = static_cast<size_t>(gated ? 2 : 1) * f;
    float to_gate[4] = {0.f, 0.f, 0.f, 0.f}, to_up[4] = {0.f, 0.f, 0.f, 0.f}, b[2][4];
    load_biases(bias, c, f, gated, b);
    for (int r = blockIdx.y; r < N; r += gridDim.y) {
        float g[4], x[4];
        load4(da + static_cast<size_t>(r) * f + c, g);
        load4(up + r * width + c, x);
        if (gated) {
            float u[4];
            load4(up + r * width + f + c, u);
            for (int i = 0; i < 4; i++) {
                float slope;
                const float value = activate(x[i] + b[0][i], kind, slope);
                x[i] = stored<T>(g[i] * (u[i] + b[1][i]) * slope);
                u[i] = stored<T>(g[i] * value);
                to_gate[i] += x[i];
                to_up[i] += u[i];
            }
            store4(dup + r * width + f + c, u);
        } else {
            for (int i = 0; i < 4; i++) {
                float slope;
                activate(x[i] + b[0][i], kind, slope);
                x[i] = stored<T>(g[i] * slope);
                to_gate[i] += x[i];
            }
        }
        store4(dup + r * width + c, x);
    }
    if (dupsum) {
        store4(dupsum + blockIdx.y * width + c, to_gate);
        if (gated) store4(dupsum + blockIdx.y * width + f + c, to_up);
    }
}

#define EXPORT_ACTIVATION_FWD(NAME, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) NAME(                                                             \
        const T* up, const float* bias, T* a, float* energy, float* colsum, int N, int f, int kind, int gated) {        \
        activation_fwd<T>(up, bias, a, energy, colsum, N, f, kind, gated);                                              \
    }
EXPORT_ACTIVATION_FWD(activation_fwd_f32, float)
EXPORT_ACTIVATION_FWD(activation_fwd_bf16, bf16)

#define EXPORT_ACTIVATION_BWD(NAME, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) NAME(                                                             \
        const T* da, const T* up, const float* bias, T* dup, float* dupsum, int N, int f, int kind, int gated) {        \
        activation_bwd<T>(da, up, bias, dup, dupsum, N, f, kind, gated);                                                \
    }
EXPORT_ACTIVATION_BWD(activation_bwd_f32, float)
EXPORT_ACTIVATION_BWD(activation_bwd_bf16, bf16)
