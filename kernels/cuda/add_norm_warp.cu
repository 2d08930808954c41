// Residual add and normalisation as in add_norm.cu, for rows of up to 1024 columns: a warp owns a row at a time, so that
// rows wait for no barrier. A lane's sixteen-byte pieces of its next row are on their way to shared memory while it works on
// this one.
#include "async.cuh"

enum { LAYER_NORM = 0, RMS_NORM = 1 };

// A lane has eight columns of every 256. First of its columns in part j.
__device__ __forceinline__ int part_column(int j) { return ((threadIdx.x & 31) + j * WARP) * 8; }

// Starts copying this lane's eights of part j of a row; a lane reads only what it copied itself.
template <class T>
__device__ __forceinline__ void hold(T* held, const T* __restrict__ row, int c) {
    constexpr int EACH = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < 8; i += EACH) copy_async<16>(held + c + i, row + c + i, true);
}

// Adds the warps' columns up, in their order, and writes the block's row. `totals` holds J * 256 floats.
template <int J>
__device__ __forceinline__ void write_columns(const float (&column)[J][8], float* totals, float* __restrict__ out, int d) {
    const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int turn = 0; turn < warps; turn++) {
        __syncthreads();
        if (turn != warp) continue;
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            float sum[8] = {};
            if (turn > 0) load8(totals + c, sum);
            for (int i = 0; i < 8; i++) sum[i] += column[j][i];
            store8((turn == warps - 1 ? out : totals) + c, sum);
        }
    }
    __syncthreads();
}

// Arguments as for add_norm_fwd; d a multiple of 8, at most 256 J. Launch: block 256 (any multiple of 32), grid = any number of
// blocks P, dynamic shared memory 2 d elements a warp.
template <class T, int J>
__device__ __forceinline__ void add_norm_warp_fwd(const T* __restrict__ h, const T* __restrict__ w, const float* __restrict__ shift, const float* __restrict__ gain, const float* __restrict__ bias,
                                                  T* __restrict__ hout, T* __restrict__ x, float* __restrict__ mean, float* __restrict__ rstd, float* __restrict__ energy, float* __restrict__ wsum,
                                                  int N, int d, float eps, int kind) {
    SHARED(scratch, Array<float, 4 * WARP>);
    SHARED(totals, Array<float, J * 256>);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, stride = gridDim.x * warps;
    DYNAMIC_SHARED_ARRAY(held, 0, T, warps * 2 * d);
    T *held_h = held + warp * 2 * d, *held_w = held_h + d;
    float column[J][8] = {}, sums[4] = {};
    int r = blockIdx.x * warps + warp;
    if (r < N) {
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            hold(held_h, h + static_cast<size_t>(r) * d, c);
            if (w) hold(held_w, w + static_cast<size_t>(r) * d, c);
        }
    }
    copy_commit();
    for (; r < N; r += stride) {
        const size_t row = static_cast<size_t>(r) * d, next = row + static_cast<size_t>(stride) * d;
        const bool more = r + stride < N;
        float v[J][8] = {}, total = 0.f;
        copy_wait<0>();
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            float write[8] = {};
            load8(held_h + c, v[j]);
            if (w) load8(held_w + c, write);
            if (more) { // the next row's come while this one is worked on
                hold(held_h, h + next, c);
                if (w) hold(held_w, w + next, c);
            }
            if (shift) {
                float b[8];
                load8(shift + c, b);
                for (int i = 0; i < 8; i++) write[i] += b[i];
            }
            for (int i = 0; i < 8; i++) {
                const float before = v[j][i], wi = write[i], after = stored<T>(before + wi);
                sums[0] += wi * wi, sums[1] += wi * before, sums[2] += before * before, sums[3] += after * after;
                column[j][i] += wi;
                v[j][i] = after;
                total += after;
            }
            if (hout) store8(hout + row + c, v[j]);
        }
        copy_commit();
        const float mu = kind == LAYER_NORM ? warp_sum(total) / d : 0.f;
        // The second moment about the mean is taken from the values in registers, so a large mean costs no digits.
        float square = 0.f;
#pragma unroll
        for (int j = 0; j < J; j++) {
            if (part_column(j) >= d) continue;
            for (int i = 0; i < 8; i++) {
                v[j][i] -= mu;
                square += v[j][i] * v[j][i];
            }
        }
        const float inverse = 1.f / sqrtf(warp_sum(square) / d + eps);
        if (lane == 0) mean[r] = mu, rstd[r] = inverse;
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            float g[8], b[8] = {};
            load8(gain + c, g);
            if (bias) load8(bias + c, b);
            for (int i = 0; i < 8; i++) g[i] = v[j][i] * inverse * g[i] + b[i];
            store8(x + row + c, g);
        }
    }
    copy_wait<0>(); // the last group is empty
    if (wsum) write_columns(column, totals, wsum + static_cast<size_t>(blockIdx.x) * d, d);
    block_sum(sums, scratch);
    if (threadIdx.x == 0) store4(energy + blockIdx.x * 4, sums);
}

// Arguments as for add_norm_bwd. Launch: block 128, grid as the forward, dynamic shared memory 3 d elements a warp.
template <class T, int J>
__device__ __forceinline__ void add_norm_warp_bwd(const T* __restrict__ dx, const T* __restrict__ dres, const T* __restrict__ hout, const float* __restrict__ mean, const float* __restrict__ rstd,
                                                  const float* __restrict__ gain, T* __restrict__ dh, float* __restrict__ dgain, float* __restrict__ dbias, float* __restrict__ dwrite,
                                                  int N, int d, int kind) {
    SHARED(totals, Array<float, J * 256>);
    const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5, stride = gridDim.x * warps;
    DYNAMIC_SHARED_ARRAY(held, 0, T, warps * 3 * d);
    T *held_h = held + warp * 3 * d, *held_dx = held_h + d, *held_past = held_dx + d;
    float to_gain[J][8] = {}, to_bias[J][8] = {};
    float to_write[J][8] = {};
    int r = blockIdx.x * warps + warp;
    if (r < N) {
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            hold(held_h, hout + static_cast<size_t>(r) * d, c);
            hold(held_dx, dx + static_cast<size_t>(r) * d, c);
            if (dres) hold(held_past, dres + static_cast<size_t>(r) * d, c);
        }
    }
    copy_commit();
    for (; r < N; r += stride) {
        const size_t row = static_cast<size_t>(r) * d, next = row + static_cast<size_t>(stride) * d;
        const bool more = r + stride < N;
        const float mu = mean[r], inverse = rstd[r];
        float unit[J][8] = {}, pull[J][8] = {}; // normalised h', the gradient reaching it
        float common = 0.f, along = 0.f;
        copy_wait<0>();
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            load8(held_h + c, unit[j]);
            load8(held_dx + c, pull[j]);
            if (more) { // the next row's come while this one is worked on
                hold(held_h, hout + next, c);
                hold(held_dx, dx + next, c);
            }
            float g[8];
            load8(gain + c, g);
            for (int i = 0; i < 8; i++) {
                unit[j][i] = (unit[j][i] - mu) * inverse;
                to_gain[j][i] += pull[j][i] * unit[j][i];
                to_bias[j][i] += pull[j][i];
                pull[j][i] *= g[i];
                common += pull[j][i];
                along += pull[j][i] * unit[j][i];
            }
        }
        common = kind == LAYER_NORM ? warp_sum(common) / d : 0.f;
        along = warp_sum(along) / d;
#pragma unroll
        for (int j = 0; j < J; j++) {
            const int c = part_column(j);
            if (c >= d) continue;
            float past[8] = {}; // the gradient past this norm
            if (dres) {
                load8(held_past + c, past);
                if (more) hold(held_past, dres + next, c);
            }
            for (int i = 0; i < 8; i++) past[i] += inverse * (pull[j][i] - common - unit[j][i] * along);
            store8(dh + row + c, past);
            for (int i = 0; i < 8; i++) to_write[j][i] += stored<T>(past[i]);
        }
        copy_commit();
    }
    if (dwrite) write_columns(to_write, totals, dwrite + static_cast<size_t>(blockIdx.x) * d, d);
    copy_wait<0>(); // the last group is empty
    write_columns(to_gain, totals, dgain + static_cast<size_t>(blockIdx.x) * d, d);
    if (dbias) write_columns(to_bias, totals, dbias + static_cast<size_t>(blockIdx.x) * d, d);
}

#define EXPORT_ADD_NORM_WARP_FWD(NAME, T, J)                                                                            \
    extern "C" __global__ void __launch_bounds__(256, J <= 3 ? 3 : 2) NAME(                                             \
        const T* h, const T* w, const float* shift, const float* gain, const float* bias, T* hout, T* x, float* mean,   \
        float* rstd, float* energy, float* wsum, int N, int d, float eps, int kind) {                                   \
        add_norm_warp_fwd<T, J>(h, w, shift, gain, bias, hout, x, mean, rstd, energy, wsum, N, d, eps, kind);           \
    }
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w256_f32, float, 1)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w512_f32, float, 2)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w768_f32, float, 3)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w1024_f32, float, 4)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w256_bf16, bf16, 1)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w512_bf16, bf16, 2)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w768_bf16, bf16, 3)
EXPORT_ADD_NORM_WARP_FWD(add_norm_fwd_w1024_bf16, bf16, 4)

#define EXPORT_ADD_NORM_WARP_BWD(NAME, T, J)                                                                            \
    extern "C" __global__ void __launch_bounds__(128, J <= 3 ? 3 : 2) NAME(                                             \
        const T* dx, const T* dres, const T* hout, const float* mean, const float* rstd, const float* gain, T* dh,      \
        float* dgain, float* dbias, float* dwrite, int N, int d, int kind) {                                            \
        add_norm_warp_bwd<T, J>(dx, dres, hout, mean, rstd, gain, dh, dgain, dbias, dwrite, N, d, kind);                \
    }
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w256_f32, float, 1)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w512_f32, float, 2)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w768_f32, float, 3)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w1024_f32, float, 4)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w256_bf16, bf16, 1)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w512_bf16, bf16, 2)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w768_bf16, bf16, 3)
EXPORT_ADD_NORM_WARP_BWD(add_norm_bwd_w1024_bf16, bf16, 4)
