// Second passes: partial rows -> totals, in float64, in a fixed order; and column sums of a matrix.
#include "common.cuh"

#define REDUCE_COLUMNS 32
#define REDUCE_LANES 32 // a thread adds every 32nd row: few loads in a chain, for these launches are short
#define REDUCE_TASKS 32 // of one launch

// out[s, c] = sum over p of in[s, p, c]; columns whose bit is set in max_mask (c < 32) take the maximum instead, NaN
// if there is one. in [slices, P, pitch], of which the first C columns are read; out [slices, C].
struct ReduceTask {
    const float* in;
    float* out;
    int P, C, pitch;
    u32 max_mask;
};
// first[t] is the first block of task t, of slices ceil(C / 32) blocks; past the last task, the largest integer.
struct ReduceTasks {
    ReduceTask task[REDUCE_TASKS];
    u32 first[REDUCE_TASKS];
};
static_assert(sizeof(ReduceTasks) == 36 * REDUCE_TASKS, "the layout of the library's DeviceTasks");

// Launch: block (32, 32), grid = the blocks of all tasks.
extern "C" __global__ void __launch_bounds__(1024) reduce_partials(const __grid_constant__ ReduceTasks tasks) {
    SHARED(lanes, Array<double, REDUCE_COLUMNS * REDUCE_LANES>);
    int t = 0;
#pragma unroll
    for (int i = 1; i < REDUCE_TASKS; i++) t += blockIdx.x >= tasks.first[i];
    const ReduceTask& task = tasks.task[t];
    const int P = task.P, C = task.C, pitch = task.pitch;
    const u32 block = blockIdx.x - tasks.first[t], across = (C + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS;
    const u32 s = block / across;
    const int c = (block - s * across) * REDUCE_COLUMNS + threadIdx.x;
    const bool maximum = c < 32 && (task.max_mask >> c & 1u);
    const float* slice = task.in + static_cast<size_t>(s) * P * pitch;
    double total = maximum ? -infinity() : 0.0;
    if (c < C) {
        for (int p = threadIdx.y; p < P; p += REDUCE_LANES) {
            const float v = slice[static_cast<size_t>(p) * pitch + c];
            total = maximum ? loud_max(static_cast<float>(total), v) : total + v;
        }
    }
    lanes[threadIdx.y * REDUCE_COLUMNS + threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y != 0 || c >= C) return;
    for (int l = 1; l < REDUCE_LANES; l++) {
        const double v = lanes[l * REDUCE_COLUMNS + threadIdx.x];
        total = maximum ? loud_max(static_cast<float>(total), static_cast<float>(v)) : total + v;
    }
    task.out[static_cast<size_t>(s) * C + c] = static_cast<float>(total);
}

// out[row] = sum of (scale * x[row, i])^2: the common-mode energy |token mean|^2 of column sums, with scale = 1 / tokens.
// x [gridDim.x, n]. Launch: block 256, grid = rows.
extern "C" __global__ void __launch_bounds__(256) column_energy(const float* __restrict__ x, float* __restrict__ out, int n, float scale) {
    SHARED(scratch, Array<float, WARP>);
    const float* row = x + static_cast<size_t>(blockIdx.x) * n;
    float sum[1] = {0.f};
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        const float v = scale * row[i];
        sum[0] += v * v;
    }
    block_sum(sum, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = sum[0];
}

// to[i] = from[i] rounded to bf16: the copy of the parameters that products read. n a multiple of 4.
// Launch: block 256, grid = any number of blocks.
extern "C" __global__ void __launch_bounds__(256) round_bf16(const float* __restrict__ from, bf16* __restrict__ to, size_t n) {
    const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x * 4;
    for (size_t i = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4; i < n; i += step) {
        float v[4];
        load4(from + i, v);
        store4(to + i, v);
    }
}

// partial[p, c] = sum of x[r, c] over the rows r = p, p + gridDim.y, ...: the bias gradient's first pass. A thread owns V
// columns, eight where C allows, and has eight rows under way at a time; they are added in order.
// x [rows, C], C a multiple of 4; partial [gridDim.y, C]. Launch: block 128, grid (ceil(C / (128 V)), P).
template <class T, int V>
__device__ __forceinline__ void column_sum(const T* __restrict__ x, float* __restrict__ partial, int rows, int C) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, step = gridDim.y;
    if (c >= C) return;
    float sum[V] = {};
    for_groups<8>(blockIdx.y, rows, step, [&](auto group, int r) {
        constexpr int ROWS = decltype(group)::rows;
        float v[ROWS][V];
#pragma unroll
        for (int n = 0; n < ROWS; n++) load(x + static_cast<size_t>(r + n * step) * C + c, v[n]);
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            for (int i = 0; i < V; i++) sum[i] += v[n][i];
        }
    });
    store(partial + static_cast<size_t>(blockIdx.y) * C + c, sum);
}

#define EXPORT_COLUMN_SUM(NAME, T)                                                                                      \
    extern "C" __global__ void __launch_bounds__(128) NAME(const T* x, float* partial, int rows, int C) {               \
        C % 8 == 0 ? column_sum<T, 8>(x, partial, rows, C) : column_sum<T, 4>(x, partial, rows, C);                     \
    }
EXPORT_COLUMN_SUM(column_sum_f32, float)
EXPORT_COLUMN_SUM(column_sum_bf16, bf16)

// x[r, c] += bias[c] in place. x [rows, C], C a multiple of 4; columns and rows of a thread as above, four rows at a time.
// Launch: block 128, grid (ceil(C / (128 V)), any <= 65535).
template <class T, int V>
__device__ __forceinline__ void bias_add(T* __restrict__ x, const float* __restrict__ bias, int rows, int C) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, step = gridDim.y;
    if (c >= C) return;
    float b[V];
    load(bias + c, b);
    for_groups<4>(blockIdx.y, rows, step, [&](auto group, int r) {
        constexpr int ROWS = decltype(group)::rows;
        float v[ROWS][V];
#pragma unroll
        for (int n = 0; n < ROWS; n++) load(x + static_cast<size_t>(r + n * step) * C + c, v[n]);
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            for (int i = 0; i < V; i++) v[n][i] += b[i];
            store(x + static_cast<size_t>(r + n * step) * C + c, v[n]);
        }
    });
}

#define EXPORT_BIAS_ADD(NAME, T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(128) NAME(T* x, const float* bias, int rows, int C) {                  \
        C % 8 == 0 ? bias_add<T, 8>(x, bias, rows, C) : bias_add<T, 4>(x, bias, rows, C);                               \
    }
EXPORT_BIAS_ADD(bias_add_f32, float)
EXPORT_BIAS_ADD(bias_add_bf16, bf16)
