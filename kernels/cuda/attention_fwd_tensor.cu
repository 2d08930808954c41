// Causal attention, forward, bf16 on tensor cores: tiles of keys and values arrive in two stages while the tile before
// them is worked on; queries stay in shared memory; every statistic is taken where the logits are.
#include "attention_row.cuh"
#include "attention_tensor.cuh"

// What a lane keeps of its rows, two in each of MT row tiles (g and g + 8). x = q . k is a logit before scaling,
// t = x unit - base its distance below the row's largest so far in powers of two: exp(S - max) = 2^t. The sums are this
// lane's columns' share.
template <int MT>
struct Rows {
    float top[MT][2], base[MT][2]; // largest x, and times `unit`
    float low[MT][2];              // smallest x
    float l[MT][2], u[MT][2];      // sum of 2^t, of t 2^t
    float s1[MT][2], s2[MT][2];    // sum of t, of t^2
    int best[MT][2];               // earliest of this lane's keys at the top
};

// Takes the largest and smallest logits of a tile in. Where a row's largest grows, what it has summed moves to the new
// reference; warps without such a row skip that. MASKED: some key comes after some query.
template <bool MASKED, int MT, int NT, int OT>
__device__ __forceinline__ void raise(Rows<MT>& rows, float (&acc)[MT][OT][4], const float (&x)[MT][NT][4], int k0, int i0, float unit) {
    const int j0 = k0 + 2 * (threadIdx.x & 3);
    float top[MT][2];
    bool higher = k0 == 0;
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = i0 + 16 * m + 8 * r;
            float most = -infinity(), least = rows.low[m][r];
#pragma unroll
            for (int n = 0; n < NT; n++) {
#pragma unroll
                for (int e = 2 * r; e < 2 * r + 2; e++) {
                    if (MASKED && j0 + 8 * n + (e & 1) > i) continue;
                    most = fmaxf(most, x[m][n][e]), least = fminf(least, x[m][n][e]);
                }
            }
            rows.low[m][r] = least;
            top[m][r] = quad_max(most);
            higher |= top[m][r] > rows.top[m][r];
        }
    }
    if (__ballot_sync(FULL_WARP, higher) == 0) return;
    const float taken = 0.25f * static_cast<float>(k0); // keys that a lane's sums hold: only a row's last tile is masked
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (k0 > 0 && !(top[m][r] > rows.top[m][r])) continue;
            const float base = top[m][r] * unit;
            if (k0 > 0) { // key 0 is allowed to every row: the first tile sets the reference, with sums still empty
                const float shift = rows.base[m][r] - base, fade = exp2_fast(shift);
                rows.u[m][r] = fade * (rows.u[m][r] + rows.l[m][r] * shift);
                rows.l[m][r] *= fade;
                rows.s2[m][r] += shift * (2.f * rows.s1[m][r] + taken * shift);
                rows.s1[m][r] += taken * shift;
#pragma unroll
                for (int n = 0; n < OT; n++) acc[m][n][2 * r] *= fade, acc[m][n][2 * r + 1] *= fade;
            }
            rows.top[m][r] = top[m][r], rows.base[m][r] = base;
            int best = 0x7fffffff;
#pragma unroll
            for (int n = NT - 1; n >= 0; n--) {
                if (x[m][n][2 * r + 1] == top[m][r]) best = j0 + 8 * n + 1;
                if (x[m][n][2 * r] == top[m][r]) best = j0 + 8 * n;
            }
            // A masked key may be level with the top; an allowed one that is comes before it.
            rows.best[m][r] = best;
        }
    }
}

// Logits become weights, and the rows' sums take them in.
template <bool MASKED, int MT, int NT>
__device__ __forceinline__ void absorb(Rows<MT>& rows, float (&x)[MT][NT][4], int k0, int i0, float unit) {
    const int j0 = k0 + 2 * (threadIdx.x & 3);
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int r = e >> 1;
                float p = 0.f;
                if (!MASKED || j0 + 8 * n + (e & 1) <= i0 + 16 * m + 8 * r) {
                    const float t = x[m][n][e] * unit - rows.base[m][r];
                    p = exp2_fast(t);
                    rows.l[m][r] += p;
                    rows.u[m][r] += p * t;
                    rows.s1[m][r] += t;
                    rows.s2[m][r] += t * t;
                }
                x[m][n][e] = p;
            }
        }
    }
}

// The rows' lanes come together; gives 1 / l for the output.
template <int MT>
__device__ __forceinline__ void finish(ForwardStats& stats, Rows<MT>& rows, float (&inverse)[MT][2], float* __restrict__ lse, int i0, int seq, float scale) {
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = i0 + 16 * m + 8 * r;
            Row row;
            row.top = rows.top[m][r] * scale, row.low = quad_min(rows.low[m][r]) * scale;
            row.l = quad_sum(rows.l[m][r]), row.u = LN_2 * quad_sum(rows.u[m][r]);
            row.c = LN_2 * rows.base[m][r];
            row.s1 = LN_2 * quad_sum(rows.s1[m][r]), row.s2 = LN_2 * LN_2 * quad_sum(rows.s2[m][r]);
            row.best = quad_min(rows.best[m][r]);
            inverse[m][r] = 1.f / row.l;
            if (i < seq && (threadIdx.x & 3) == 0) lse[i] = finish_row(stats, row, i);
        }
    }
}

// qkv, cosine, sine (both null: no rotation) as in attention.cuh; o [B * T, H * DH], lse [B, H, T];
// stats [H, B, gridDim.x, FORWARD_STATS] = this tile's rows' partial statistics: slices of tiles give a (head, sequence),
// slices of B * tiles a head. Launch: block 128, grid (ceil(T / Tensor::rows), H, B), dynamic shared memory
// Tensor::own + 2 Tensor::forward_stages.
template <int DH>
__device__ __forceinline__ void attention_fwd_tensor(const bf16* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine, bf16* __restrict__ o,
                                                     float* __restrict__ lse, float* __restrict__ stats, int B, int H, int seq) {
    constexpr int MT = Tensor<DH>::tiles, ROWS = Tensor<DH>::rows, KEYS = Tensor<DH>::forward, LD = Tensor<DH>::pitch;
    DYNAMIC_SHARED(q, 0, Array<bf16, ROWS * LD>);
    DYNAMIC_SHARED(k, Tensor<DH>::own, Array<Array<bf16, KEYS * LD>, 2>);
    DYNAMIC_SHARED(v, Tensor<DH>::own + Tensor<DH>::forward_stages, Array<Array<bf16, KEYS * LD>, 2>);
    SHARED(scratch, Array<float, FORWARD_SUMS * WARP>);

    const int tile = gridDim.x - 1 - blockIdx.x; // the longest rows first: they take the longest
    const int head = blockIdx.y, batch = blockIdx.z, first = tile * ROWS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = first + warp * 16 * MT, i0 = row + (lane >> 2);
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width;
    const bf16* queries = qkv + static_cast<size_t>(batch) * seq * stride + head * DH;
    const float scale = 1.f / sqrtf(static_cast<float>(DH)), unit = scale * LOG2_E;
    const int end = min(first + ROWS, seq);

    stage_tile<DH, ROWS>(q, queries, stride, first, seq);
    stage_tile<DH, KEYS>(k[0], queries + width, stride, 0, seq);
    stage_tile<DH, KEYS>(v[0], queries + 2 * width, stride, 0, seq);
    copy_commit();

    float acc[MT][DH / 8][4];
    Rows<MT> rows;
    ForwardStats mine;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        clear(acc[m]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            rows.top[m][r] = -infinity(), rows.low[m][r] = infinity(), rows.base[m][r] = 0.f, rows.best[m][r] = 0;
            rows.l[m][r] = rows.u[m][r] = rows.s1[m][r] = rows.s2[m][r] = 0.f;
        }
    }
    SharedRows<DH, MT> held;
    for (int k0 = 0, stage = 0; k0 < end; k0 += KEYS, stage ^= 1) {
        copy_wait<0>();
        __syncthreads(); // this stage is there for all, and all are done with the other
        if (k0 + KEYS < end) {
            stage_tile<DH, KEYS>(k[stage ^ 1], queries + width, stride, k0 + KEYS, seq);
            stage_tile<DH, KEYS>(v[stage ^ 1], queries + 2 * width, stride, k0 + KEYS, seq);
            copy_commit();
        }
        if (cosine) {
            if (k0 == 0) rotate_tile<DH, ROWS>(q, first, seq, cosine, sine);
            rotate_tile<DH, KEYS>(k[stage], k0, seq, cosine, sine);
            __syncthreads();
        }
        if (k0 == 0) {
            add_norms<bf16, DH, ROWS, false>(q, first, seq, mine.sums[FORWARD_QUERY], mine.sums[FORWARD_PAIRED_QUERY]);
            held.load(q + warp * 16 * MT * LD);
            __syncthreads(); // warps store their output in their own rows of q, whose norms all have taken
        }
        // the keys of this tile's own rows
        if (k0 >= first) add_norms<bf16, DH, KEYS, true>(k[stage], k0, seq, mine.sums[FORWARD_KEY], mine.sums[FORWARD_PAIRED_KEY]);
        if (k0 > row + 16 * MT - 1 || row >= seq) continue; // every key lies after all of this warp's queries
        float x[MT][KEYS / 8][4];
        rows_times_rows<DH>(x, held, k[stage]);
        if (k0 + KEYS - 1 <= row) {
            raise<false>(rows, acc, x, k0, i0, unit);
            absorb<false>(rows, x, k0, i0, unit);
        } else {
            raise<true>(rows, acc, x, k0, i0, unit);
            absorb<true>(rows, x, k0, i0, unit);
        }
        weights_times_rows<DH>(acc, x, v[stage]);
    }

    float inverse[MT][2];
    finish(mine, rows, inverse, lse + (static_cast<size_t>(batch) * H + head) * seq, i0, seq, scale);
    store_tile<DH>(o + static_cast<size_t>(batch) * seq * width + head * DH, width, q + warp * 16 * MT * LD, acc, inverse, row, seq);
    write_forward_stats(mine, scratch, stats + ((static_cast<size_t>(head) * B + batch) * gridDim.x + tile) * FORWARD_STATS);
}

#define EXPORT_ATTENTION_FWD_TENSOR(NAME, DH)                                                                           \
    extern "C" __global__ void __launch_bounds__(TENSOR_THREADS, 2) NAME(                                               \
        const bf16* qkv, const float* cosine, const float* sine, bf16* o, float* lse, float* stats, int B, int H,       \
        int seq) {                                                                                                      \
        attention_fwd_tensor<DH>(qkv, cosine, sine, o, lse, stats, B, H, seq);                                          \
    }
EXPORT_ATTENTION_FWD_TENSOR(attention_fwd_d16_bf16, 16)
EXPORT_ATTENTION_FWD_TENSOR(attention_fwd_d32_bf16, 32)
EXPORT_ATTENTION_FWD_TENSOR(attention_fwd_d64_bf16, 64)
EXPORT_ATTENTION_FWD_TENSOR(attention_fwd_d128_bf16, 128)
