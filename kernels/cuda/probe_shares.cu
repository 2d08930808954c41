// Inner products of a probe's gradients with the writes before a layer.
#include "probe.cuh"

// The derivative by the stream that a norm reads, from that by what it gives: g [n, dp], gain [d], rstd [n], out [n, d].
// Launch: block 256, grid = n.
extern "C" __global__ void __launch_bounds__(256) probe_through(const double* __restrict__ g, const float* __restrict__ gain, const float* __restrict__ rstd, double* __restrict__ out, int d, int dp, int centred) {
    SHARED(scratch, Array<double, WARP>);
    const size_t r = blockIdx.x;
    double mean[1] = {0.0};
    if (centred) {
        for (int i = threadIdx.x; i < d; i += blockDim.x) mean[0] += g[at(r, dp, i)] * static_cast<double>(gain[i]);
        block_sum(mean, scratch);
        mean[0] /= d;
    }
    const double scale = rstd[r];
    for (int i = threadIdx.x; i < d; i += blockDim.x) out[at(r, d, i)] = (g[at(r, dp, i)] * static_cast<double>(gain[i]) - mean[0]) * scale;
}

#define DOTS 4 // elements of a thread

// Inner products of K writes, old and new, with three gradients and with the stream h: partials [blocks][K][4] in the order
// energy . old, drift at the start . old, drift at the end . new, h . new. Launch: block 256, grid = ceil(len / 1024).
extern "C" __global__ void __launch_bounds__(256) probe_write_dots(const double* __restrict__ energy, const double* __restrict__ drift_old, const double* __restrict__ drift_new, const float* __restrict__ h, const float* __restrict__ before, const float* __restrict__ after, double* __restrict__ partials, size_t len, int writes) {
    SHARED(scratch, Array<double, 4 * WARP>);
    double g[3][DOTS], stream[DOTS];
    const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x * DOTS + threadIdx.x;
    for (int i = 0; i < DOTS; i++) {
        const size_t e = first + static_cast<size_t>(i) * blockDim.x;
        const bool inside = e < len;
        g[0][i] = inside ? energy[e] : 0.0, g[1][i] = inside ? drift_old[e] : 0.0, g[2][i] = inside ? drift_new[e] : 0.0;
        stream[i] = inside ? static_cast<double>(h[e]) : 0.0;
    }
    for (int k = 0; k < writes; k++) {
        double v[4] = {};
        for (int i = 0; i < DOTS; i++) {
            const size_t e = first + static_cast<size_t>(i) * blockDim.x;
            if (e >= len) continue;
            const double o = before[k * len + e], w = after[k * len + e];
            v[0] += g[0][i] * o, v[1] += g[1][i] * o, v[2] += g[2][i] * w, v[3] += stream[i] * w;
        }
        block_sum(v, scratch);
        if (threadIdx.x == 0) {
            for (int i = 0; i < 4; i++) partials[(static_cast<size_t>(blockIdx.x) * writes + k) * 4 + i] = v[i];
        }
    }
}

// energy . old, drift . old, drift . new over whole inputs [len], and |h|^2 [stream_len]: partials [gridDim.x][4].
// Launch: block 256, any grid.
extern "C" __global__ void __launch_bounds__(256) probe_input_dots(const double* __restrict__ energy, const double* __restrict__ drift, const double* __restrict__ before, const double* __restrict__ after, const float* __restrict__ h, double* __restrict__ partials, size_t len, size_t stream_len) {
    SHARED(scratch, Array<double, 4 * WARP>);
    double v[4] = {};
    const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x, step = static_cast<size_t>(gridDim.x) * blockDim.x;
    for (size_t e = first; e < len; e += step) v[0] += energy[e] * before[e], v[1] += drift[e] * before[e], v[2] += drift[e] * after[e];
    for (size_t e = first; e < stream_len; e += step) v[3] += static_cast<double>(h[e]) * static_cast<double>(h[e]);
    block_sum(v, scratch);
    if (threadIdx.x == 0) {
        for (int i = 0; i < 4; i++) partials[static_cast<size_t>(blockIdx.x) * 4 + i] = v[i];
    }
}

// out[c] = sum over p of partials[p, c], in order. Launch: block (32, 8), grid = ceil(C / 32).
extern "C" __global__ void __launch_bounds__(256) probe_totals(const double* __restrict__ partials, double* __restrict__ out, int P, int C) {
    SHARED(lanes, Array<double, 8 * 32>);
    const int c = blockIdx.x * 32 + threadIdx.x;
    double sum = 0.0;
    if (c < C) {
        for (int p = threadIdx.y; p < P; p += 8) sum += partials[at(p, C, c)];
    }
    lanes[threadIdx.y * 32 + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= C) return;
    for (int l = 1; l < 8; l++) sum += lanes[l * 32 + threadIdx.x];
    out[c] = sum;
}
