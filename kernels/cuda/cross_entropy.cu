// Softmax cross-entropy: loss and gradient from one read and one rewrite of the logits, where a row fits shared memory;
// from two reads otherwise.
#include "async.cuh"

// logits [n, pitch], pitch a multiple of 8, of which the first V columns count (any V), replaced by (softmax - onehot(target)) * scale, the
// others by zeros; targets [n] in 0..V (anything else: that row's loss and gradient are NaN, so that it cannot pass
// unnoticed); partial [gridDim.x, 2] = sum of the losses, largest logit, over this block's rows; row_loss [n] (null:
// not wanted). The pitch keeps rows aligned for the matrix products on both sides.
// Launch: block 1024 (any multiple of 32), grid = any number of blocks P <= n.
template <class T>
__device__ __forceinline__ void cross_entropy(T* __restrict__ logits, const u32* __restrict__ targets, float* __restrict__ partial, float* __restrict__ row_loss, int n, int V, int pitch, float scale) {
    SHARED(scratch, Array<float, WARP>);
    float loss = 0.f, peak = -infinity();
    for (int r = blockIdx.x; r < n; r += gridDim.x) {
        T* row = logits + static_cast<size_t>(r) * pitch;
        float best = -infinity(), sum[1] = {0.f};
        for (int c = threadIdx.x * 8; c < V; c += blockDim.x * 8) {
            float v[8], here = -infinity();
            load8(row + c, v);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if (c + i >= V) v[i] = -infinity();
                here = fmaxf(here, v[i]);
            }
            if (here > best) {
                sum[0] *= exponential<T>(best - here); // exp(-inf) = 0 starts the sum
                best = here;
            }
            // -inf stays out of the sum (and would be inf - inf before the first finite logit); a NaN, which fmaxf
            // passes over, does not
#pragma unroll
            for (int i = 0; i < 8; i++) sum[0] += v[i] == -infinity() ? 0.f : exponential<T>(v[i] - best);
        }
        const float top = block_max(best, scratch);
        sum[0] = best == -infinity() ? sum[0] : sum[0] * exponential<T>(best - top);
        block_sum(sum, scratch);
        const float lse = top + logf(sum[0]);
        const u32 target = targets[r];
        const bool valid = target < static_cast<u32>(V);
        const float here = valid ? lse - to_float(row[valid ? target : 0]) : not_a_number();
        __syncthreads(); // the target's logit is read by all before its owner replaces it
        const float factor = valid ? scale : not_a_number();
        for (int c = threadIdx.x * 8; c < pitch; c += blockDim.x * 8) {
            float v[8];
            load8(row + c, v);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const float p = exponential<T>(v[i] - lse);
                v[i] = c + i >= V ? 0.f : (p - (static_cast<u32>(c + i) == target ? 1.f : 0.f)) * factor;
            }
            store8(row + c, v);
        }
        loss += here;
        peak = loud_max(peak, lse == lse ? top : lse); // `best` passed over a NaN logit, the sum did not
        if (row_loss && threadIdx.x == 0) row_loss[r] = here;
    }
    if (threadIdx.x == 0) partial[blockIdx.x * 2] = loss, partial[blockIdx.x * 2 + 1] = peak;
}

// Starts copying this thread's eights of a row.
template <class T>
__device__ __forceinline__ void hold(T* held, const T* __restrict__ row, int c) {
    constexpr int EACH = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < 8; i += EACH) copy_async<16>(held + c + i, row + c + i, true);
}

// Eight logits of the row, those past V as -inf.
template <class T>
__device__ __forceinline__ void load_held(const T* held, int c, int V, float (&v)[8]) {
    load8(held + c, v);
    if (c + 8 <= V) return;
    for (int i = 0; i < 8; i++) {
        if (c + i >= V) v[i] = -infinity();
    }
}

// The same with the row held in shared memory: arguments as above. A thread works on the eights that it copied itself, and
// asks for the next row's as soon as it has written this one's. Launch: as above, pitch * sizeof(T) bytes of dynamic
// shared memory.
template <class T>
__device__ __forceinline__ void cross_entropy_held(T* __restrict__ logits, const u32* __restrict__ targets, float* __restrict__ partial, float* __restrict__ row_loss, int n, int V, int pitch, float scale) {
    DYNAMIC_SHARED_ARRAY(held, 0, T, pitch);
    SHARED(scratch, Array<float, WARP>);
    const int begin = threadIdx.x * 8, step = blockDim.x * 8;
    float loss = 0.f, peak = -infinity();
    if (static_cast<int>(blockIdx.x) < n) {
        for (int c = begin; c < pitch; c += step) hold(held, logits + static_cast<size_t>(blockIdx.x) * pitch, c);
    }
    copy_commit();
    for (int r = blockIdx.x; r < n; r += gridDim.x) {
        T* row = logits + static_cast<size_t>(r) * pitch;
        copy_wait<0>();
        float best = -infinity(), sum[1] = {0.f}, v[8];
        for (int c = begin; c < V; c += step) {
            load_held(held, c, V, v);
            float here = v[0];
#pragma unroll
            for (int i = 1; i < 8; i++) here = fmaxf(here, v[i]);
            if (here > best) {
                sum[0] *= best == -infinity() ? 0.f : exponential_from<T>(best, here);
                best = here;
            }
            // Where all is -inf so far nothing is added: -inf is no number to count from. A NaN, which fmaxf passes over,
            // stays in the sum.
            const float from = best == -infinity() ? 0.f : best;
#pragma unroll
            for (int i = 0; i < 8; i++) sum[0] += exponential_from<T>(v[i], from);
        }
        const float top = block_max(best, scratch);
        sum[0] *= best == -infinity() ? 1.f : exponential_from<T>(best, top);
        block_sum(sum, scratch);
        const float lse = top + logf(sum[0]);
        const u32 target = targets[r];
        const bool valid = target < static_cast<u32>(V);
        const float here = valid ? lse - to_float(held[valid ? target : 0]) : not_a_number();
        __syncthreads(); // the target's logit is read by all before its owner asks for the next row
        const float factor = valid ? scale : not_a_number();
        const bool more = r + static_cast<int>(gridDim.x) < n;
        for (int c = begin; c < pitch; c += step) {
            load_held(held, c, V, v);
            const u32 own = target - static_cast<u32>(c);
#pragma unroll
            for (int i = 0; i < 8; i++) v[i] = exponential_from<T>(v[i], lse) * factor;
            if (own < 8) { // one thread of the block
#pragma unroll
                for (int i = 0; i < 8; i++) v[i] -= static_cast<u32>(i) == own ? factor : 0.f;
            }
            if (c + 8 > V) {
                for (int i = 0; i < 8; i++) {
                    if (c + i >= V) v[i] = 0.f;
                }
            }
            store8(row + c, v);
            if (more) hold(held, row + static_cast<size_t>(gridDim.x) * pitch, c);
        }
        copy_commit();
        loss += here;
        peak = loud_max(peak, lse == lse ? top : lse); // `best` passed over a NaN logit, the sum did not
        if (row_loss && threadIdx.x == 0) row_loss[r] = here;
    }
    copy_wait<0>();
    if (threadIdx.x == 0) partial[blockIdx.x * 2] = loss, partial[blockIdx.x * 2 + 1] = peak;
}

#define EXPORT_CROSS_ENTROPY(NAME, T)                                                                                   \
    extern "C" __global__ void __launch_bounds__(1024) NAME(                                                            \
        T* logits, const u32* targets, float* partial, float* row_loss, int n, int V, int pitch, float scale) {         \
        cross_entropy<T>(logits, targets, partial, row_loss, n, V, pitch, scale);                                       \
    }
EXPORT_CROSS_ENTROPY(cross_entropy_f32, float)
EXPORT_CROSS_ENTROPY(cross_entropy_bf16, bf16)

#define EXPORT_CROSS_ENTROPY_HELD(NAME, T)                                                                              \
    extern "C" __global__ void __launch_bounds__(1024, 2) NAME(                                                          \
        T* logits, const u32* targets, float* partial, float* row_loss, int n, int V, int pitch, float scale) {         \
        cross_entropy_held<T>(logits, targets, partial, row_loss, n, V, pitch, scale);                                  \
    }
EXPORT_CROSS_ENTROPY_HELD(cross_entropy_held_f32, float)
EXPORT_CROSS_ENTROPY_HELD(cross_entropy_held_bf16, bf16)
