//! Causal attention of one (sequence, head) in float64, with a float32 error bound beside every result.

use growthpath_kernels::attention::Shape;

use crate::support::{Bounded, U};

type Rows = Vec<Vec<f64>>;

/// Everything that one head computes; rows `i` hold `i + 1` keys.
pub struct Head {
    /// Rotated queries and keys, values `[T][d_h]`.
    pub q: Rows,
    pub k: Rows,
    pub v: Rows,
    /// Post-scale logits and their bounds.
    pub s: Rows,
    pub s_bound: Rows,
    pub p: Rows,
    /// Relative bound of the probabilities of each row.
    pub p_bound: Vec<f64>,
    pub lse: Vec<Bounded>,
    pub out: Rows,
    pub out_bound: Vec<f64>,
}

pub fn rotate(v: &[f64], position: usize, base: f64, sign: f64) -> Vec<f64> {
    let half = v.len() / 2;
    let mut out = v.to_vec();
    for i in 0..half {
        let angle = sign * position as f64 * base.powf(-(i as f64) / half as f64);
        out[i] = v[i] * angle.cos() - v[i + half] * angle.sin();
        out[i + half] = v[i] * angle.sin() + v[i + half] * angle.cos();
    }
    out
}

pub fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Vector of block `block` (0 query, 1 key, 2 value) of token `t` in sequence `b`.
pub fn block(shape: Shape, qkv: &[f64], b: usize, h: usize, t: usize, block: usize) -> &[f64] {
    let at = (b * shape.seq_len + t) * 3 * shape.width() + block * shape.width() + h * shape.head_dim;
    &qkv[at..at + shape.head_dim]
}

pub fn head(shape: Shape, qkv: &[f64], rope: Option<f64>, b: usize, h: usize) -> Head {
    let (t, dh) = (shape.seq_len, shape.head_dim);
    let load = |kind: usize| -> Rows {
        (0..t)
            .map(|i| {
                let v = block(shape, qkv, b, h, i, kind);
                match rope.filter(|_| kind < 2) {
                    Some(base) => rotate(v, i, base, 1.0),
                    None => v.to_vec(),
                }
            })
            .collect()
    };
    let (q, k, v) = (load(0), load(1), load(2));
    let scale = 1.0 / (dh as f64).sqrt();
    let lanes = t as f64 / 16.0;
    let mut o = Head {
        q,
        k,
        v,
        s: vec![],
        s_bound: vec![],
        p: vec![],
        p_bound: vec![],
        lse: vec![],
        out: vec![],
        out_bound: vec![],
    };
    for i in 0..t {
        let s: Vec<f64> = (0..=i).map(|j| inner(&o.q[i], &o.k[j]) * scale).collect();
        // d_h multiply-adds on |q||k| (Cauchy-Schwarz); each rotation is good to 3 sqrt(2) U of the vector, its tables
        // to sqrt(2) U more, the scale to 2 U: below 16 U together.
        let s_bound: Vec<f64> =
            (0..=i).map(|j| (dh as f64 + 16.0) * U * norm(&o.q[i]) * norm(&o.k[j]) * scale).collect();
        let worst = s_bound.iter().copied().fold(0.0, f64::max);
        let max = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let z: f64 = s.iter().map(|s| (s - max).exp()).sum();
        let p: Vec<f64> = s.iter().map(|s| (s - max).exp() / z).collect();
        let lse = max + z.ln();
        // The exponent s - max is rounded (U |s - max|, averaged under p), the exponential errs by 6 U, the lanes by
        // t/16 + 5 additions, the logarithm and the final sum by U of their results.
        let arguments: f64 = p.iter().zip(&s).map(|(p, s)| p * (max - s)).sum();
        let sum = (lanes + 14.0 + arguments) * U;
        let deepest = s.iter().fold(0f64, |m, s| m.max(max - s)).min(90.0);
        let relative = 2.0 * worst + sum + (deepest + 10.0) * U;
        let mut out = vec![0.0; dh];
        let mut magnitude = vec![0.0; dh];
        for (p, v) in p.iter().zip(&o.v) {
            for c in 0..dh {
                out[c] += p * v[c];
                magnitude[c] += (p * v[c]).abs();
            }
        }
        let magnitude = magnitude.iter().copied().fold(0.0, f64::max);
        o.out_bound.push((relative + (i as f64 + 4.0) * U) * magnitude);
        o.lse.push(Bounded::new(lse, worst + sum + 3.0 * U * (lse.abs() + z.ln())));
        o.p_bound.push(relative);
        o.out.push(out);
        o.p.push(p);
        o.s.push(s);
        o.s_bound.push(s_bound);
    }
    o
}

/// The statistics of one head over its heads of all sequences, in the order of `LogitStats`.
pub fn statistics(heads: &[&Head]) -> [Bounded; 12] {
    let t = heads[0].s.len();
    let lanes = (t as f64 / 16.0 + 12.0) * U;
    let pairs = (heads.len() * t * (t + 1) / 2) as f64;
    let (mut max, mut gap) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let (mut ms, mut ms_bound, mut c2, mut moved2, mut mean2) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut entropy, mut entropy_bound, mut top1, mut top1_bound) = (0.0, 0f64, 0.0, 0f64);
    let (mut worst, mut lse_bound, mut scale) = (0f64, 0f64, 0f64);
    let (mut min, mut sharpness, mut sharp_rows) = (f64::INFINITY, 0.0, 0.0);
    // Distances of the nearest and the farthest key that rounding can make the largest.
    let (mut near, mut far) = (0.0, 0.0);
    for h in heads {
        for i in 0..t {
            let (s, e, p) = (&h.s[i], &h.s_bound[i], &h.p[i]);
            let n = s.len() as f64;
            let m = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = s.iter().sum::<f64>() / n;
            // Same sum of magnitudes as the mean itself is made of.
            let mean_bound = lanes * s.iter().map(|s| s.abs()).sum::<f64>() / n;
            max = max.max(m);
            min = s.iter().copied().fold(min, f64::min);
            let wide = e.iter().copied().fold(0.0, f64::max);
            let candidates = || (0..s.len()).filter(|j| s[*j] >= m - 2.0 * wide);
            near += candidates().map(|j| i - j).min().unwrap() as f64;
            far += candidates().map(|j| i - j).max().unwrap() as f64;
            for (s, e) in s.iter().zip(e) {
                ms += s * s;
                ms_bound += 2.0 * s.abs() * e + e * e + lanes * s * s;
                c2 += (s - mean).powi(2);
                moved2 += (2.0 * e + U * (s - mean).abs()).powi(2);
                worst = worst.max(*e);
            }
            mean2 += n * mean_bound.powi(2);
            let row: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            if i > 0 {
                entropy += row / n.ln();
                if s.len() >= 8 {
                    sharpness += 1.0 - row / n.ln();
                    sharp_rows += 1.0;
                }
                // dH = -sum p (ln p + H) dS: at most 2 H max|dS|; the rounding of ln z and of sum e d on top.
                let rounding = lanes * (2.0 * n.ln() + 2.0) + 3.0 * U;
                entropy_bound = entropy_bound.max((4.0 * row * h.p_bound[i] + rounding) / n.ln());
            }
            let top = p.iter().copied().fold(0.0, f64::max);
            top1 += top;
            top1_bound = top1_bound.max(top * h.p_bound[i]);
            gap = gap.max(h.lse[i].value - n.ln() - m).max(m - h.lse[i].value);
            lse_bound = lse_bound.max(h.lse[i].bound);
            scale = scale.max(h.lse[i].value.abs()).max(m.abs());
        }
    }
    let rows = heads.len() as f64;
    let spread = (c2 / pairs).sqrt();
    // Triangle inequality for the moved logits; a wrong mean adds its square (it is orthogonal to what is centred).
    let moved = (moved2 / pairs).sqrt();
    let shifted = if spread > 0.0 { mean2 / pairs / (2.0 * spread) } else { f64::INFINITY };
    let spread_bound = moved + lanes * spread + shifted.min((mean2 / pairs).sqrt());
    let entropy = entropy / (rows * (t as f64 - 1.0)).max(1.0);
    let all = rows * t as f64;
    let [q, k, cosine] = geometry(heads);
    [
        Bounded::new(max, worst),
        Bounded::new(min, worst),
        Bounded::new(ms / pairs, ms_bound / pairs),
        Bounded::new(spread, spread_bound),
        Bounded::new(entropy, entropy_bound),
        Bounded::new(sharpness / sharp_rows, entropy_bound + U),
        Bounded::new(top1 / (rows * t as f64), top1_bound),
        Bounded::new(0.5 * (near + far) / all, 0.5 * (far - near) / all + 1e-12),
        q,
        k,
        cosine,
        Bounded::new(gap, lse_bound + worst + 4.0 * U * (scale + 8.0)),
    ]
}

/// RMS norm of queries, of keys, and the cosine between them over causal pairs.
fn geometry(heads: &[&Head]) -> [Bounded; 3] {
    let (t, dh) = (heads[0].q.len(), heads[0].q[0].len() as f64);
    let lanes = (t as f64 / 16.0 + 12.0) * U;
    let [mut q2, mut k2, mut q2_pairs, mut k2_pairs, mut product, mut moved] = [0.0; 6];
    for h in heads {
        for i in 0..t {
            let (q, k) = (norm(&h.q[i]).powi(2), norm(&h.k[i]).powi(2));
            q2 += q;
            k2 += k;
            for (j, (s, e)) in h.s[i].iter().zip(&h.s_bound[i]).enumerate() {
                q2_pairs += q;
                k2_pairs += norm(&h.k[j]).powi(2);
                product += s;
                moved += e + lanes * s.abs();
            }
        }
    }
    let tokens = (heads.len() * t) as f64;
    // Rotation and scale move a vector by less than 16 U of its norm; lanes of d_h / 16 squares and a tree on top.
    let relative = (dh / 16.0 + 24.0) * U;
    let sizes = (q2_pairs * k2_pairs).sqrt() / dh.sqrt();
    let rms = |sum: f64| Bounded::new((sum / tokens).sqrt(), relative * (sum / tokens).sqrt());
    let cosine = product / sizes;
    [rms(q2), rms(k2), Bounded::new(cosine, moved / sizes + 2.0 * relative * cosine.abs())]
}

/// Gradients of one head: rows of `dq`, `dk`, `dv`, the bound of each row, and `(|G_S|^2, <S, G_S>)`.
pub struct Grads {
    pub d: [Rows; 3],
    pub bound: [Vec<f64>; 3],
    pub gs2: Bounded,
    pub sgs: Bounded,
}

pub fn gradients(shape: Shape, f: &Head, rope: Option<f64>, d_out: &Rows) -> Grads {
    let (t, dh) = (shape.seq_len, shape.head_dim);
    let scale = 1.0 / (dh as f64).sqrt();
    let (mut dq, mut dk, mut dv) = (vec![vec![0.0; dh]; t], vec![vec![0.0; dh]; t], vec![vec![0.0; dh]; t]);
    let (mut bq, mut bk, mut bv) = (vec![0.0; t], vec![0.0; t], vec![0.0; t]);
    let (mut gs2, mut sgs) = (Bounded::default(), Bounded::default());
    let lanes = (t as f64 / 16.0 + 8.0) * U;
    // a sum over at most t rows or keys, then scale and rotation
    let sums = (t as f64 + 16.0) * U;
    for i in 0..t {
        let go = &d_out[i];
        let delta = inner(go, &f.out[i]);
        let delta_bound =
            norm(go) * (f.out_bound[i] * (dh as f64).sqrt() + (dh as f64 + 2.0) * U * norm(&f.out[i]));
        // What the kernel takes off the row: any number gives the same product, for rows of G_S sum to zero.
        let centre = f.lse[i].value - (i as f64 + 1.0).ln();
        let mean = f.s[i].iter().sum::<f64>() / (i as f64 + 1.0);
        let centre_bound = f.lse[i].bound + 2.0 * U * (f.lse[i].value.abs() + 8.0);
        for j in 0..=i {
            let (s, p) = (f.s[i][j], f.p[i][j]);
            let dp = inner(go, &f.v[j]);
            let dp_bound = (dh as f64 + 2.0) * U * norm(go) * norm(&f.v[j]);
            let ds = p * (dp - delta);
            // p = exp(s - lse) again, from logits and a saved lse that carry their own errors
            let p_bound = p * (f.s_bound[i][j] + f.lse[i].bound + U * ((s - f.lse[i].value).abs() + 8.0));
            let ds_bound =
                p_bound * (dp - delta).abs() + p * (dp_bound + delta_bound) * 1.01 + 2.0 * U * ds.abs();
            gs2.value += ds * ds;
            gs2.bound += 2.0 * ds.abs() * ds_bound + ds_bound * ds_bound + lanes * ds * ds;
            sgs.value += (s - mean) * ds;
            let about = (s - centre).abs() + centre_bound + f.s_bound[i][j];
            sgs.bound += about * ds_bound
                + ds.abs() * (f.s_bound[i][j] + centre_bound + U * s.abs())
                + lanes * about * ds.abs();
            for c in 0..dh {
                dq[i][c] += ds * f.k[j][c] * scale;
                dk[j][c] += ds * f.q[i][c] * scale;
                dv[j][c] += p * go[c];
            }
            bq[i] += (ds_bound + sums * ds.abs()) * norm(&f.k[j]) * scale;
            bk[j] += (ds_bound + sums * ds.abs()) * norm(&f.q[i]) * scale;
            bv[j] += (p_bound + sums * p) * norm(go);
        }
    }
    if let Some(base) = rope {
        for i in 0..t {
            dq[i] = rotate(&dq[i], i, base, -1.0);
            dk[i] = rotate(&dk[i], i, base, -1.0);
        }
    }
    Grads { d: [dq, dk, dv], bound: [bq, bk, bv], gs2, sgs }
}
