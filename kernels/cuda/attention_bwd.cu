// Causal attention, backward, float32, without atomics: one kernel over tiles of keys for dk and dv, one over tiles of queries
// for dq, which also leaves |G_S|^2 and <S, G_S> behind (attention_stats.cuh). G_S = gradient at the post-scale logits.
#include "attention.cuh"

// delta[b, h, i] = <do_i, o_i> over the head, dh 16, 32, 64 or 128. A group of dh / 4 lanes has a
// (token, head), four columns a lane. Launch: block 256, grid = any number.
__device__ __forceinline__ void attention_delta(const float* __restrict__ dout, const float* __restrict__ o, float* __restrict__ delta, int B, int H, int seq, int dh) {
    const int lanes = dh / 4, lane = threadIdx.x & (lanes - 1), groups = blockDim.x / lanes;
    const long long items = static_cast<long long>(B) * seq * H, step = static_cast<long long>(gridDim.x) * groups;
    // Every lane of a warp takes the same number of turns: the shuffles want all of them.
    const long long begin = static_cast<long long>(blockIdx.x) * groups;
    for (long long base = begin; base < items; base += step) {
        const long long item = base + threadIdx.x / lanes;
        float a[4] = {}, b[4] = {};
        if (item < items) {
            load4(dout + item * dh + 4 * lane, a);
            load4(o + item * dh + 4 * lane, b);
        }
        float sum = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
        for (int w = lanes / 2; w > 0; w >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, w);
        const long long token = item / H, head = item % H;
        if (lane == 0 && item < items) delta[(token / seq * H + head) * seq + token % seq] = sum;
    }
}

// dout, o [B * T, H * DH]; lse, delta [B, H, T]; dqkv [B * T, 3 * H * DH], of which this kernel writes the query block;
// stats [H, B, gridDim.x, BACKWARD_STATS] partial sums. Launch: as the forward.
template <int DH>
__device__ __forceinline__ void attention_bwd_q(const float* __restrict__ dout, const float* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine,
                                                const float* __restrict__ lse, const float* __restrict__ delta, float* __restrict__ dqkv, float* __restrict__ stats, int B, int H, int seq) {
    constexpr int ROWS = Shape<DH>::rows, KEYS = Shape<DH>::backward, LD = Pitch<float, DH>::value;
    constexpr int ST = KEYS / 8, OT = DH / 8;
    SHARED(q, Array<float, ROWS * LD>);
    SHARED(d_o, Array<float, ROWS * LD>);
    SHARED(k, Array<float, KEYS * LD>);
    SHARED(v, Array<float, KEYS * LD>);
    SHARED(scratch, Array<float, BACKWARD_SUMS * WARP>);

    const int tile = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, batch = blockIdx.z, first = tile * ROWS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width, start = static_cast<size_t>(batch) * seq;
    const float* queries = qkv + start * stride + head * DH;
    const int i0 = first + warp * 16 + g;
    const float scale = 1.f / sqrtf(static_cast<float>(DH));

    load_tile<DH, ROWS>(q, queries, stride, first, seq, cosine, sine);
    load_tile<DH, ROWS>(d_o, dout + start * width + head * DH, width, first, seq, nullptr, nullptr);
    const size_t rows = (static_cast<size_t>(batch) * H + head) * seq;
    float row_lse[2], row_centre[2], row_delta[2];
    for (int r = 0; r < 2; r++) {
        const int i = i0 + 8 * r;
        row_lse[r] = i < seq ? lse[rows + i] : 0.f;
        row_centre[r] = row_lse[r] - logf(static_cast<float>(i + 1));
        row_delta[r] = i < seq ? delta[rows + i] : 0.f;
    }

    float dq[OT][4], sums[BACKWARD_SUMS] = {};
    clear(dq);
    const int end = min(first + ROWS, seq);
    for (int k0 = 0; k0 < end; k0 += KEYS) {
        __syncthreads();
        load_tile<DH, KEYS>(k, queries + width, stride, k0, seq, cosine, sine);
        load_tile<DH, KEYS>(v, queries + 2 * width, stride, k0, seq, nullptr, nullptr);
        __syncthreads();
        if (k0 > first + warp * 16 + 15) continue;
        float s[ST][4], dp[ST][4];
        product_nt<DH>(s, q + warp * 16 * LD, k);
        product_nt<DH>(dp, d_o + warp * 16 * LD, v);
        // Logits become their gradient. Rows past the sequence are zeros all through: their gradient is zero unmasked.
        const auto differentiate = [&](auto masked) {
#pragma unroll
            for (int n = 0; n < ST; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int r = e >> 1, i = i0 + 8 * r;
                    float ds = 0.f;
                    if (!masked.value || (k0 + 8 * n + 2 * t + (e & 1) <= i && i < seq)) {
                        const float logit = s[n][e] * scale;
                        ds = expf(logit - row_lse[r]) * (dp[n][e] - row_delta[r]);
                        sums[BACKWARD_SQUARES] += ds * ds;
                        sums[BACKWARD_PRODUCT] += (logit - row_centre[r]) * ds;
                    }
                    s[n][e] = ds;
                }
            }
        };
        if (k0 + KEYS - 1 <= first + warp * 16) {
            differentiate(Flag<false>());
        } else {
            differentiate(Flag<true>());
        }
        product_nn(dq, s, k);
    }
    if (cosine) rotate_back<OT, DH>(dq, i0, seq, cosine, sine);
    store_rows(dqkv + start * stride + head * DH, stride, dq, i0, seq, scale, scale);

    block_sum(sums, scratch);
    if (threadIdx.x == 0) {
        float* out = stats + ((static_cast<size_t>(head) * B + batch) * gridDim.x + tile) * BACKWARD_STATS;
        for (int n = 0; n < BACKWARD_SUMS; n++) out[n] = sums[n];
    }
}

// The key and value blocks of dqkv; arguments as above. Launch: as the forward, tiles of keys for tiles of queries.
template <int DH>
__device__ __forceinline__ void attention_bwd_kv(const float* __restrict__ dout, const float* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine,
                                                 const float* __restrict__ lse, const float* __restrict__ delta, float* __restrict__ dqkv, int H, int seq) {
    constexpr int ROWS = Shape<DH>::rows, QUERIES = Shape<DH>::backward, LD = Pitch<float, DH>::value;
    constexpr int ST = QUERIES / 8, OT = DH / 8;
    SHARED(k, Array<float, ROWS * LD>);
    SHARED(v, Array<float, ROWS * LD>);
    SHARED(q, Array<float, QUERIES * LD>);
    SHARED(d_o, Array<float, QUERIES * LD>);
    SHARED(row_lse, Array<float, QUERIES>);
    SHARED(row_delta, Array<float, QUERIES>);

    const int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * ROWS; // the first keys meet the most queries
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width, start = static_cast<size_t>(batch) * seq;
    const float* queries = qkv + start * stride + head * DH;
    const int j0 = first + warp * 16 + g;
    const float scale = 1.f / sqrtf(static_cast<float>(DH));

    load_tile<DH, ROWS>(k, queries + width, stride, first, seq, cosine, sine);
    load_tile<DH, ROWS>(v, queries + 2 * width, stride, first, seq, nullptr, nullptr);
    const size_t rows = (static_cast<size_t>(batch) * H + head) * seq;

    float dk[OT][4], dv[OT][4];
    clear(dk);
    clear(dv);
    for (int q0 = first; q0 < seq; q0 += QUERIES) { // ROWS is a multiple of QUERIES: no query before `first` matters
        __syncthreads();
        load_tile<DH, QUERIES>(q, queries, stride, q0, seq, cosine, sine);
        load_tile<DH, QUERIES>(d_o, dout + start * width + head * DH, width, q0, seq, nullptr, nullptr);
        for (int r = threadIdx.x; r < QUERIES; r += blockDim.x) {
            row_lse[r] = q0 + r < seq ? lse[rows + q0 + r] : 0.f;
            row_delta[r] = q0 + r < seq ? delta[rows + q0 + r] : 0.f;
        }
        __syncthreads();
        if (q0 + QUERIES - 1 < first + warp * 16) continue; // every query lies before all of this warp's keys
        float p[ST][4], ds[ST][4];
        product_nt<DH>(p, k + warp * 16 * LD, q);
        product_nt<DH>(ds, v + warp * 16 * LD, d_o);
        const auto differentiate = [&](auto masked) {
#pragma unroll
            for (int n = 0; n < ST; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int at = 8 * n + 2 * t + (e & 1), i = q0 + at;
                    const bool allowed = !masked.value || (j0 + (e >> 1) * 8 <= i && i < seq);
                    p[n][e] = allowed ? expf(p[n][e] * scale - row_lse[at]) : 0.f;
                    ds[n][e] = allowed ? p[n][e] * (ds[n][e] - row_delta[at]) : 0.f;
                }
            }
        };
        if (first + warp * 16 + 15 <= q0 && q0 + QUERIES <= seq) {
            differentiate(Flag<false>());
        } else {
            differentiate(Flag<true>());
        }
        product_nn(dv, p, d_o);
        product_nn(dk, ds, q);
    }
    if (cosine) rotate_back<OT, DH>(dk, j0, seq, cosine, sine);
    float* out = dqkv + start * stride + head * DH;
    store_rows(out + width, stride, dk, j0, seq, scale, scale);
    store_rows(out + 2 * width, stride, dv, j0, seq, 1.f, 1.f);
}

extern "C" __global__ void __launch_bounds__(256) attention_delta_f32(const float* dout, const float* o, float* delta, int B, int H, int seq, int dh) {
    attention_delta(dout, o, delta, B, H, seq, dh);
}

#define EXPORT_ATTENTION_BWD_Q(NAME, DH)                                                                                \
    extern "C" __global__ void __launch_bounds__(2 * Shape<DH>::rows, 3) NAME(                                          \
        const float* dout, const float* qkv, const float* cosine, const float* sine, const float* lse,                  \
        const float* delta, float* dqkv, float* stats, int B, int H, int seq) {                                         \
        attention_bwd_q<DH>(dout, qkv, cosine, sine, lse, delta, dqkv, stats, B, H, seq);                               \
    }
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d16_f32, 16)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d32_f32, 32)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d64_f32, 64)
EXPORT_ATTENTION_BWD_Q(attention_bwd_q_d128_f32, 128)

#define EXPORT_ATTENTION_BWD_KV(NAME, DH)                                                                               \
    extern "C" __global__ void __launch_bounds__(2 * Shape<DH>::rows) NAME(                                             \
        const float* dout, const float* qkv, const float* cosine, const float* sine, const float* lse,                  \
        const float* delta, float* dqkv, int H, int seq) {                                                              \
        attention_bwd_kv<DH>(dout, qkv, cosine, sine, lse, delta, dqkv, H, seq);                                        \
    }
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d16_f32, 16)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d32_f32, 32)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d64_f32, 64)
EXPORT_ATTENTION_BWD_KV(attention_bwd_kv_d128_f32, 128)
