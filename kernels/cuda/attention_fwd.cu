// Causal attention, forward: tiles of keys stream past a tile of queries, no T x T array, and each row leaves its
// logit statistics behind.
#include "attention.cuh"

// qkv, cosine, sine (both null: no rotation) as in attention.cuh; o [B * T, H * DH], lse [B, H, T];
// stats [H, B, gridDim.x, FORWARD_STATS] = this tile's rows' partial statistics (attention_stats.cuh): slices of tiles
// give a (head, sequence), slices of B * tiles a head.
// Launch: block 2 * Shape::rows, grid (ceil(T / Shape::rows), H, B).
template <class T, int DH>
__device__ __forceinline__ void attention_fwd(const T* __restrict__ qkv, const float* __restrict__ cosine, const float* __restrict__ sine, T* __restrict__ o, float* __restrict__ lse,
                                              float* __restrict__ stats, int B, int H, int seq) {
    constexpr int ROWS = Shape<T, DH>::rows, KEYS = Shape<T, DH>::forward, LD = Pitch<T, DH>::value;
    constexpr int ST = KEYS / 8, OT = DH / 8;
    SHARED(q, Array<T, ROWS * LD>);
    SHARED(k, Array<T, KEYS * LD>);
    SHARED(v, Array<T, KEYS * LD>);
    SHARED(scratch, Array<float, FORWARD_SUMS * WARP>);

    const int tile = gridDim.x - 1 - blockIdx.x; // the longest rows first: they take the longest
    const int head = blockIdx.y, batch = blockIdx.z, first = tile * ROWS;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const size_t width = static_cast<size_t>(H) * DH, stride = 3 * width;
    const T* queries = qkv + static_cast<size_t>(batch) * seq * stride + head * DH;
    const int i0 = first + warp * 16 + g;
    const float scale = 1.f / sqrtf(static_cast<float>(DH));

    load_tile<T, DH, ROWS>(q, queries, stride, first, seq, cosine, sine);

    // Two rows a lane, e / 2 chooses. m is the row's maximum; the sums are this lane's columns' share of it:
    // l = sum exp(S - m), u = sum exp(S - m) (S - m), and about the fixed reference c: s1 = sum (S - c), s2 its square.
    float acc[OT][4];
    clear(acc);
    // low is the smallest logit, best the first key whose logit is m.
    float m[2], c[2], l[2] = {0.f, 0.f}, u[2] = {0.f, 0.f}, s1[2] = {0.f, 0.f}, s2[2] = {0.f, 0.f}, low[2] = {infinity(), infinity()};
    float query = 0.f, key = 0.f, paired_query = 0.f, paired_key = 0.f;
    int best[2] = {seq, seq};
    const int end = min(first + ROWS, seq);
    for (int k0 = 0; k0 < end; k0 += KEYS) {
        __syncthreads();
        load_tile<T, DH, KEYS>(k, queries + width, stride, k0, seq, cosine, sine);
        load_tile<T, DH, KEYS>(v, queries + 2 * width, stride, k0, seq, nullptr, nullptr);
        __syncthreads();
        if (k0 == 0) add_norms<T, DH, ROWS, false>(q, first, seq, query, paired_query);
        if (k0 >= first) add_norms<T, DH, KEYS, true>(k, k0, seq, key, paired_key); // the keys of this tile's own rows
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
                const float higher = fmaxf(m[r], top[r]), shift = m[r] - higher, fade = attention_exp<T>(shift);
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
                        p = attention_exp<T>(below);
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

    float sums[FORWARD_SUMS] = {}, peak = -infinity(), depth = -infinity(), broken = 0.f, inverse[2];
    sums[FORWARD_QUERY] = query, sums[FORWARD_KEY] = key, sums[FORWARD_PAIRED_QUERY] = paired_query, sums[FORWARD_PAIRED_KEY] = paired_key;
    float* lse_row = lse + (static_cast<size_t>(batch) * H + head) * seq;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int i = i0 + 8 * r;
        l[r] = quad_sum(l[r]), u[r] = quad_sum(u[r]), s1[r] = quad_sum(s1[r]), s2[r] = quad_sum(s2[r]);
        low[r] = quad_min(low[r]), best[r] = quad_min(best[r]);
        inverse[r] = 1.f / l[r];
        if (i >= seq || t != 0) continue;
        const float len = static_cast<float>(i + 1), log_len = logf(len), log_l = logf(l[r]), row_lse = m[r] + log_l;
        const bool sound = l[r] == l[r]; // fmaxf and fminf dropped NaN logits from m and low, l kept them
        lse_row[i] = row_lse;
        sums[FORWARD_SQUARES] += s2[r] + 2.f * c[r] * s1[r] + len * c[r] * c[r];
        sums[FORWARD_LOGITS] += s1[r] + len * c[r];
        const float centred = s2[r] - s1[r] * s1[r] / len;
        sums[FORWARD_CENTRED] += centred < 0.f ? 0.f : centred; // fmaxf would hide a NaN
        // H = ln l - u / l, both terms non-negative: no cancellation
        const float relative = (log_l - u[r] * inverse[r]) / log_len;
        if (i > 0) sums[FORWARD_ENTROPY] += relative;
        if (i + 1 >= SHARP_KEYS) sums[FORWARD_SHARPNESS] += 1.f - relative;
        sums[FORWARD_TOP1] += inverse[r];
        sums[FORWARD_DISTANCE] += sound ? static_cast<float>(i - best[r]) : l[r];
        peak = loud_max(peak, sound ? m[r] : l[r]);
        depth = loud_max(depth, sound ? -low[r] : l[r]);
        broken = loud_max(broken, fmaxf(row_lse - m[r] - log_len, m[r] - row_lse)); // (2.5)
    }
    store_rows(o + static_cast<size_t>(batch) * seq * width + head * DH, width, acc, i0, seq, inverse[0], inverse[1]);

    block_sum(sums, scratch);
    peak = block_max(peak, scratch);
    depth = block_max(depth, scratch);
    broken = block_max(broken, scratch);
    if (threadIdx.x == 0) {
        float* out = stats + ((static_cast<size_t>(head) * B + batch) * gridDim.x + tile) * FORWARD_STATS;
        for (int n = 0; n < FORWARD_SUMS; n++) out[n] = sums[n];
        out[FORWARD_TOP] = peak, out[FORWARD_DEPTH] = depth, out[FORWARD_BRACKET] = broken;
    }
}

#define EXPORT_ATTENTION_FWD(NAME, T, DH)                                                                               \
    extern "C" __global__ void __launch_bounds__(2 * Shape<T, DH>::rows) NAME(                                          \
        const T* qkv, const float* cosine, const float* sine, T* o, float* lse, float* stats, int B, int H, int seq) {  \
        attention_fwd<T, DH>(qkv, cosine, sine, o, lse, stats, B, H, seq);                                              \
    }
EXPORT_ATTENTION_FWD(attention_fwd_d32_f32, float, 32)
EXPORT_ATTENTION_FWD(attention_fwd_d64_f32, float, 64)
EXPORT_ATTENTION_FWD(attention_fwd_d128_f32, float, 128)
EXPORT_ATTENTION_FWD(attention_fwd_d32_bf16, bf16, 32)
EXPORT_ATTENTION_FWD(attention_fwd_d64_bf16, bf16, 64)
EXPORT_ATTENTION_FWD(attention_fwd_d128_bf16, bf16, 128)
