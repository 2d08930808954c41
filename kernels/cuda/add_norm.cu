// Residual add and normalisation in one pass: h' = h + w, x = norm(h') * gain + bias, and the energies of the write.
#include "common.cuh"

// One block a row at a time, eight columns a thread in two groups of four: d is a multiple of 4, at most
// 8 * blockDim.x, so at most 8192.
#define GROUPS 2

enum { LAYER_NORM = 0, RMS_NORM = 1 };

__device__ __forceinline__ int group_column(int g) { return (threadIdx.x + g * blockDim.x) * 4; }

// h, w, hout, x [N, d] (w null: h' = h; hout null: not written); shift [d] is added to w first: the bias of the projection
// that made it (null: none); gain, bias [d] float32 (bias may be null);
// mean, rstd [N] (mean is 0 for RMS_NORM); energy [gridDim.x, 4] = this block's rows' sums of |w|^2, <w,h>, |h|^2,
// |h'|^2; wsum [gridDim.x, d] = column sums of w over this block's rows (null: not wanted).
// Launch: block = ceil(d / 8) rounded up to 32, grid = any number of blocks P <= N.
template <class T>
__device__ __forceinline__ void add_norm_fwd(const T* __restrict__ h, const T* __restrict__ w, const float* __restrict__ shift, const float* __restrict__ gain, const float* __restrict__ bias, T* __restrict__ hout,
                                             T* __restrict__ x, float* __restrict__ mean, float* __restrict__ rstd, float* __restrict__ energy, float* __restrict__ wsum, int N, int d,
                                             float eps, int kind) {
    SHARED(scratch, Array<float, 4 * WARP>);
    float gv[GROUPS][4] = {}, bv[GROUPS][4] = {}, column[GROUPS][4] = {}, sums[4] = {};
    for (int g = 0; g < GROUPS; g++) {
        const int c = group_column(g);
        if (c < d) {
            load4(gain + c, gv[g]);
            if (bias) load4(bias + c, bv[g]);
        }
    }
    for (int r = blockIdx.x; r < N; r += gridDim.x) {
        const size_t row = static_cast<size_t>(r) * d;
        float v[GROUPS][4] = {};
        float total[1] = {0.f};
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            const int c = group_column(g);
            if (c >= d) continue;
            load4(h + row + c, v[g]);
            float write[4] = {0.f, 0.f, 0.f, 0.f};
            if (w) load4(w + row + c, write);
            if (shift) { // read again for each row: kept, it would cost registers that the row needs
                float b[4];
                load4(shift + c, b);
                for (int i = 0; i < 4; i++) write[i] += b[i];
            }
            for (int i = 0; i < 4; i++) {
                const float before = v[g][i], wi = write[i], after = stored<T>(before + wi);
                sums[0] += wi * wi, sums[1] += wi * before, sums[2] += before * before, sums[3] += after * after;
                column[g][i] += wi;
                v[g][i] = after;
                total[0] += after;
            }
            if (hout) store4(hout + row + c, v[g]);
        }
        float mu = 0.f;
        if (kind == LAYER_NORM) {
            block_sum(total, scratch);
            mu = total[0] / d;
        }
        // The second moment about the mean is taken from the values in registers, so a large mean costs no digits.
        float square[1] = {0.f};
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            if (group_column(g) >= d) continue;
            for (int i = 0; i < 4; i++) {
                v[g][i] -= mu;
                square[0] += v[g][i] * v[g][i];
            }
        }
        block_sum(square, scratch);
        const float inverse = 1.f / sqrtf(square[0] / d + eps);
        if (threadIdx.x == 0) mean[r] = mu, rstd[r] = inverse;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            const int c = group_column(g);
            if (c >= d) continue;
            float y[4];
            for (int i = 0; i < 4; i++) y[i] = v[g][i] * inverse * gv[g][i] + bv[g][i];
            store4(x + row + c, y);
        }
    }
    if (wsum) {
        for (int g = 0; g < GROUPS; g++) {
            const int c = group_column(g);
            if (c < d) store4(wsum + static_cast<size_t>(blockIdx.x) * d + c, column[g]);
        }
    }
    block_sum(sums, scratch);
    if (threadIdx.x == 0) store4(energy + blockIdx.x * 4, sums);
}

// dx, dres, hout = h', dh [N, d] (dres null: zero); mean, rstd [N]; gain [d];
// dh = dres + d norm(h') . dx; dgain, dbias [gridDim.x, d] = partial sums over this block's rows (dbias may be null).
// Launch: as the forward.
template <class T>
__device__ __forceinline__ void add_norm_bwd(const T* __restrict__ dx, const T* __restrict__ dres, const T* __restrict__ hout, const float* __restrict__ mean, const float* __restrict__ rstd,
                                             const float* __restrict__ gain, T* __restrict__ dh, float* __restrict__ dgain, float* __restrict__ dbias, int N, int d, int kind) {
    SHARED(scratch, Array<float, 2 * WARP>);
    float gv[GROUPS][4] = {}, to_gain[GROUPS][4] = {}, to_bias[GROUPS][4] = {};
    for (int g = 0; g < GROUPS; g++) {
        const int c = group_column(g);
        if (c < d) load4(gain + c, gv[g]);
    }
    for (int r = blockIdx.x; r < N; r += gridDim.x) {
        const size_t row = static_cast<size_t>(r) * d;
        const float mu = mean[r], inverse = rstd[r];
        float unit[GROUPS][4] = {}, pull[GROUPS][4] = {}; // normalised h', and the gradient reaching it
        float sums[2] = {0.f, 0.f};
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            const int c = group_column(g);
            if (c >= d) continue;
            load4(hout + row + c, unit[g]);
            load4(dx + row + c, pull[g]);
            for (int i = 0; i < 4; i++) {
                unit[g][i] = (unit[g][i] - mu) * inverse;
                to_gain[g][i] += pull[g][i] * unit[g][i];
                to_bias[g][i] += pull[g][i];
                pull[g][i] *= gv[g][i];
                sums[0] += pull[g][i];
                sums[1] += pull[g][i] * unit[g][i];
            }
        }
        block_sum(sums, scratch);
        const float common = kind == LAYER_NORM ? sums[0] / d : 0.f, along = sums[1] / d;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            const int c = group_column(g);
            if (c >= d) continue;
            float y[4] = {0.f, 0.f, 0.f, 0.f};
            if (dres) load4(dres + row + c, y);
            for (int i = 0; i < 4; i++) y[i] += inverse * (pull[g][i] - common - unit[g][i] * along);
            store4(dh + row + c, y);
        }
    }
    for (int g = 0; g < GROUPS; g++) {
        const int c = group_column(g);
        if (c >= d) continue;
        store4(dgain + static_cast<size_t>(blockIdx.x) * d + c, to_gain[g]);
        if (dbias) store4(dbias + static_cast<size_t>(blockIdx.x) * d + c, to_bias[g]);
    }
}

#define EXPORT_ADD_NORM_FWD(NAME, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(1024) NAME(                                                            \
        const T* h, const T* w, const float* shift, const float* gain, const float* bias, T* hout, T* x, float* mean,   \
        float* rstd, float* energy, float* wsum, int N, int d, float eps, int kind) {                                   \
        add_norm_fwd<T>(h, w, shift, gain, bias, hout, x, mean, rstd, energy, wsum, N, d, eps, kind);                   \
    }
EXPORT_ADD_NORM_FWD(add_norm_fwd_f32, float)
EXPORT_ADD_NORM_FWD(add_norm_fwd_bf16, bf16)

#define EXPORT_ADD_NORM_BWD(NAME, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(1024) NAME(                                                            \
        const T* dx, const T* dres, const T* hout, const float* mean, const float* rstd, const float* gain, T* dh,      \
        float* dgain, float* dbias, int N, int d, int kind) {                                                           \
        add_norm_bwd<T>(dx, dres, hout, mean, rstd, gain, dh, dgain, dbias, N, d, kind);                                \
    }
EXPORT_ADD_NORM_BWD(add_norm_bwd_f32, float)
EXPORT_ADD_NORM_BWD(add_norm_bwd_bf16, bf16)
