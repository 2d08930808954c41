// Attention inputs and weights of a probe, and what comes back to them.
#include "probe.cuh"

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
