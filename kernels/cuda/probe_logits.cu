// Logits of a probe at the corners of an interval, and the bound on their factors.
#include "probe.cuh"

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
