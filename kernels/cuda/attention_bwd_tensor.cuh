// Causal attention, backward, bf16 on tensor cores, without atomics: first a kernel over tiles of queries, for dq, the
// statistics |G_S|^2 and <S, G_S>, and each row's delta = <do, o>; then one over tiles of keys, which reads the delta,
// for dk and dv. The other side arrives in two stages. G_S = gradient at the post-scale logits; logits are taken in
// powers of two, t = (S - LSE) / ln 2, so that a probability is 2^t. The products are a warp's or a warpgroup's
// (warp_products.cuh, group_products.cuh).
#pragma once
#include "attention_tensor.cuh"

// delta of a tile's rows: d_o is in shared memory, o comes from global memory (already loaded when this is called).
template <int DH, int ROWS, int THREADS, bool GROUP>
struct Delta {
    static constexpr int pieces = DH / 8, turns = ROWS * pieces / THREADS;
    uint4 o[turns];

    __device__ __forceinline__ void load(const bf16* __restrict__ head, size_t width, int first, int seq) {
#pragma unroll
        for (int turn = 0; turn < turns; turn++) {
            const int item = turn * THREADS + threadIdx.x, i = min(first + item / pieces, seq - 1);
            o[turn] = *reinterpret_cast<const uint4*>(head + static_cast<size_t>(i) * width + item % pieces * 8);
        }
    }

    // Leaves the rows in `own`, and those inside the sequence in `delta`.
    __device__ __forceinline__ void sum(const bf16* d_o, float* own, float* __restrict__ delta, int first, int seq) const {
#pragma unroll
        for (int turn = 0; turn < turns; turn++) {
            const int item = turn * THREADS + threadIdx.x, r = item / pieces;
            float a[8];
            load8(d_o + swizzled<DH, GROUP>(r, item % pieces), a);
            const float b[8] = {low_bf16(o[turn].x), high_bf16(o[turn].x), low_bf16(o[turn].y), high_bf16(o[turn].y), low_bf16(o[turn].z), high_bf16(o[turn].z), low_bf16(o[turn].w), high_bf16(o[turn].w)};
            float sum = 0.f;
#pragma unroll
            for (int k = 0; k < 8; k++) sum += a[k] * b[k];
#pragma unroll
            for (int w = pieces / 2; w > 0; w >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, w);
            if (item % pieces != 0) continue;
            own[r] = sum;
            if (first + r < seq) delta[first + r] = sum;
        }
    }
};

// What a row of queries needs to differentiate its logits.
template <int MT>
struct QueryRows {
    float lse[MT][2], log_len[MT][2], delta[MT][2]; // the first two in powers of two
};

// Logits x become their gradients; dp = <do, v>. Rows past the sequence are zeros all through: their gradient is zero.
template <bool MASKED, int MT, int NT>
__device__ __forceinline__ void differentiate_queries(const QueryRows<MT>& rows, float (&sums)[BACKWARD_SUMS], float (&x)[MT][NT][4], const float (&dp)[MT][NT][4], int k0, int i0, float unit) {
    const int j0 = k0 + 2 * (threadIdx.x & 3);
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int r = e >> 1;
                float ds = 0.f;
                if (!MASKED || j0 + 8 * n + (e & 1) <= i0 + 16 * m + 8 * r) {
                    const float t = x[m][n][e] * unit - rows.lse[m][r];
                    ds = exp2_fast(t) * (dp[m][n][e] - rows.delta[m][r]);
                    sums[BACKWARD_SQUARES] += ds * ds;
                    sums[BACKWARD_PRODUCT] += (t + rows.log_len[m][r]) * ds; // (S - c) / ln 2
                }
                x[m][n][e] = ds;
            }
        }
    }
}

// dout, o [B * T, H * DH]; lse [B, H, T]; delta [B, H, T], written; dqkv [B * T, 3 * H * DH], of which this kernel writes
// the query block; stats [H, B, gridDim.x, BACKWARD_STATS] partial sums. Launch: block BackwardTiles::threads, grid
// (ceil(T / TILE_ROWS), H, B), dynamic shared memory 4 DH (TILE_ROWS + 2 staged) bytes.
template <int DH, class Products>
__device__ __forceinline__ void attention_bwd_q_tensor(const bf16* __restrict__ dout, const bf16* __restrict__ qkv, const bf16* __restrict__ o, const float* __restrict__ cosine,
                                                       const float* __restrict__ sine, const float* __restrict__ lse, float* __restrict__ delta, bf16* __restrict__ dqkv,
                                                       float* __restrict__ stats, int B, int H, int seq) {
    using Tiles = BackwardTiles<DH, Products::group>;
    constexpr int MT = Tiles::tiles, ROWS = TILE_ROWS, KEYS = Tiles::staged, PART = Tiles::part, THREADS = Tiles::threads;
    constexpr bool GROUP = Products::group;
    DYNAMIC_SHARED(q, 0, Array<bf16, ROWS * DH>);
    DYNAMIC_SHARED(d_o, 2 * ROWS * DH, Array<bf16, ROWS * DH>);
    DYNAMIC_SHARED(k, 4 * ROWS * DH, Array<Array<bf16, KEYS * DH>, 2>);
    DYNAMIC_SHARED(v, 4 * (ROWS + KEYS) * DH, Array<Array<bf16, KEYS * DH>, 2>);
    SHARED(row_delta, Array<float, ROWS>);
    SHARED(scratch, Array<float, BACKWARD_SUMS * WARP>);

    const int tile = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, batch = blockIdx.z, first = tile * ROWS;
    const int lane = threadIdx.x & 31, own = (threadIdx.x >> 5) * 16 * MT, row = first + own, i0 = row + (lane >> 2);
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width, start = static_cast<size_t>(batch) * seq;
    const bf16* queries = qkv + start * stride + head * DH;
    const size_t in_rows = (static_cast<size_t>(batch) * H + head) * seq;
    const float scale = 1.f / sqrtf(static_cast<float>(DH)), unit = scale * LOG2_E;

    using Own = Copy<DH, ROWS, THREADS, GROUP>;
    using Other = Copy<DH, KEYS, THREADS, GROUP>;
    Own::start(q, Own::from(queries, stride, first), Own::step(stride), seq - first);
    Own::start(d_o, Own::from(dout + start * width + head * DH, width, first), Own::step(width), seq - first);
    const bf16* key = Other::from(queries + width, stride, 0);
    Other::start(k[0], key, Other::step(stride), seq);
    Other::start(v[0], key + width, Other::step(stride), seq);
    copy_commit();
    Delta<DH, ROWS, THREADS, GROUP> product;
    product.load(o + start * width + head * DH, width, first, seq);
    copy_wait<0>();
    __syncthreads();
    product.sum(d_o, row_delta, delta + in_rows, first, seq);
    if (cosine) rotate_tile<DH, ROWS, GROUP>(q, first, seq, cosine, sine);
    __syncthreads();

    const typename Products::template Held<DH, MT> left_q(q, own);
    const typename Products::template HeldToo<DH, MT> left_do(d_o, own);
    float dq[MT][DH / 8][4], sums[BACKWARD_SUMS] = {};
    QueryRows<MT> rows;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        clear(dq[m]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int at = 16 * m + 8 * r, i = i0 + at;
            rows.lse[m][r] = i < seq ? lse[in_rows + i] * LOG2_E : 0.f;
            rows.log_len[m][r] = log2f(static_cast<float>(i + 1));
            rows.delta[m][r] = row_delta[own + (lane >> 2) + at];
        }
    }

    for (int k0 = 0, stage = 0; k0 < first + ROWS && k0 < seq; k0 += KEYS, stage ^= 1) {
        copy_wait<0>();
        Products::publish();
        __syncthreads(); // this stage is there for all, and all are done with the other
        if (k0 + KEYS < first + ROWS && k0 + KEYS < seq) {
            key += KEYS * stride;
            Other::start(k[stage ^ 1], key, Other::step(stride), seq - k0 - KEYS);
            Other::start(v[stage ^ 1], key + width, Other::step(stride), seq - k0 - KEYS);
            copy_commit();
        }
        if (cosine) {
            rotate_tile<DH, KEYS, GROUP>(k[stage], k0, seq, cosine, sine);
            Products::publish();
            __syncthreads();
        }
#pragma unroll 1
        for (int part = 0; part < KEYS; part += PART) {
            const int j = k0 + part;
            // Every key lies after all of this warp's queries; a warpgroup's warps stay together.
            if (!GROUP && (j > row + 16 * MT - 1 || row >= seq)) break;
            float x[MT][PART / 8][4], dp[MT][PART / 8][4];
            Products::template rows<DH>(x, left_q, k[stage] + part * DH, dp, left_do, v[stage] + part * DH);
            if (GROUP ? j < first : j + PART - 1 <= row) {
                differentiate_queries<false>(rows, sums, x, dp, j, i0, unit);
            } else {
                differentiate_queries<true>(rows, sums, x, dp, j, i0, unit);
            }
            Products::template weights<DH>(dq, x, k[stage] + part * DH);
        }
    }

    float factor[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        factor[m][0] = factor[m][1] = scale;
        if (cosine) rotate_back<DH / 8, DH>(dq[m], i0 + 16 * m, seq, cosine, sine);
    }
    store_tile<DH, GROUP>(dqkv + start * stride + head * DH, stride, q + own * DH, dq, factor, row, seq);
    sums[BACKWARD_PRODUCT] *= LN_2;
    block_sum(sums, scratch);
    if (threadIdx.x == 0) {
        float* out = stats + ((static_cast<size_t>(head) * B + batch) * gridDim.x + tile) * BACKWARD_STATS;
        for (int n = 0; n < BACKWARD_SUMS; n++) out[n] = sums[n];
    }
}

// Products of keys with queries become probabilities and the gradients of logits, row = key, column = query.
template <bool MASKED, int MT, int NT>
__device__ __forceinline__ void differentiate_keys(float (&p)[MT][NT][4], float (&ds)[MT][NT][4], const float* lse, const float* delta, int q0, int j0, float unit) {
    const int t = threadIdx.x & 3;
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const float2 l = *reinterpret_cast<const float2*>(lse + 8 * n + 2 * t), d = *reinterpret_cast<const float2*>(delta + 8 * n + 2 * t);
        const float base[2] = {l.x * LOG2_E, l.y * LOG2_E}, less[2] = {d.x, d.y};
#pragma unroll
        for (int m = 0; m < MT; m++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const bool allowed = !MASKED || j0 + 16 * m + 8 * (e >> 1) <= q0 + 8 * n + 2 * t + (e & 1);
                p[m][n][e] = allowed ? exp2_fast(p[m][n][e] * unit - base[e & 1]) : 0.f;
                ds[m][n][e] = allowed ? p[m][n][e] * (ds[m][n][e] - less[e & 1]) : 0.f;
            }
        }
    }
}

// The key and value blocks of dqkv; arguments as above, delta read. Launch: as above, tiles of keys for tiles of queries.
template <int DH, class Products>
__device__ __forceinline__ void attention_bwd_kv_tensor(const bf16* __restrict__ dout, const bf16* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine,
                                                        const float* __restrict__ lse, const float* __restrict__ delta, bf16* __restrict__ dqkv, int H, int seq) {
    using Tiles = BackwardTiles<DH, Products::group>;
    constexpr int MT = Tiles::tiles, ROWS = TILE_ROWS, QUERIES = Tiles::staged, PART = Tiles::part, THREADS = Tiles::threads;
    constexpr bool GROUP = Products::group;
    DYNAMIC_SHARED(k, 0, Array<bf16, ROWS * DH>);
    DYNAMIC_SHARED(v, 2 * ROWS * DH, Array<bf16, ROWS * DH>);
    DYNAMIC_SHARED(q, 4 * ROWS * DH, Array<Array<bf16, QUERIES * DH>, 2>);
    DYNAMIC_SHARED(d_o, 4 * (ROWS + QUERIES) * DH, Array<Array<bf16, QUERIES * DH>, 2>);
    SHARED(row_lse, Array<Array<float, QUERIES>, 2>);
    SHARED(row_delta, Array<Array<float, QUERIES>, 2>);

    const int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * ROWS; // the first keys meet the most queries
    const int lane = threadIdx.x & 31, own = (threadIdx.x >> 5) * 16 * MT, row = first + own, j0 = row + (lane >> 2);
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width, start = static_cast<size_t>(batch) * seq;
    const bf16* queries = qkv + start * stride + head * DH;
    const bf16* gradients = dout + start * width + head * DH;
    const size_t in_rows = (static_cast<size_t>(batch) * H + head) * seq;
    const float scale = 1.f / sqrtf(static_cast<float>(DH)), unit = scale * LOG2_E;

    using Own = Copy<DH, ROWS, THREADS, GROUP>;
    using Other = Copy<DH, QUERIES, THREADS, GROUP>;
    const auto stage_queries = [&](int stage, int q0) {
        Other::start(q[stage], Other::from(queries, stride, q0), Other::step(stride), seq - q0);
        Other::start(d_o[stage], Other::from(gradients, width, q0), Other::step(width), seq - q0);
        static_assert(QUERIES <= THREADS, "a thread a row");
        if (threadIdx.x < QUERIES) {
            const int r = threadIdx.x, i = min(q0 + r, seq - 1);
            copy_async<4>(row_lse[stage] + r, lse + in_rows + i, q0 + r < seq);
            copy_async<4>(row_delta[stage] + r, delta + in_rows + i, q0 + r < seq);
        }
        copy_commit();
    };
    const bf16* key = Own::from(queries + width, stride, first);
    Own::start(k, key, Own::step(stride), seq - first);
    Own::start(v, key + width, Own::step(stride), seq - first);
    stage_queries(0, first);

    const typename Products::template Left<DH, MT> left_k(k, own), left_v(v, own);
    float dk[MT][DH / 8][4], dv[MT][DH / 8][4];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        clear(dk[m]);
        clear(dv[m]);
    }
    static_assert(ROWS % QUERIES == 0, "no query before `first` matters");
    for (int q0 = first, stage = 0; q0 < seq; q0 += QUERIES, stage ^= 1) {
        copy_wait<0>();
        Products::publish();
        __syncthreads(); // this stage is there for all, and all are done with the other
        if (q0 + QUERIES < seq) stage_queries(stage ^ 1, q0 + QUERIES);
        if (cosine) {
            if (q0 == first) rotate_tile<DH, ROWS, GROUP>(k, first, seq, cosine, sine);
            rotate_tile<DH, QUERIES, GROUP>(q[stage], q0, seq, cosine, sine);
            Products::publish();
            __syncthreads();
        }
#pragma unroll 1
        for (int part = 0; part < QUERIES; part += PART) {
            const int i = q0 + part;
            // Every query lies before all of this warp's keys; a warpgroup's warps stay together.
            if (!GROUP && (row >= seq || i >= seq || i + PART - 1 < row)) continue;
            float p[MT][PART / 8][4], ds[MT][PART / 8][4];
            Products::template rows<DH>(p, left_k, q[stage] + part * DH, ds, left_v, d_o[stage] + part * DH);
            if (GROUP ? i > first : row + 16 * MT - 1 <= i) {
                differentiate_keys<false>(p, ds, row_lse[stage] + part, row_delta[stage] + part, i, j0, unit);
            } else {
                differentiate_keys<true>(p, ds, row_lse[stage] + part, row_delta[stage] + part, i, j0, unit);
            }
            Products::template weights<DH>(dv, p, d_o[stage] + part * DH, dk, ds, q[stage] + part * DH);
        }
    }

    float factor[MT][2], one[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        factor[m][0] = factor[m][1] = scale, one[m][0] = one[m][1] = 1.f;
        if (cosine) rotate_back<DH / 8, DH>(dk[m], j0 + 16 * m, seq, cosine, sine);
    }
    bf16* out = dqkv + start * stride + head * DH;
    store_tile<DH, GROUP>(out + width, stride, k + own * DH, dk, factor, row, seq);
    store_tile<DH, GROUP>(out + 2 * width, stride, v + own * DH, dv, one, row, seq);
}

#define DEFINE_ATTENTION_BWD_Q(NAME, DH, PRODUCTS)                                                                      \
    extern "C" __global__ void __launch_bounds__(BackwardTiles<DH, PRODUCTS::group>::threads, BackwardTiles<DH, PRODUCTS::group>::query_blocks) NAME( \
        const bf16* dout, const bf16* qkv, const bf16* o, const float* cosine, const float* sine, const float* lse,     \
        float* delta, bf16* dqkv, float* stats, int B, int H, int seq) {                                                \
        attention_bwd_q_tensor<DH, PRODUCTS>(dout, qkv, o, cosine, sine, lse, delta, dqkv, stats, B, H, seq);           \
    }
#define DEFINE_ATTENTION_BWD_KV(NAME, DH, PRODUCTS)                                                                     \
    extern "C" __global__ void __launch_bounds__(BackwardTiles<DH, PRODUCTS::group>::threads, BackwardTiles<DH, PRODUCTS::group>::key_blocks) NAME( \
        const bf16* dout, const bf16* qkv, const float* cosine, const float* sine, const float* lse,                    \
        const float* delta, bf16* dqkv, int H, int seq) {                                                               \
        attention_bwd_kv_tensor<DH, PRODUCTS>(dout, qkv, cosine, sine, lse, delta, dqkv, H, seq);                       \
    }
