// Gram matrices of a head in a probe: [2 dh, 2 dh], midpoint and step beside each other.
#include "probe.cuh"

// One 2 x 2 block between rotary planes p and q, as complex numbers z -> alpha z + beta conj(z), times fixed factors.
// tables [4][planes, planes]: minus re, minus im, plus re, plus im.
struct PlaneBlock {
    double b11, b12, b21, b22;
    __device__ __forceinline__ PlaneBlock times(const double* tables, int planes, int p, int q, double sign) const {
        const size_t size = static_cast<size_t>(planes) * planes, i = static_cast<size_t>(p) * planes + q;
        const double alpha_re = 0.5 * (b11 + b22), alpha_im = 0.5 * (b21 - b12);
        const double beta_re = 0.5 * (b11 - b22), beta_im = 0.5 * (b21 + b12);
        const double f_re = tables[i], f_im = sign * tables[size + i];
        const double g_re = tables[2 * size + i], g_im = -sign * tables[3 * size + i];
        const double a_re = alpha_re * f_re - alpha_im * f_im, a_im = alpha_re * f_im + alpha_im * f_re;
        const double c_re = beta_re * g_re - beta_im * g_im, c_im = beta_re * g_im + beta_im * g_re;
        return {a_re + c_re, c_im - a_im, a_im + c_im, a_re - c_re};
    }
};
__device__ __forceinline__ PlaneBlock plane_block(const double* m, size_t pitch, int planes) {
    return {m[0], m[planes], m[planes * pitch], m[planes * pitch + planes]};
}
__device__ __forceinline__ void store_block(double* m, size_t pitch, int planes, const PlaneBlock& b) {
    m[0] = b.b11, m[planes] = b.b12, m[planes * pitch] = b.b21, m[planes * pitch + planes] = b.b22;
}

// Key Gram matrices averaged over rotations, in place, plus the mean keys' term at the two ends. grams [3][2][H][2 dh][2 dh],
// of_means [2][H][2 dh][2 dh]. Launch: block 256, grid (H, 3).
extern "C" __global__ void __launch_bounds__(256) probe_average(double* __restrict__ grams, const double* __restrict__ of_means, const double* __restrict__ average, const double* __restrict__ scatter, int dh) {
    const int h = blockIdx.x, H = gridDim.x, x = blockIdx.y, planes = dh / 2, pitch = 2 * dh;
    const size_t size = static_cast<size_t>(pitch) * pitch;
    double* gram = grams + at(2 * x + 1, H, h) * size;
    const double* of = of_means + at(x, H, h) * size;
    for (int e = threadIdx.x; e < 4 * planes * planes; e += blockDim.x) {
        const int q = e % planes, p = e / planes % planes, block = e / (planes * planes);
        const size_t first = at(block / 2 * dh + p, pitch, block % 2 * dh + q);
        PlaneBlock m = plane_block(gram + first, pitch, planes).times(average, planes, p, q, 1.0);
        if (x < 2) {
            const PlaneBlock n = plane_block(of + first, pitch, planes).times(scatter, planes, p, q, 1.0);
            m = {m.b11 + n.b11, m.b12 + n.b12, m.b21 + n.b21, m.b22 + n.b22};
        }
        store_block(gram + first, pitch, planes, m);
    }
}

// Transpose of the average applied to matrices [H][2 dh][2 dh]: `from` to `rows` with one table, to `means` with the other.
// Launch: block 256, grid = H.
extern "C" __global__ void __launch_bounds__(256) probe_average_adjoint(const double* __restrict__ from, double* __restrict__ rows, double* __restrict__ means, const double* __restrict__ average, const double* __restrict__ scatter, int dh) {
    const int planes = dh / 2, pitch = 2 * dh;
    const size_t base = static_cast<size_t>(blockIdx.x) * pitch * pitch;
    for (int e = threadIdx.x; e < 4 * planes * planes; e += blockDim.x) {
        const int q = e % planes, p = e / planes % planes, block = e / (planes * planes);
        const size_t first = base + at(block / 2 * dh + p, pitch, block % 2 * dh + q);
        const PlaneBlock m = plane_block(from + first, pitch, planes);
        store_block(rows + first, pitch, planes, m.times(average, planes, p, q, -1.0));
        store_block(means + first, pitch, planes, m.times(scatter, planes, p, q, -1.0));
    }
}

// The sixteen inner products of query blocks (mm, ms, sm, ss) with key blocks, then the traces of the queries' mm and ss and of
// the keys'. grams [3][2][H][2 dh][2 dh], out [3][H][20]. Launch: block 256, grid (H, 3).
extern "C" __global__ void __launch_bounds__(256) probe_inners(const double* __restrict__ grams, double* __restrict__ out, int dh) {
    SHARED(scratch, Array<double, 20 * WARP>);
    const int h = blockIdx.x, H = gridDim.x, x = blockIdx.y, pitch = 2 * dh;
    const size_t size = static_cast<size_t>(pitch) * pitch;
    const double *a = grams + at(2 * x, H, h) * size, *b = grams + at(2 * x + 1, H, h) * size;
    double v[20] = {};
    for (int e = threadIdx.x; e < dh * dh; e += blockDim.x) {
        const int i = e / dh, j = e % dh;
        double l[4], r[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const size_t place = at(k / 2 * dh + i, pitch, k % 2 * dh + j);
            l[k] = a[place], r[k] = b[place];
        }
#pragma unroll
        for (int k = 0; k < 16; k++) v[k] += l[k / 4] * r[k % 4];
        if (i == j) v[16] += l[0], v[17] += l[3], v[18] += r[0], v[19] += r[3];
    }
    block_sum(v, scratch);
    if (threadIdx.x < 20) {
        double own = 0.0;
#pragma unroll
        for (int k = 0; k < 20; k++) own = k == static_cast<int>(threadIdx.x) ? v[k] : own;
        out[at(x, H, h) * 20 + threadIdx.x] = own;
    }
}

// What key planes at the start are multiplied by: d|dM|^2 by the key factors beside midpoint and step. out [H][2 dh][2 dh].
// Launch: block 256, grid = H.
extern "C" __global__ void __launch_bounds__(256) probe_pull_energy(const double* __restrict__ grams, double* __restrict__ out, double alpha, int dh) {
    const size_t pitch = 2 * dh, base = static_cast<size_t>(blockIdx.x) * pitch * pitch;
    for (int e = threadIdx.x; e < 4 * dh * dh; e += blockDim.x) {
        const int r = e / (2 * dh), c = e % (2 * dh);
        // Midpoints meet the Gram matrices of the query steps, and the other way round.
        out[base + e] = alpha * grams[base + at((r + dh) % (2 * dh), pitch, (c + dh) % (2 * dh))];
    }
}

// What planes averaged over both ends are multiplied by: the drift of |M|^2 under old and new weights. A side meets the other
// side's Gram matrices. alpha [H][2]; out [2][H][2 dh][2 dh]: columns of the old weights, then of the new.
// Launch: block 256, grid (H, 2).
extern "C" __global__ void __launch_bounds__(256) probe_pull_drift(const double* __restrict__ grams, const double* __restrict__ alpha, double* __restrict__ out, int dh) {
    const int h = blockIdx.x, H = gridDim.x, side = blockIdx.y;
    const size_t pitch = 2 * dh, size = pitch * pitch;
    double* to = out + at(side, H, h) * size;
    for (int e = threadIdx.x; e < 2 * dh * dh; e += blockDim.x) {
        const int w = e / (dh * dh), i = e / dh % dh, j = e % dh;
        const double sign = w == 0 ? -0.5 : 0.5;
        double own = 0.0;
        for (int x = 0; x < 2; x++) {
            const double* g = grams + at(2 * x + 1 - side, H, h) * size;
            const double mm = g[at(i, pitch, j)], ms = g[at(i, pitch, dh + j)], sm = g[at(dh + i, pitch, j)], ss = g[at(dh + i, pitch, dh + j)];
            own += 0.5 * (mm + sign * (ms + sm) + 0.25 * ss);
        }
        const double a = alpha[2 * h + w] * own;
        to[at(i, pitch, w * dh + j)] = a;
        to[at(dh + i, pitch, w * dh + j)] = sign * a;
    }
}
