// Moments of a probe and their largest eigenvalues.
#include "probe.cuh"

#define LANES 32 // partial sums of a matrix

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
