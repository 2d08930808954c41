// One launch updates every parameter: AdamW or SGD over a table of chunks, the global-norm clip applied inside, and
// per slice (a head of W_Q or W_K, its bias slice included) all the squared norms and inner products of the step.
#include "common.cuh"

// A window of `rows` x `cols` elements with row stride `stride`, the same in all four arrays; 56 bytes, as the
// library's DeviceChunk. The library cuts tensors so that no chunk spans two slices, orders the chunks by slice
// and gives chunks outside every slice the last place and slice = -1.
struct Chunk {
    float* param;
    const float* grad;
    float* m;
    float* v; // unused by sgd; m too when momentum is 0
    u32 rows, cols, stride;
    u32 group; // whose learning-rate multiplier applies
    u32 decay; // 1: weight decay applies
    int slice;
};
static_assert(sizeof(Chunk) == 56, "the layout of the library's DeviceChunk");

#define SLICE_STATS 7 // sum g^2, max |g|, sum w^2, sum d^2, <w,g>, <w,d>, <g,d>

__device__ __forceinline__ size_t chunk_offset(const Chunk& k, u32 e) {
    return k.rows == 1 ? e : static_cast<size_t>(e / k.cols) * k.stride + e % k.cols;
}

// Whether the chunk is one row that starts at a multiple of four elements in each array: then four go at a time.
__device__ __forceinline__ bool is_wide(const Chunk& k) {
    const u64 all = reinterpret_cast<u64>(k.param) | reinterpret_cast<u64>(k.grad) | reinterpret_cast<u64>(k.m) | reinterpret_cast<u64>(k.v);
    return k.rows == 1 && (all & 15) == 0;
}

// One step's constants, which the host sends ahead of it: no launch depends on them. AdamW: decoupled decay, w -= lr (m^ /
// (sqrt v^ + eps) + decay w), bc1 = 1 - beta1^t, bc2 = 1 - beta2^t. SGD: beta1 is the momentum, m = beta1 m + g, w -= lr (m +
// decay w). max_norm: of the gradient, 0 for no limit. 32 bytes, then a learning-rate multiplier for each group.
struct Step {
    float lr, beta1, beta2, eps, decay, bc1, bc2, max_norm;
};
static_assert(sizeof(Step) == 32, "the layout of the library's constants");

// partial[chunk] = sum of g^2 over the chunk. Launch: block 256, grid = chunks.
extern "C" __global__ void __launch_bounds__(256) grad_norm_partials(const Chunk* __restrict__ chunks, float* __restrict__ partial) {
    SHARED(scratch, Array<float, WARP>);
    const Chunk k = chunks[blockIdx.x];
    const u32 len = k.rows * k.cols;
    float sum[1] = {0.f};
    const u32 fours = is_wide(k) ? len / 4 : 0;
#pragma unroll 4
    for (u32 f = threadIdx.x; f < fours; f += blockDim.x) {
        float g[4];
        load4(k.grad + 4 * f, g);
        for (int i = 0; i < 4; i++) sum[0] += g[i] * g[i];
    }
    for (u32 e = 4 * fours + threadIdx.x; e < len; e += blockDim.x) {
        const float g = k.grad[chunk_offset(k, e)];
        sum[0] += g * g;
    }
    block_sum(sum, scratch);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum[0];
}

// clip[0] = global gradient norm, clip[1] = min(1, max_norm / norm), or 1 when max_norm <= 0. Added in float64 in a
// fixed order. Launch: block 256, grid 1.
extern "C" __global__ void __launch_bounds__(256) grad_norm_finish(const float* __restrict__ partial, float* __restrict__ clip, int chunks, const Step* __restrict__ step) {
    SHARED(lanes, Array<double, 256>);
    const float max_norm = step->max_norm;
    double sum = 0.0;
    for (int i = threadIdx.x; i < chunks; i += blockDim.x) sum += partial[i];
    lanes[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half > 0; half >>= 1) {
        if (static_cast<int>(threadIdx.x) < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        const float norm = static_cast<float>(sqrt(lanes[0]));
        clip[0] = norm;
        clip[1] = max_norm > 0.f && !(norm <= max_norm) ? max_norm / norm : 1.f; // a NaN norm makes a NaN step
    }
}

enum { ADAMW = 0, SGD = 1 };

// Sums over a chunk: squares and inner products of gradient, weight and step.
struct Sums {
    float gg, peak, ww, dd, wg, wd, gd;
};

// One element: w, m, v become the new ones (kind: see above), the sums take the step in.
__device__ __forceinline__ void advance(float& w, float raw, float& m, float& v, const Step& s, int kind, float scale, float lr, float decay, float root_bc2, Sums& sums) {
    const float g = raw * scale;
    float direction;
    if (kind == ADAMW) {
        m = s.beta1 * m + (1.f - s.beta1) * g;
        v = s.beta2 * v + (1.f - s.beta2) * g * g;
        direction = (m / s.bc1) / (sqrtf(v) / root_bc2 + s.eps);
    } else {
        m = s.beta1 * m + g; // without momentum m is zero and stays unused
        direction = m;
    }
    const float next = w - lr * (direction + decay * w), d = next - w;
    sums.gg += raw * raw, sums.peak = loud_max(sums.peak, fabsf(raw)), sums.ww += w * w, sums.dd += d * d;
    sums.wg += w * raw, sums.wd += w * d, sums.gd += raw * d;
    w = next;
}

// Updates the chunk in place; partial [chunks, 7] gets the slice statistics, of the gradient before clipping and of
// the step d = w' - w as rounded, so that |w'|^2 - |w|^2 = 2 <w,d> + |d|^2 holds of the stored weights (2.4).
// `step` [8 + groups]: a Step, then the multipliers. Launch: block 256, grid = chunks.
__device__ __forceinline__ void optimizer_step(const Chunk* __restrict__ chunks, const float* __restrict__ step, const float* __restrict__ clip, float* __restrict__ partial, int kind) {
    SHARED(scratch, Array<float, 6 * WARP>);
    const Chunk k = chunks[blockIdx.x];
    const Step s = *reinterpret_cast<const Step*>(step);
    const float* multipliers = step + sizeof(Step) / sizeof(float);
    const u32 len = k.rows * k.cols;
    const float scale = clip[1], lr = s.lr * multipliers[k.group], decay = k.decay ? s.decay : 0.f;
    const float root_bc2 = sqrtf(s.bc2);
    const bool first = kind == ADAMW || s.beta1 != 0.f, second = kind == ADAMW; // which moments there are
    Sums t = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
    const u32 fours = is_wide(k) ? len / 4 : 0;
    for (u32 f = threadIdx.x; f < fours; f += blockDim.x) {
        const u32 at = 4 * f;
        float g[4], w[4], m[4] = {}, v[4] = {};
        load4(k.grad + at, g);
        load4(k.param + at, w);
        if (first) load4(k.m + at, m);
        if (second) load4(k.v + at, v);
#pragma unroll
        for (int i = 0; i < 4; i++) advance(w[i], g[i], m[i], v[i], s, kind, scale, lr, decay, root_bc2, t);
        store4(k.param + at, w);
        if (first) store4(k.m + at, m);
        if (second) store4(k.v + at, v);
    }
    for (u32 e = 4 * fours + threadIdx.x; e < len; e += blockDim.x) {
        const size_t at = chunk_offset(k, e);
        float w = k.param[at], m = first ? k.m[at] : 0.f, v = second ? k.v[at] : 0.f;
        advance(w, k.grad[at], m, v, s, kind, scale, lr, decay, root_bc2, t);
        k.param[at] = w;
        if (first) k.m[at] = m;
        if (second) k.v[at] = v;
    }
    if (k.slice < 0) return; // the whole block agrees
    float sums[6] = {t.gg, t.ww, t.dd, t.wg, t.wd, t.gd};
    block_sum(sums, scratch);
    const float peak = block_max(t.peak, scratch);
    if (threadIdx.x == 0) {
        float* out = partial + static_cast<size_t>(blockIdx.x) * SLICE_STATS;
        out[0] = sums[0], out[1] = peak, out[2] = sums[1], out[3] = sums[2];
        out[4] = sums[3], out[5] = sums[4], out[6] = sums[5];
    }
}

// stats[slice, 7] = totals (column 1: maximum) over the slice's chunks, begin[slice] .. begin[slice + 1].
// Launch: block 32, grid (1, slices).
extern "C" __global__ void __launch_bounds__(32) slice_stats(const float* __restrict__ partial, const u32* __restrict__ begin, float* __restrict__ stats) {
    const int c = threadIdx.x;
    if (c >= SLICE_STATS) return;
    double total = 0.0;
    for (u32 k = begin[blockIdx.y]; k < begin[blockIdx.y + 1]; k++) {
        const float v = partial[static_cast<size_t>(k) * SLICE_STATS + c];
        total = c == 1 ? loud_max(static_cast<float>(total), v) : total + v;
    }
    stats[static_cast<size_t>(blockIdx.y) * SLICE_STATS + c] = static_cast<float>(total);
}

extern "C" __global__ void __launch_bounds__(256) adamw(const Chunk* chunks, const float* step, const float* clip, float* partial) {
    optimizer_step(chunks, step, clip, partial, ADAMW);
}

extern "C" __global__ void __launch_bounds__(256) sgd(const Chunk* chunks, const float* step, const float* clip, float* partial) {
    optimizer_step(chunks, step, clip, partial, SGD);
}
