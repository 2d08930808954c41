// Causal attention, forward, float32: tiles of keys stream past a tile of queries, no T x T array, and each row leaves its
// logit statistics behind.
#include "attention.cuh"
#include "attention_row.cuh"

// qkv, cosine, sine (both null: no rotation) as in attention.cuh; o [B * T, H * DH], lse [B, H, T];
// stats [H, B, gridDim.x, FORWARD_STATS] = this tile's rows' partial statistics (attention_stats.cuh): slices of tiles
// give a (head, sequence), slices of B * tiles a head.
// Launch: block 2 * Shape::rows, grid (ceil(T / Shape::rows), H, B).
template <int DH>
__device__ __forceinline__ void attention_fwd(const float* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine, float* __restrict__ o, float* __restrict__ lse,
                                              float* __restrict__ stats, int B, int H, int seq) {
    constexpr int ROWS = Shape<DH>::rows, KEYS = Shape<DH>::forward, LD = Pitch<float, DH>::value;
    constexpr int ST = KEYS / 8, OT = DH / 8;
    SHARED(q, Array<float, ROWS * LD>);
    SHARED(k, Array<float, KEYS * LD>);
    SHARED(v, Array<float, KEYS * LD>);
    SHARED(scratch, Array<float, FORWARD_STATS * WARP>);

    const int tile = gridDim.x - 1 - blockIdx.x; // the longest rows first: they take the longest
    const int head = blockIdx.y, batch = blockIdx.z, first = tile * ROWS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width;
    const float* queries = qkv + static_cast<size_t>(batch) * seq * stride + head * DH;
    const int i0 = first + warp * 16 + g;
    const float scale = 1.f / sqrtf(static_cast<float>(DH));

    load_tile<DH, ROWS>(q, queries, stride, first, seq, cosine, sine);

    // Two rows a lane, e / 2 chooses. m is the row's maximum; the sums are this lane's columns' share of it:
    // l = sum exp(S - m), u = sum exp(S - m) (S - m), and about the fixed reference c: s1 = sum (S - c), s2 its square.
    float acc[OT][4];
    clear(acc);
    // low is the smallest logit, best the first key whose logit is m.
    float m[2], c[2], l[2] = {0.f, 0.f}, u[2] = {0.f, 0.f}, s1[2] = {0.f, 0.f}, s2[2] = {0.f, 0.f}, low[2] = {infinity(), infinity()};
    ForwardStats mine;
    int best[2] = {seq, seq};
    const int end = min(first + ROWS, seq);
    for (int k0 = 0; k0 < end; k0 += KEYS) {
        __syncthreads();
        load_tile<DH, KEYS>(k, queries + width, stride, k0, seq, cosine, sine);
        load_tile<DH, KEYS>(v, queries + 2 * width, stride, k0, seq, nullptr, nullptr);
        __syncthreads();
        if (k0 == 0) add_norms<float, DH, ROWS, false>(q, first, seq, mine.sums[FORWARD_QUERY], mine.sums[FORWARD_PAIRED_QUERY]);
        if (k0 >= first) add_norms<float, DH, KEYS, true>(k, k0, seq, mine.sums[FORWARD_KEY], mine.sums[FORWARD_PAIRED_KEY]); // the keys of this tile's own rows
        if (k0 > first + warp * 16 + 15) continue; // every key lies after all of this warp's queries
        float s[ST][4];
        product_nt<DH>(s, q + warp * 16 * LD, k);
        // Logits become probabilities, and the rows' sums take them in; masked: some key comes after some query.
        const auto absorb = [&](auto masked) {
            float top[2] = {-infinity(), -infinity()};
#pragma unroll
            for (int n = 0; n < ST; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    s[n][e] *= scale;
                    if (!masked.value || k0 + 8 * n + 2 * t + (e & 1) <= i0 + (e >> 1) * 8) {
                        top[e >> 1] = fmaxf(top[e >> 1], s[n][e]);
                        low[e >> 1] = fminf(low[e >> 1], s[n][e]);
                    }
                }
            }
#pragma unroll
            for (int r = 0; r < 2; r++) {
                top[r] = quad_max(top[r]);
                if (k0 == 0) {
                    m[r] = c[r] = top[r]; // key 0 is allowed to every row: finite from here on
                    continue;
                }
                if (top[r] > m[r]) best[r] = seq;
                const float higher = fmaxf(m[r], top[r]), shift = m[r] - higher, fade = expf(shift);
                u[r] = fade * (u[r] + l[r] * shift);
                l[r] *= fade;
                m[r] = higher;
#pragma unroll
                for (int n = 0; n < OT; n++) acc[n][2 * r] *= fade, acc[n][2 * r + 1] *= fade;
            }
#pragma unroll
            for (int n = 0; n < ST; n++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int r = e >> 1;
                    const int j = k0 + 8 * n + 2 * t + (e & 1);
                    float p = 0.f;
                    if (!masked.value || j <= i0 + r * 8) {
                        if (s[n][e] == m[r]) best[r] = min(best[r], j);
                        const float below = s[n][e] - m[r], about = s[n][e] - c[r];
                        p = expf(below);
                        l[r] += p;
                        u[r] += p * below;
                        s1[r] += about;
                        s2[r] += about * about;
                    }
                    s[n][e] = p;
                }
            }
        };
        if (k0 + KEYS - 1 <= first + warp * 16) {
            absorb(Flag<false>());
        } else {
            absorb(Flag<true>());
        }
        product_nn(acc, s, v);
    }

    float inverse[2];
    float* lse_row = lse + (static_cast<size_t>(batch) * H + head) * seq;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int i = i0 + 8 * r;
        Row row;
        row.top = m[r], row.low = quad_min(low[r]), row.best = quad_min(best[r]);
        row.l = quad_sum(l[r]), row.u = quad_sum(u[r]), row.c = c[r], row.s1 = quad_sum(s1[r]), row.s2 = quad_sum(s2[r]);
        inverse[r] = 1.f / row.l;
        if (i < seq && t == 0) lse_row[i] = finish_row(mine, row, i);
    }
    store_rows(o + static_cast<size_t>(batch) * seq * width + head * DH, width, acc, i0, seq, inverse[0], inverse[1]);
    write_forward_stats(mine, scratch, stats + ((static_cast<size_t>(head) * B + batch) * gridDim.x + tile) * FORWARD_STATS);
}

#define EXPORT_ATTENTION_FWD(NAME, DH)                                                                                  \
    extern "C" __global__ void __launch_bounds__(2 * Shape<DH>::rows) NAME(                                             \
        const float* qkv, const float* cosine, const float* sine, float* o, float* lse, float* stats, int B, int H,     \
        int seq) {                                                                                                      \
        attention_fwd<DH>(qkv, cosine, sine, o, lse, stats, B, H, seq);                                                 \
    }
EXPORT_ATTENTION_FWD(attention_fwd_d16_f32, 16)
EXPORT_ATTENTION_FWD(attention_fwd_d32_f32, 32)
EXPORT_ATTENTION_FWD(attention_fwd_d64_f32, 64)
EXPORT_ATTENTION_FWD(attention_fwd_d128_f32, 128)
