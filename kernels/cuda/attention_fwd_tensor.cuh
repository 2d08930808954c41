// Causal attention, forward, bf16 on tensor cores: tiles of keys and values arrive in two stages while the tile before
// them is worked on; queries stay in shared memory; every statistic is taken where the logits are. The products are a
// warp's or a warpgroup's (warp_products.cuh, group_products.cuh).
#pragma once
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

// Takes the largest and smallest logits of a tile in. A row's reference is its first tile's largest logit; it moves up,
// and what the row has summed with it, only once a logit lies HEADROOM powers of two above it: until then weights are
// merely larger than one. MASKED: some key comes after some query.
#define HEADROOM 4.f
template <bool MASKED, int MT, int NT, int OT>
__device__ __forceinline__ void raise(Rows<MT>& rows, float (&acc)[MT][OT][4], const float (&x)[MT][NT][4], int k0, int i0, float unit) {
    const int j0 = k0 + 2 * (threadIdx.x & 3);
    float most[MT][2];
    bool higher = false;
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int i = i0 + 16 * m + 8 * r;
            float top = -infinity();
#pragma unroll
            for (int n = 0; n < NT; n++) {
#pragma unroll
                for (int e = 2 * r; e < 2 * r + 2; e++) {
                    if (MASKED && j0 + 8 * n + (e & 1) > i) continue;
                    top = fmaxf(top, x[m][n][e]), rows.low[m][r] = fminf(rows.low[m][r], x[m][n][e]);
                }
            }
            most[m][r] = top;
            higher |= top > rows.top[m][r];
        }
    }
    if (__ballot_sync(FULL_WARP, higher) == 0) return;
    const float taken = 0.25f * static_cast<float>(k0); // keys that a lane's sums hold: only a row's last tile is masked
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float top = quad_max(most[m][r]), base = top * unit;
            if (top > rows.top[m][r]) {
                rows.top[m][r] = top;
                int best = 0x7fffffff;
#pragma unroll
                for (int n = NT - 1; n >= 0; n--) {
                    if (x[m][n][2 * r + 1] == top) best = j0 + 8 * n + 1;
                    if (x[m][n][2 * r] == top) best = j0 + 8 * n;
                }
                rows.best[m][r] = best; // a masked key may be level with the top; an allowed one that is comes before it
            }
            if (k0 == 0) rows.base[m][r] = base; // key 0 is allowed to every row
            if (base > rows.base[m][r] + HEADROOM) {
                const float shift = rows.base[m][r] - base, fade = exp2_fast(shift);
                rows.u[m][r] = fade * (rows.u[m][r] + rows.l[m][r] * shift);
                rows.l[m][r] *= fade;
                rows.s2[m][r] += shift * (2.f * rows.s1[m][r] + taken * shift);
                rows.s1[m][r] += taken * shift;
                rows.base[m][r] = base;
#pragma unroll
                for (int n = 0; n < OT; n++) acc[m][n][2 * r] *= fade, acc[m][n][2 * r + 1] *= fade;
            }
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

// What a quad's four lanes make of their shares of its two rows, in the lane that finishes the row: those of a lane's own,
// r = t % 2.
template <class Op>
__device__ __forceinline__ float of_own_row(const float (&v)[1][2], const Op& op) {
    const bool odd = threadIdx.x & 1;
    float both[2];
#pragma unroll
    for (int r = 0; r < 2; r++) both[r] = op(v[0][r], __shfl_xor_sync(FULL_WARP, v[0][r], 2));
    return op(odd ? both[1] : both[0], __shfl_xor_sync(FULL_WARP, odd ? both[0] : both[1], 1));
}
__device__ __forceinline__ float own_row(const float (&v)[1][2]) { return threadIdx.x & 1 ? v[0][1] : v[0][0]; }

// The rows' lanes come together; gives 1 / l for the output. i0: the first row of this lane's quad.
__device__ __forceinline__ void finish(ForwardStats& stats, const Rows<1>& rows, float (&inverse)[1][2], float* __restrict__ lse, int i0, int seq, float scale, float unit) {
    const auto sum = [](float a, float b) { return a + b; };
    const auto least = [](float a, float b) { return fminf(a, b); };
    const int t = threadIdx.x & 3, i = i0 + 8 * (t & 1);
    for (int r = 0; r < 2; r++) inverse[0][r] = reciprocal<bf16>(quad_sum(rows.l[0][r]));
    const float largest = own_row(rows.top), base = own_row(rows.base), l = of_own_row(rows.l, sum), u = of_own_row(rows.u, sum);
    const float best[1][2] = {{static_cast<float>(rows.best[0][0]), static_cast<float>(rows.best[0][1])}};
    const float shift = base - largest * unit, fade = exp2_fast(shift); // from the reference to the largest logit
    Row row;
    row.top = largest * scale, row.low = of_own_row(rows.low, least) * scale;
    row.l = fade * l, row.u = LN_2 * fade * (u + l * shift);
    row.c = LN_2 * base;
    row.s1 = LN_2 * of_own_row(rows.s1, sum), row.s2 = LN_2 * LN_2 * of_own_row(rows.s2, sum);
    row.best = static_cast<int>(of_own_row(best, least));
    if (i < seq && t < 2) lse[i] = finish_row(stats, row, i);
}

// qkv, cosine, sine (both null: no rotation) as in attention.cuh; o [B * T, H * DH], lse [B, H, T];
// stats [H, B, gridDim.x, FORWARD_STATS] = this tile's rows' partial statistics: slices of tiles give a (head, sequence),
// slices of B * tiles a head. Launch: block ForwardTiles::threads, grid (ceil(T / TILE_ROWS), H, B), dynamic shared
// memory 2 DH (TILE_ROWS + (2 + value_stages) keys) bytes.
template <int DH, class Products>
__device__ __forceinline__ void attention_fwd_tensor(const bf16* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine, bf16* __restrict__ o,
                                                     float* __restrict__ lse, float* __restrict__ stats, int B, int H, int seq) {
    using Tiles = ForwardTiles<DH, Products::group>;
    constexpr int MT = 1, ROWS = TILE_ROWS, KEYS = Tiles::keys, THREADS = Tiles::threads, VALUE_STAGES = Tiles::value_stages;
    constexpr bool GROUP = Products::group;
    DYNAMIC_SHARED(q, 0, Array<bf16, ROWS * DH>);
    DYNAMIC_SHARED(k, 2 * ROWS * DH, Array<Array<bf16, KEYS * DH>, 2>);
    DYNAMIC_SHARED(v, 2 * (ROWS + 2 * KEYS) * DH, Array<Array<bf16, KEYS * DH>, VALUE_STAGES>);
    SHARED(scratch, Array<float, FORWARD_STATS * THREADS / WARP>);

    const int tile = gridDim.x - 1 - blockIdx.x; // the longest rows first: they take the longest
    const int head = blockIdx.y, batch = blockIdx.z, first = tile * ROWS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = first + warp * 16 * MT, i0 = row + (lane >> 2);
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width;
    const bf16* queries = qkv + static_cast<size_t>(batch) * seq * stride + head * DH;
    const float scale = 1.f / sqrtf(static_cast<float>(DH)), unit = scale * LOG2_E;

    using CopyQ = Copy<DH, ROWS, THREADS, GROUP>;
    using CopyK = Copy<DH, KEYS, THREADS, GROUP>;
    CopyQ::start(q, CopyQ::from(queries, stride, first), CopyQ::step(stride), seq - first);
    const bf16* key = CopyK::from(queries + width, stride, 0);
    CopyK::start(k[0], key, CopyK::step(stride), seq);
    if (VALUE_STAGES == 2) CopyK::start(v[0], key + width, CopyK::step(stride), seq);
    copy_commit();

    float acc[MT][DH / 8][4];
    Rows<MT> rows;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        clear(acc[m]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            rows.top[m][r] = -infinity(), rows.low[m][r] = infinity(), rows.base[m][r] = 0.f, rows.best[m][r] = 0;
            rows.l[m][r] = rows.u[m][r] = rows.s1[m][r] = rows.s2[m][r] = 0.f;
        }
    }
    const typename Products::template Left<DH, MT> left(q, warp * 16 * MT);
    for (int k0 = 0, stage = 0; k0 < first + ROWS && k0 < seq; k0 += KEYS, stage ^= 1) {
        copy_wait<0>();
        Products::publish();
        __syncthreads(); // this stage is there for all, and all are done with the other
        if (VALUE_STAGES == 1) { // values are wanted later than keys: time to copy them within the tile's turn
            CopyK::start(v[0], key + width, CopyK::step(stride), seq - k0);
            copy_commit();
        }
        const bool more = k0 + KEYS < first + ROWS && k0 + KEYS < seq;
        if (more) {
            key += KEYS * stride;
            CopyK::start(k[stage ^ 1], key, CopyK::step(stride), seq - k0 - KEYS);
            if (VALUE_STAGES == 2) CopyK::start(v[stage ^ 1], key + width, CopyK::step(stride), seq - k0 - KEYS);
            copy_commit();
        }
        if (cosine) {
            if (k0 == 0) rotate_tile<DH, ROWS, GROUP>(q, first, seq, cosine, sine);
            rotate_tile<DH, KEYS, GROUP>(k[stage], k0, seq, cosine, sine);
            Products::publish();
            __syncthreads();
        }
        // Every key lies after all of this warp's queries; a warpgroup's warps stay together.
        if (!GROUP && (k0 > row + 16 * MT - 1 || row >= seq)) continue;
        float x[MT][KEYS / 8][4];
        Products::template rows<DH>(x, left, k[stage]);
        if (k0 + KEYS <= first) {
            raise<false>(rows, acc, x, k0, i0, unit);
            absorb<false>(rows, x, k0, i0, unit);
        } else {
            raise<true>(rows, acc, x, k0, i0, unit);
            absorb<true>(rows, x, k0, i0, unit);
        }
        if (VALUE_STAGES == 1) {
            if (more) copy_wait<1>(); // all but the next keys
            else copy_wait<0>();
            Products::publish();
            __syncthreads();
        }
        Products::template weights<DH>(acc, x, v[VALUE_STAGES == 1 ? 0 : stage]);
    }

    // The tile's own rows: queries, and keys, which the last stages hold.
    static_assert(ROWS <= 2 * KEYS, "own keys are still there");
    ForwardStats mine;
    add_tile_norms<DH, ROWS, THREADS, GROUP, false>(q, first, seq, mine.sums[FORWARD_QUERY], mine.sums[FORWARD_PAIRED_QUERY]);
    for (int k0 = first; k0 < first + ROWS && k0 < seq; k0 += KEYS) {
        add_tile_norms<DH, KEYS, THREADS, GROUP, true>(k[k0 / KEYS & 1], k0, seq, mine.sums[FORWARD_KEY], mine.sums[FORWARD_PAIRED_KEY]);
    }
    __syncthreads(); // warps store their output in their own rows of q, whose norms all have taken

    float inverse[MT][2];
    finish(mine, rows, inverse, lse + (static_cast<size_t>(batch) * H + head) * seq, i0, seq, scale, unit);
    store_tile<DH, GROUP>(o + static_cast<size_t>(batch) * seq * width + head * DH, width, q + warp * 16 * MT * DH, acc, inverse, row, seq);
    write_forward_stats(mine, scratch, stats + ((static_cast<size_t>(head) * B + batch) * gridDim.x + tile) * FORWARD_STATS);
}

#define DEFINE_ATTENTION_FWD(NAME, DH, PRODUCTS)                                                                        \
    extern "C" __global__ void __launch_bounds__(ForwardTiles<DH, PRODUCTS::group>::threads, ForwardTiles<DH, PRODUCTS::group>::blocks) NAME( \
        const bf16* qkv, const float* cosine, const float* sine, bf16* o, float* lse, float* stats, int B, int H, int seq) { \
        attention_fwd_tensor<DH, PRODUCTS>(qkv, cosine, sine, o, lse, stats, B, H, seq);                                \
    }
