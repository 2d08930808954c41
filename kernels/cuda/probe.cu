// What a probe needs beside matrix products, in float64: attention inputs and weights to factors of the metric, logits to
// sums over causal pairs, gradients to inner products with writes. Sums are in a fixed order; nothing is added atomically.
//
// n = S T tokens: S sequences of T, one after another. dp: columns of an attention input, padded; column d carries the
// biases. Projections have D = H dh columns a side (queries 0, keys 1); their columns are ordered
// (side, head, weights, coordinate), weights 0 old and 1 new: 4 D in all. Planes are [side][head][row][2 dh]: midpoint of old
// and new, then their step.
#include "common.cuh"

#define LANES 32 // partial sums of a matrix

// Sums each of v over the block; every thread gets the totals. `scratch` holds N * 32 doubles, free again on return.
template <int N>
__device__ __forceinline__ void block_sum(double (&v)[N], double* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int i = 0; i < N; i++) {
        double w = v[i];
        for (int o = WARP / 2; o > 0; o >>= 1) w += __shfl_xor_sync(FULL_WARP, w, o);
        if (lane == 0) scratch[i * WARP + warp] = w;
    }
    __syncthreads();
    for (int i = 0; i < N; i++) {
        double w = lane < warps ? scratch[i * WARP + lane] : 0.0;
        for (int o = WARP / 2; o > 0; o >>= 1) w += __shfl_xor_sync(FULL_WARP, w, o);
        v[i] = w;
    }
    __syncthreads();
}

// Largest v of the block, NaN if there is one.
__device__ __forceinline__ double larger(double a, double b) { return b > a || b != b ? b : a; }
__device__ __forceinline__ double block_largest(double v, double* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int o = WARP / 2; o > 0; o >>= 1) v = larger(v, __shfl_xor_sync(FULL_WARP, v, o));
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    v = scratch[lane < warps ? lane : 0];
    for (int o = WARP / 2; o > 0; o >>= 1) v = larger(v, __shfl_xor_sync(FULL_WARP, v, o));
    __syncthreads();
    return v;
}

__device__ __forceinline__ size_t at(size_t row, size_t pitch, size_t column) { return row * pitch + column; }

// --- inputs and weights ------------------------------------------------------------------------------------------

// out[place, i] = in[r, i] below d, then `last[r]` (or `constant` without it), then zeros up to dp. With `slots` > 1 runs of
// `group` rows stand `slots * group` apart, this call's in the given slot.
// in [rows, d], out [.., dp]. Launch: block 256, grid = rows.
extern "C" __global__ void __launch_bounds__(256) probe_widen(const float* __restrict__ in, const float* __restrict__ last, double* __restrict__ out, double constant, int d, int dp, int group, int slots, int slot) {
    const int r = blockIdx.x, place = r / group * slots * group + slot * group + r % group;
    for (int i = threadIdx.x; i < dp; i += blockDim.x) {
        const double edge = last ? static_cast<double>(last[r]) : constant;
        out[at(place, dp, i)] = i < d ? static_cast<double>(in[at(r, d, i)]) : i == d ? edge : 0.0;
    }
}

// Turns every head's coordinates (i, i + dh/2) by its row's position. in, out [rows, C], cos, sin [T, dh/2].
// Launch: block 256, grid = rows.
extern "C" __global__ void __launch_bounds__(256) probe_rotate(const double* __restrict__ in, double* __restrict__ out, const double* __restrict__ cos, const double* __restrict__ sin, int T, int C, int dh) {
    const int r = blockIdx.x, half = dh / 2, t = r % T;
    for (int e = threadIdx.x; e < C / 2; e += blockDim.x) {
        const int p = e % half;
        const size_t first = at(r, C, static_cast<size_t>(e / half) * dh + p);
        const double re = in[first], im = in[first + half], c = cos[at(t, half, p)], s = sin[at(t, half, p)];
        out[first] = re * c - im * s;
        out[first + half] = im * c + re * s;
    }
}

// to[i] = scale[row % T] * from[i], columns first .. first + columns of rows of `pitch`; in place where from == to.
// Launch: block 256, grid = rows.
extern "C" __global__ void __launch_bounds__(256) probe_scale_rows(const double* from, double* to, const double* __restrict__ scale, int T, int pitch, int first, int columns) {
    const int r = blockIdx.x;
    const double s = scale[r % T];
    for (int i = threadIdx.x; i < columns; i += blockDim.x) to[at(r, pitch, first + i)] = s * from[at(r, pitch, first + i)];
}

// Replaces every element of a column by body(t, element), from the first row to the last or back, with eight loads under way at
// a time: stores into the column would hold the next load up.
template <bool BACK, class Body>
__device__ __forceinline__ void for_column(double* column, size_t pitch, int T, const Body& body) {
    for (int first = 0; first < T; first += 8) {
        double v[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int t = BACK ? T - 1 - (first + i) : first + i;
            if (first + i < T) v[i] = column[t * pitch];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int t = BACK ? T - 1 - (first + i) : first + i;
            if (first + i < T) column[t * pitch] = body(t, v[i]);
        }
    }
}

// Query planes of both ends from projections [2 n, 4 D]; planes [2][2][H][n][2 dh]. Launch: block 256, grid = 2 n.
extern "C" __global__ void __launch_bounds__(256) probe_query_planes(const double* __restrict__ projected, double* __restrict__ planes, const double* __restrict__ roots, int n, int T, int D, int dh) {
    const int x = blockIdx.x / n, r = blockIdx.x % n;
    const double root = roots[r % T];
    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        const int h = i / dh, c = i % dh;
        const size_t from = at(blockIdx.x, 4 * static_cast<size_t>(D), static_cast<size_t>(h) * 2 * dh + c);
        const double before = root * projected[from], after = root * projected[from + dh];
        double* to = planes + (at(2 * x, D / dh, h) * n + r) * 2 * dh + c;
        to[0] = 0.5 * (before + after);
        to[dh] = after - before;
    }
}

// Running-mean innovations of one column: y_j = scale_j (x_j - mean of the rows before it).
struct Innovation {
    double mean;
    __device__ __forceinline__ double next(double x, double scale, double inverse) {
        const double step = x - mean;
        mean += step * inverse;
        return scale * step;
    }
};

// Key planes of both ends: innovations, a thread a column. scale [T], inverse [T]: 1 / (j + 1).
// Launch: block 64, grid (ceil(D / 64), S, 2).
extern "C" __global__ void __launch_bounds__(64) probe_key_planes(const double* __restrict__ projected, double* __restrict__ planes, const double* __restrict__ scale, const double* __restrict__ inverse, int n, int T, int D, int dh) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, x = blockIdx.z;
    if (i >= D) return;
    const int h = i / dh, c = i % dh;
    const size_t first = static_cast<size_t>(blockIdx.y) * T, pitch = 4 * static_cast<size_t>(D);
    const double* from = projected + at(static_cast<size_t>(x) * n + first, pitch, 2 * static_cast<size_t>(D) + h * 2 * dh + c);
    double* to = planes + (at(2 * x + 1, D / dh, h) * n + first) * 2 * dh + c;
    Innovation middle{0.0}, step{0.0};
#pragma unroll 8
    for (int t = 0; t < T; t++) {
        const double before = from[t * pitch], after = from[t * pitch + dh];
        to[static_cast<size_t>(t) * 2 * dh] = middle.next(0.5 * (before + after), scale[t], inverse[t]);
        to[static_cast<size_t>(t) * 2 * dh + dh] = step.next(after - before, scale[t], inverse[t]);
    }
}

// The same with rotary positions: keys about their sequence's mean, times root_j, and the means [2][H][S][2 dh].
// weights [T] and their sum. Launch: as above.
extern "C" __global__ void __launch_bounds__(64) probe_key_planes_rope(const double* __restrict__ projected, double* __restrict__ planes, double* __restrict__ means, const double* __restrict__ weights, const double* __restrict__ roots, double total, int n, int T, int D, int dh) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, x = blockIdx.z, b = blockIdx.y, S = gridDim.y;
    if (i >= D) return;
    const int h = i / dh, c = i % dh;
    const size_t first = static_cast<size_t>(b) * T, pitch = 4 * static_cast<size_t>(D);
    const double* from = projected + at(static_cast<size_t>(x) * n + first, pitch, 2 * static_cast<size_t>(D) + h * 2 * dh + c);
    double* to = planes + (at(2 * x + 1, D / dh, h) * n + first) * 2 * dh + c;
    double middle = 0.0, step = 0.0;
#pragma unroll 8
    for (int t = 0; t < T; t++) {
        const double before = from[t * pitch], after = from[t * pitch + dh];
        middle += weights[t] * (0.5 * (before + after));
        step += weights[t] * (after - before);
    }
    middle /= total, step /= total;
    double* mean = means + (at(x, D / dh, h) * S + b) * 2 * dh + c;
    mean[0] = middle, mean[dh] = step;
#pragma unroll 8
    for (int t = 0; t < T; t++) {
        const double before = from[t * pitch], after = from[t * pitch + dh];
        to[static_cast<size_t>(t) * 2 * dh] = roots[t] * (0.5 * (before + after) - middle);
        to[static_cast<size_t>(t) * 2 * dh + dh] = roots[t] * (after - before - step);
    }
}

// Innovations of the inputs themselves: from, to [n, C]. Launch: block 64, grid (ceil(C / 64), S).
extern "C" __global__ void __launch_bounds__(64) probe_innovations(const double* __restrict__ from, double* __restrict__ to, const double* __restrict__ scale, const double* __restrict__ inverse, int T, int C) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= C) return;
    const size_t first = at(static_cast<size_t>(blockIdx.y) * T, C, c);
    Innovation column{0.0};
#pragma unroll 8
    for (int t = 0; t < T; t++) to[first + static_cast<size_t>(t) * C] = column.next(from[first + static_cast<size_t>(t) * C], scale[t], inverse[t]);
}

// Transpose of the innovations as a linear map, in place: columns first .. first + C of g [n, pitch].
// Launch: block 64, grid (ceil(C / 64), S).
extern "C" __global__ void __launch_bounds__(64) probe_key_adjoint(double* __restrict__ g, const double* __restrict__ scale, const double* __restrict__ inverse, int T, int pitch, int first, int C) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= C) return;
    double* column = g + at(static_cast<size_t>(blockIdx.y) * T, pitch, first + c);
    double later = 0.0;
    for_column<true>(column, pitch, T, [&](int t, double v) {
        const double own = scale[t] * v, out = own - later;
        // Row t enters the mean of every later row with one over the number of rows before that.
        if (t > 0) later += own * inverse[t - 1];
        return out;
    });
}

// The same with rotary positions; means [C / width][S][width]: what came back to the mean keys. Launch: as above.
extern "C" __global__ void __launch_bounds__(64) probe_key_adjoint_rope(double* __restrict__ g, const double* __restrict__ means, const double* __restrict__ weights, const double* __restrict__ roots, double total, int T, int pitch, int first, int C, int width) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.y, S = gridDim.y;
    if (c >= C) return;
    double* column = g + at(static_cast<size_t>(b) * T, pitch, first + c);
    double sum = 0.0;
    for_column<false>(column, pitch, T, [&](int t, double v) {
        sum += roots[t] * v;
        return roots[t] * v;
    });
    const double through = means[(static_cast<size_t>(c / width) * S + b) * width + c % width] - sum;
    for_column<false>(column, pitch, T, [&](int t, double v) { return v + weights[t] / total * through; });
}

// Midpoint and step of old and new weights: rows (.., weights, coordinate) of w [4 D, dp] to rows (.., midpoint | step, ..).
// Launch: block 256, grid = 2 D.
extern "C" __global__ void __launch_bounds__(256) probe_weight_planes(const double* __restrict__ w, double* __restrict__ planes, int dp, int dh) {
    const size_t row = static_cast<size_t>(blockIdx.x / dh) * 2 * dh + blockIdx.x % dh, step = static_cast<size_t>(dh) * dp;
    for (int i = threadIdx.x; i < dp; i += blockDim.x) {
        const double before = w[at(row, dp, i)], after = w[at(row, dp, i) + step];
        planes[at(row, dp, i)] = 0.5 * (before + after);
        planes[at(row, dp, i) + step] = after - before;
    }
}

// out[i] = (a[i] + a[count + i]) / 2. Launch: block 256, any grid.
extern "C" __global__ void __launch_bounds__(256) probe_mean(const double* __restrict__ a, double* __restrict__ out, size_t count) {
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<size_t>(gridDim.x) * blockDim.x) out[i] = 0.5 * (a[i] + a[count + i]);
}

// --- Gram matrices of a head: [2 dh, 2 dh], midpoint and step beside each other ------------------------------------

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

// --- logits --------------------------------------------------------------------------------------------------------

#define ROW_VALUES 16 // squares of the eight corners, turning, weights, relative entropy, top-1, largest; room

// One row of attention at all eight corners. logits [8][H][rows][keys], out [H][n][ROW_VALUES]; the block's first row is token
// `first` of its sequence, token `start + first` of all. Launch: block 128, grid (rows, H).
extern "C" __global__ void __launch_bounds__(128) probe_corner_rows(const double* __restrict__ logits, double* __restrict__ out, int n, int start, int first, int keys) {
    SHARED(scratch, Array<double, 12 * WARP>);
    const int row = blockIdx.x, rows = gridDim.x, h = blockIdx.y, H = gridDim.y, last = first + row;
    const size_t corner = static_cast<size_t>(H) * rows * keys;
    const double* s = logits + at(static_cast<size_t>(h) * rows + row, keys, 0);
    double mean[8] = {};
    double top = -static_cast<double>(infinity());
    for (int j = threadIdx.x; j <= last; j += blockDim.x) {
#pragma unroll
        for (int c = 0; c < 8; c++) mean[c] += s[c * corner + j];
        top = larger(top, s[7 * corner + j]);
    }
    block_sum(mean, scratch);
    top = block_largest(top, scratch);
    const double count = last + 1;
#pragma unroll
    for (int c = 0; c < 8; c++) mean[c] /= count;
    double v[12] = {};
    for (int j = threadIdx.x; j <= last; j += blockDim.x) {
        double moved[8];
#pragma unroll
        for (int c = 0; c < 8; c++) {
            moved[c] = s[c * corner + j] - mean[c];
            v[c] += moved[c] * moved[c];
        }
        v[8] += moved[0] * moved[7];
        v[9] += (moved[3] - moved[0]) * (moved[3] - moved[0]);
        const double below = top - s[7 * corner + j], weight = exp(-below);
        v[10] += weight;
        v[11] += weight * below;
    }
    block_sum(v, scratch);
    if (threadIdx.x != 0) return;
    double* to = out + at(static_cast<size_t>(h) * n + start + last, ROW_VALUES, 0);
#pragma unroll
    for (int c = 0; c < 10; c++) to[c] = v[c];
    to[10] = last > 0 ? (log(v[10]) + v[11] / v[10]) / log(count) : 0.0;
    to[11] = 1.0 / v[10];
    to[12] = top;
}

// Rows of a head to totals: the first ten added; entropy over rows of two keys and more, over rows of eight and more; top-1; the
// largest logit. rows [H][n][ROW_VALUES], out [H][ROW_VALUES]. Launch: block 256, grid = H.
extern "C" __global__ void __launch_bounds__(256) probe_row_totals(const double* __restrict__ rows, double* __restrict__ out, int n, int T) {
    SHARED(scratch, Array<double, 13 * WARP>);
    const double* head = rows + static_cast<size_t>(blockIdx.x) * n * ROW_VALUES;
    double v[13] = {};
    double top = -static_cast<double>(infinity());
    for (int r = threadIdx.x; r < n; r += blockDim.x) {
        const double* row = head + static_cast<size_t>(r) * ROW_VALUES;
        for (int c = 0; c < 10; c++) v[c] += row[c];
        const int keys = r % T + 1;
        if (keys >= 2) v[10] += row[10];
        if (keys >= 8) v[11] += row[10];
        v[12] += row[11];
        top = larger(top, row[12]);
    }
    block_sum(v, scratch);
    top = block_largest(top, scratch);
    if (threadIdx.x != 0) return;
    for (int c = 0; c < 13; c++) out[blockIdx.x * ROW_VALUES + c] = v[c];
    out[blockIdx.x * ROW_VALUES + 13] = top;
}

// Rows A = [dQ, Q-bar] and B = [K-bar, dK] of the start's features from rotated projections [n, 4 D]; both [H][n][2 dh].
// Launch: block 256, grid = n.
extern "C" __global__ void __launch_bounds__(256) probe_tight_rows(const double* __restrict__ projected, double* __restrict__ a, double* __restrict__ b, int n, int D, int dh) {
    const int r = blockIdx.x;
    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        const int h = i / dh, c = i % dh;
        const double* q = projected + at(r, 4 * static_cast<size_t>(D), static_cast<size_t>(h) * 2 * dh + c);
        const double* k = q + 2 * static_cast<size_t>(D);
        const size_t to = (static_cast<size_t>(h) * n + r) * 2 * dh + c;
        a[to] = q[dh] - q[0];
        a[to + dh] = 0.5 * (q[0] + q[dh]);
        b[to] = 0.5 * (k[0] + k[dh]);
        b[to + dh] = k[dh] - k[0];
    }
}

// Takes each sequence's mean from every column, in place: b [H S][T][C]. Launch: block 64, grid (ceil(C / 64), H S).
extern "C" __global__ void __launch_bounds__(64) probe_centre(double* __restrict__ b, int T, int C) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= C) return;
    double* column = b + at(static_cast<size_t>(blockIdx.y) * T, C, c);
    double sum = 0.0;
#pragma unroll 8
    for (int t = 0; t < T; t++) sum += column[static_cast<size_t>(t) * C];
    const double mean = sum / T;
    for_column<false>(column, C, T, [&](int, double v) { return v - mean; });
}

#define TILE 64
#define STAGE 8

// tr(A^T A Scat(B)) over blocks of rows that grow by half, Scat the scatter of the rows of B up to the block's end: a tile of
// columns by columns. a, b [H S][T][C]; out [H S][blocks][tiles], whose tiles add up to a block's.
// Launch: block 256, grid (tiles = ceil(C / 64)^2, H S).
extern "C" __global__ void __launch_bounds__(256) probe_tight(const double* __restrict__ a, const double* __restrict__ b, double* __restrict__ out, int T, int C, int blocks) {
    SHARED(stage, Array<double, 4 * STAGE * TILE>);
    SHARED(scratch, Array<double, WARP>);
    const int tiles = (C + TILE - 1) / TILE, row_tile = blockIdx.x / tiles * TILE, column_tile = blockIdx.x % tiles * TILE;
    const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    const size_t base = static_cast<size_t>(blockIdx.y) * T;
    double bb[4][4] = {}, row_sum[4] = {}, column_sum[4] = {};
    int first = 0;
    for (int block = 0; block < blocks; block++) {
        const int grown = first + (first + 1) / 2, end = min(T, grown > first ? grown : first + 1);
        double aa[4][4] = {};
        for (int r0 = first; r0 < end; r0 += STAGE) {
            for (int e = threadIdx.x; e < 4 * STAGE * TILE; e += blockDim.x) {
                const int array = e / (STAGE * TILE), r = r0 + e / TILE % STAGE, c = (array % 2 == 0 ? row_tile : column_tile) + e % TILE;
                const double* from = array < 2 ? a : b;
                stage[e] = r < end && c < C ? from[at(base + r, C, c)] : 0.0;
            }
            __syncthreads();
            for (int r = 0; r < STAGE; r++) {
                double v[4][4];
                for (int array = 0; array < 4; array++) {
                    for (int i = 0; i < 4; i++) v[array][i] = stage[(array * STAGE + r) * TILE + (array % 2 == 0 ? ty : tx) + 16 * i];
                }
                for (int i = 0; i < 4; i++) {
                    row_sum[i] += v[2][i], column_sum[i] += v[3][i];
                    for (int j = 0; j < 4; j++) aa[i][j] += v[0][i] * v[1][j], bb[i][j] += v[2][i] * v[3][j];
                }
            }
            __syncthreads();
        }
        double total[1] = {0.0};
        for (int i = 0; i < 4; i++) {
            for (int j = 0; j < 4; j++) total[0] += aa[i][j] * (bb[i][j] - row_sum[i] * column_sum[j] / end);
        }
        block_sum(total, scratch);
        if (threadIdx.x == 0) out[(static_cast<size_t>(blockIdx.y) * blocks + block) * (tiles * tiles) + blockIdx.x] = total[0];
        first = end;
    }
}

// --- shares ----------------------------------------------------------------------------------------------------------

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

// --- moments and their largest eigenvalues ---------------------------------------------------------------------------

// sums[m][i] = part i of |A_m|_F^2. a [matrices][size]. Launch: block 256, grid (LANES, matrices).
extern "C" __global__ void __launch_bounds__(256) probe_squares(const double* __restrict__ a, double* __restrict__ sums, size_t size) {
    SHARED(scratch, Array<double, WARP>);
    const double* m = a + blockIdx.y * size;
    double v[1] = {0.0};
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += static_cast<size_t>(LANES) * blockDim.x) v[0] += m[i] * m[i];
    block_sum(v, scratch);
    if (threadIdx.x == 0) sums[blockIdx.y * LANES + blockIdx.x] = v[0];
}

// Traces over the first `rows` of matrices [side, side], as the first of LANES parts. Launch: block 256, grid = matrices.
extern "C" __global__ void __launch_bounds__(256) probe_trace(const double* __restrict__ a, double* __restrict__ sums, int side, int rows) {
    SHARED(scratch, Array<double, WARP>);
    const double* m = a + static_cast<size_t>(blockIdx.x) * side * side;
    double v[1] = {0.0};
    for (int i = threadIdx.x; i < rows; i += blockDim.x) v[0] += m[at(i, side, i)];
    block_sum(v, scratch);
    if (threadIdx.x < LANES) sums[blockIdx.x * LANES + threadIdx.x] = threadIdx.x == 0 ? v[0] : 0.0;
}

// to[m] = from[m] over the sum of its parts; in place where from == to. Launch: block 256, grid (any, matrices).
extern "C" __global__ void __launch_bounds__(256) probe_normalise(const double* from, double* to, const double* __restrict__ sums, size_t size) {
    double total = 0.0;
    for (int i = 0; i < LANES; i++) total += sums[blockIdx.y * LANES + i];
    // A zero matrix stays zero.
    const double scale = total > 0.0 ? 1.0 / total : total;
    const size_t base = blockIdx.y * size;
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += static_cast<size_t>(gridDim.x) * blockDim.x) to[base + i] = scale * from[base + i];
}

// Lower triangle of a matrix [side, side], its first `rows` rows one after another, rounded. Launch: block 128, grid = rows.
extern "C" __global__ void __launch_bounds__(128) probe_triangle(const double* __restrict__ a, float* __restrict__ out, int side) {
    const size_t r = blockIdx.x;
    for (int i = threadIdx.x; i <= static_cast<int>(r); i += blockDim.x) out[r * (r + 1) / 2 + i] = static_cast<float>(a[at(r, side, i)]);
}

// Parts of the sum of squares of x [len]: not finite where an element is not. Launch: block 256, grid = LANES.
extern "C" __global__ void __launch_bounds__(256) probe_finite(const float* __restrict__ x, double* __restrict__ sums, size_t len) {
    SHARED(scratch, Array<double, WARP>);
    double v[1] = {0.0};
    for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < len; i += static_cast<size_t>(gridDim.x) * blockDim.x) v[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    block_sum(v, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = v[0];
}
