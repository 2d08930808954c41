//! Causal attention, both directions, against float64 with the T x T matrices written out.

mod support;

use growthpath_emu::{Arg, Bf16, Schedule};
use proptest::prelude::*;
use support::*;

#[derive(Debug)]
struct Case {
    batch: usize,
    heads: usize,
    seq: usize,
    dh: usize,
    rope: bool,
    /// Deviation of queries and keys: large ones make attention sharp.
    spread: f64,
    /// Added to one key dimension and its queries: logits share a large offset, which the centred sums must survive.
    offset: f64,
}

const fn case(
    batch: usize,
    heads: usize,
    seq: usize,
    dh: usize,
    rope: bool,
    spread: f64,
    offset: f64,
) -> Case {
    Case { batch, heads, seq, dh, rope, spread, offset }
}

/// One key, a tile and its neighbours, several tiles, a length that fits nothing; every head width.
const CASES: &[Case] = &[
    case(1, 1, 1, 32, false, 1.0, 0.0),
    case(2, 2, 5, 32, true, 1.0, 0.0),
    case(1, 2, 64, 32, false, 2.0, 0.0),
    case(1, 1, 65, 32, true, 1.0, 0.0),
    case(1, 1, 131, 32, false, 1.0, 8.0),
    case(1, 1, 1, 64, true, 1.0, 0.0),
    case(1, 3, 17, 64, false, 0.02, 0.0),
    case(2, 1, 63, 64, true, 1.0, 0.0),
    case(1, 1, 100, 64, false, 3.0, 0.0),
    case(1, 1, 129, 64, true, 1.0, 0.0),
    case(1, 1, 1, 128, false, 1.0, 0.0),
    case(1, 2, 33, 128, true, 1.0, 0.0),
    case(1, 1, 70, 128, false, 1.0, 4.0),
];

/// Rows a block owns: `Shape::rows` of attention.cuh.
fn rows<S: Storage>(dh: usize) -> usize {
    if dh == 128 && S::NAME == "f32" { 32 } else { 64 }
}

struct Inputs<S> {
    qkv: Vec<S>,
    tables: Option<(Vec<f32>, Vec<f32>)>,
}

fn inputs<S: Storage>(c: &Case, seed: u64) -> Inputs<S> {
    let mut rng = Rng(seed + (c.seq * 1000 + c.dh) as u64);
    let width = c.heads * c.dh;
    let mut qkv = Vec::new();
    for _ in 0..c.batch * c.seq {
        for block in 0..3 {
            for i in 0..width {
                let shift = if block < 2 && i % c.dh == 0 { c.offset } else { 0.0 };
                let std = if block < 2 { c.spread } else { 1.0 };
                qkv.push(S::new((shift + std * rng.normal()) as f32));
            }
        }
    }
    let half = c.dh / 2;
    let angle = |t: usize, j: usize| t as f64 * 10000f64.powf(-(j as f64) / half as f64);
    let table = |f: fn(f64) -> f64| -> Vec<f32> {
        (0..c.seq * half).map(|k| f(angle(k / half, k % half)) as f32).collect()
    };
    Inputs { qkv, tables: c.rope.then(|| (table(f64::cos), table(f64::sin))) }
}

impl<S: Storage> Inputs<S> {
    fn tables(&self) -> [Arg<'_>; 2] {
        self.tables.as_ref().map_or([Arg::NULL; 2], |(co, si)| [co.into(), si.into()])
    }

    /// One head's rows of block 0 (queries), 1 (keys) or 2 (values), queries and keys rotated and stored as the
    /// kernel stores them, in the same float32 steps.
    fn head(&self, c: &Case, block: usize, b: usize, h: usize) -> Vec<Vec<f64>> {
        let (width, half) = (c.heads * c.dh, c.dh / 2);
        (0..c.seq)
            .map(|i| {
                let at = ((b * c.seq + i) * 3 + block) * width + h * c.dh;
                let x: Vec<f32> = self.qkv[at..at + c.dh].iter().map(|v| v.get32()).collect();
                let turned = match &self.tables {
                    Some((co, si)) if block < 2 => (0..c.dh)
                        .map(|j| {
                            let k = i * half + j % half;
                            if j < half {
                                x[j] * co[k] - x[j + half] * si[k]
                            } else {
                                x[j] * co[k] + x[j - half] * si[k]
                            }
                        })
                        .collect(),
                    _ => x,
                };
                turned.into_iter().map(|v| S::new(v).get()).collect()
            })
            .collect()
    }
}

/// One head's attention in float64.
struct Head {
    q: Vec<Vec<f64>>,
    k: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
    /// Causal logits and probabilities, row i has i + 1.
    s: Vec<Vec<f64>>,
    p: Vec<Vec<f64>>,
    lse: Vec<f64>,
    out: Vec<Vec<f64>>,
    /// Largest error of a logit: dh + 4 roundings of its terms' sum of sizes.
    s_error: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
fn dot_size(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

fn head<S: Storage>(x: &Inputs<S>, c: &Case, b: usize, h: usize) -> Head {
    let (q, k, v) = (x.head(c, 0, b, h), x.head(c, 1, b, h), x.head(c, 2, b, h));
    let scale = 1.0 / (c.dh as f64).sqrt();
    let (mut s, mut p, mut lse, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut s_error = 0f64;
    for i in 0..c.seq {
        let row: Vec<f64> = (0..=i).map(|j| dot(&q[i], &k[j]) * scale).collect();
        for key in &k[..=i] {
            s_error = s_error.max((c.dh as f64 + 4.0) * U32 * scale * dot_size(&q[i], key));
        }
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|s| (s - top).exp()).sum();
        let prob: Vec<f64> = row.iter().map(|s| (s - top).exp() / sum).collect();
        out.push((0..c.dh).map(|e| (0..=i).map(|j| prob[j] * v[j][e]).sum()).collect());
        lse.push(top + sum.ln());
        s.push(row);
        p.push(prob);
    }
    Head { q, k, v, s, p, lse, out, s_error }
}

/// Error of storing an operand of a second product: bf16 rounds probabilities and logit gradients, float keeps them.
fn operand<S: Storage>() -> f64 {
    if S::NAME == "bf16" { S::U } else { 0.0 }
}

struct Forward<S> {
    o: Vec<S>,
    lse: Vec<f32>,
    stats: Vec<f32>,
}

fn forward<S: Storage>(c: &Case, x: &Inputs<S>, schedule: Schedule) -> Forward<S> {
    let n = c.batch * c.seq;
    let tiles = c.seq.div_ceil(rows::<S>(c.dh));
    let mut f = Forward {
        o: unwritten::<S>(n * c.heads * c.dh),
        lse: unwritten::<f32>(n * c.heads),
        stats: unwritten::<f32>(c.heads * c.batch * tiles * 6),
    };
    let [cosine, sine] = x.tables();
    launch(
        &format!("attention_fwd_d{}_{}", c.dh, S::NAME),
        [tiles as u32, c.heads as u32, c.batch as u32],
        [2 * rows::<S>(c.dh) as u32, 1, 1],
        schedule,
        &[
            (&x.qkv).into(),
            cosine,
            sine,
            (&mut f.o).into(),
            (&mut f.lse).into(),
            (&mut f.stats).into(),
            (c.batch as i32).into(),
            (c.heads as i32).into(),
            (c.seq as i32).into(),
        ],
    );
    f
}

fn check_forward<S: Storage>(c: &Case, schedule: Schedule) {
    let x = inputs::<S>(c, 1);
    let f = forward(c, &x, schedule);
    let tiles = c.seq.div_ceil(rows::<S>(c.dh));
    let stats = reduce(&f.stats, c.heads * c.batch, tiles, 6, 0b10_0001);
    let width = c.heads * c.dh;
    let t = c.seq as f64;
    for b in 0..c.batch {
        for h in 0..c.heads {
            let r = head(&x, c, b, h);
            // A probability moves by twice the logit error, and by the roundings of exp and of the online rescaling.
            let p_error = 2.0 * r.s_error + (t + 16.0) * U32;
            let mut want = [f64::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0];
            let mut allowed = [r.s_error, 0.0, 0.0, 0.0, 0.0, 0.0];
            for i in 0..c.seq {
                let len = (i + 1) as f64;
                for e in 0..c.dh {
                    let size: f64 = (0..=i).map(|j| r.p[i][j] * r.v[j][e].abs()).sum();
                    let got = f.o[(b * c.seq + i) * width + h * c.dh + e].get();
                    let tolerance =
                        (p_error + operand::<S>() * 1.01) * size + 1.01 * S::U * r.out[i][e].abs();
                    close("o", got, r.out[i][e], tolerance);
                }
                let lse_error = r.s_error + (t + 8.0) * U32 + 2.0 * U32 * r.lse[i].abs();
                close("lse", f.lse[(b * c.heads + h) * c.seq + i].get(), r.lse[i], lse_error);
                let top = r.s[i].iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mean = r.s[i].iter().sum::<f64>() / len;
                want[0] = want[0].max(top);
                for (s, p) in r.s[i].iter().zip(&r.p[i]) {
                    want[1] += s * s;
                    want[2] += (s - mean).powi(2);
                    if i > 0 && *p > 0.0 {
                        want[3] -= p * p.ln() / len.ln();
                    }
                    // logit errors, then additions about the reference logit, whose distance to s bounds the terms
                    let far = (top - s).abs().max((r.s[i][0] - s).abs()) + top.abs().max(s.abs());
                    allowed[1] += 2.0 * s.abs() * r.s_error + (t + 12.0) * U32 * far * far;
                    let about = (s - top).abs().max((s - r.s[i][0]).abs()).max((s - mean).abs());
                    allowed[2] += 2.0 * (s - mean).abs() * r.s_error
                        + r.s_error * r.s_error
                        + 4.0 * (t / 4.0 + 12.0) * U32 * (about + r.s_error).powi(2);
                }
                if i > 0 {
                    // dH = -sum p (ln p + H) dS, and sum p |ln p + H| <= 2 H <= 2 ln(len)
                    allowed[3] += 2.0 * r.s_error + (t + 32.0) * U32 * (1.0 + 1.0 / len.ln());
                }
                let first = (top - r.lse[i]).exp();
                want[4] += first;
                allowed[4] += p_error * first;
                allowed[5] = f64::max(allowed[5], 2.0 * lse_error);
            }
            for (k, (want, allowed)) in want.into_iter().zip(allowed).enumerate() {
                let got = stats[(h * c.batch + b) * 6 + k].get();
                close(
                    &format!("statistic {k}, seq {}, dh {}", c.seq, c.dh),
                    got,
                    want,
                    allowed + U32 * want.abs(),
                );
            }
            // A layout mistake could hide in a sum of two tiles' shares; the spread's mean square also bounds 4 |S|.
            assert!(want[2] <= want[1] + 1e-9);
        }
    }
}

/// Sum and sum of sizes along a product that ends in one gradient element.
#[derive(Clone, Copy, Default)]
struct Bounded {
    value: f64,
    error: f64,
}

fn check_backward<S: Storage>(c: &Case, schedule: Schedule) {
    let x = inputs::<S>(c, 2);
    let (n, width, half) = (c.batch * c.seq, c.heads * c.dh, c.dh / 2);
    let mut rng = Rng(99 + c.seq as u64);
    let dout = rng.normals::<S>(n * width, 0.0, 1.0);
    let heads: Vec<Head> = (0..c.batch * c.heads).map(|k| head(&x, c, k / c.heads, k % c.heads)).collect();
    let mut o = unwritten::<S>(n * width);
    let mut lse = vec![0f32; n * c.heads];
    for b in 0..c.batch {
        for h in 0..c.heads {
            for i in 0..c.seq {
                let r = &heads[b * c.heads + h];
                lse[(b * c.heads + h) * c.seq + i] = r.lse[i] as f32;
                for e in 0..c.dh {
                    o[(b * c.seq + i) * width + h * c.dh + e] = S::new(r.out[i][e] as f32);
                }
            }
        }
    }
    let sizes: [Arg<'_>; 3] = [(c.batch as i32).into(), (c.heads as i32).into(), (c.seq as i32).into()];
    let mut delta = unwritten::<f32>(n * c.heads);
    launch(
        &format!("attention_delta_{}", S::NAME),
        [3, 1, 1],
        [256, 1, 1],
        schedule,
        &[
            (&dout).into(),
            (&o).into(),
            (&mut delta).into(),
            sizes[0],
            sizes[1],
            sizes[2],
            (c.dh as i32).into(),
        ],
    );
    let tiles = c.seq.div_ceil(rows::<S>(c.dh));
    let (grid, block) = ([tiles as u32, c.heads as u32, c.batch as u32], [2 * rows::<S>(c.dh) as u32, 1, 1]);
    let mut dqkv = unwritten::<S>(n * 3 * width);
    let mut partial = unwritten::<f32>(c.heads * c.batch * tiles * 2);
    let [cosine, sine] = x.tables();
    let common: [Arg<'_>; 6] =
        [(&dout).into(), (&x.qkv).into(), cosine, sine, (&lse).into(), (&delta).into()];
    let q_name = format!("attention_bwd_q_d{}_{}", c.dh, S::NAME);
    launch(&q_name, grid, block, schedule, &{
        let mut args = common.to_vec();
        args.extend([Arg::from(&mut dqkv), (&mut partial).into()]);
        args.extend(sizes);
        args
    });
    let kv_name = format!("attention_bwd_kv_d{}_{}", c.dh, S::NAME);
    launch(&kv_name, grid, block, schedule, &{
        let mut args = common.to_vec();
        args.push((&mut dqkv).into());
        args.extend(&sizes[1..]);
        args
    });

    let stats = reduce(&partial, c.heads * c.batch, tiles, 2, 0);
    let scale = 1.0 / (c.dh as f64).sqrt();
    let t = c.seq as f64;
    for b in 0..c.batch {
        for h in 0..c.heads {
            let r = &heads[b * c.heads + h];
            let row = |i: usize| (b * c.seq + i) * width + h * c.dh;
            let grad: Vec<Vec<f64>> = (0..c.seq).map(|i| f64s(&dout[row(i)..row(i) + c.dh])).collect();
            let mut d =
                [vec![], vec![], vec![]].map(|_: Vec<()>| vec![vec![Bounded::default(); c.dh]; c.seq]);
            let (mut gs2, mut sgs) = (Bounded::default(), Bounded::default());
            for i in 0..c.seq {
                let kept = f64s(&o[row(i)..row(i) + c.dh]);
                let want = dot(&grad[i], &kept);
                let size = dot_size(&grad[i], &kept);
                // four terms a lane, five levels
                close("delta", delta[(b * c.heads + h) * c.seq + i].get(), want, 10.0 * U32 * size);
                // Against the exact delta, the stored o is off by its rounding.
                let exact = dot(&grad[i], &r.out[i]);
                let delta_error = 10.0 * U32 * size + (S::U + U32) * 1.01 * dot_size(&grad[i], &r.out[i]);
                let lse_error = U32 * r.lse[i].abs();
                let mut here = (0.0, 0.0);
                for j in 0..=i {
                    let (p, s) = (r.p[i][j], r.s[i][j]);
                    let p_error = p * (r.s_error + lse_error + U32 * (s - r.lse[i]).abs() + 4.0 * U32);
                    let dp = dot(&grad[i], &r.v[j]);
                    let dp_error = (c.dh as f64 + 1.0) * U32 * dot_size(&grad[i], &r.v[j]);
                    let ds = p * (dp - exact);
                    let ds_error = p_error * (dp - exact).abs()
                        + (p + p_error) * (dp_error + delta_error)
                        + 3.0 * U32 * ds.abs();
                    here = (here.0 + ds * ds, here.1 + s * ds);
                    gs2.error += 2.0 * ds.abs() * ds_error + ds_error * ds_error + (t + 12.0) * U32 * ds * ds;
                    sgs.error +=
                        s.abs() * ds_error + ds.abs() * r.s_error + (t + 12.0) * U32 * (s * ds).abs();
                    let rounding = operand::<S>() * 1.01 + (t + 8.0) * U32;
                    for e in 0..c.dh {
                        let add = |to: &mut Bounded, weight: f64, error: f64, with: f64| {
                            to.value += weight * with;
                            to.error += (error + rounding * weight.abs()) * with.abs();
                        };
                        add(&mut d[0][i][e], ds * scale, ds_error * scale, r.k[j][e]);
                        add(&mut d[1][j][e], ds * scale, ds_error * scale, r.q[i][e]);
                        add(&mut d[2][j][e], p, p_error, grad[i][e]);
                    }
                }
                gs2.value += here.0;
                sgs.value += here.1;
            }
            let mut euler = [Bounded::default(); 2];
            for (which, gradient) in d.iter().enumerate() {
                for (i, of_row) in gradient.iter().enumerate() {
                    for e in 0..c.dh {
                        let mut want = of_row[e];
                        // the rotation's transpose takes the gradient back to the raw vector
                        if let (Some((co, si)), true) = (&x.tables, which < 2) {
                            let k = i * half + e % half;
                            let (co, si) = (co[k].get(), si[k].get());
                            let other = of_row[(e + half) % c.dh];
                            let sign = if e < half { 1.0 } else { -1.0 };
                            want = Bounded {
                                value: want.value * co + sign * other.value * si,
                                error: want.error * co.abs()
                                    + other.error * si.abs()
                                    + 3.0 * U32 * ((want.value * co).abs() + (other.value * si).abs()),
                            };
                        }
                        let at = ((b * c.seq + i) * 3 + which) * width + h * c.dh + e;
                        let tolerance = want.error + 1.01 * S::U * want.value.abs();
                        let what =
                            format!("{} [{i}, {e}], seq {}, dh {}", ["dq", "dk", "dv"][which], c.seq, c.dh);
                        close(&what, dqkv[at].get(), want.value, tolerance);
                        if which < 2 {
                            // rotation of bf16 operands is stored, so the raw vector is off by a rounding
                            let raw = x.qkv[at].get();
                            euler[which].value += raw * dqkv[at].get();
                            euler[which].error +=
                                raw.abs() * (tolerance + operand::<S>() * 2.0 * want.value.abs());
                        }
                    }
                }
            }
            let got = |k: usize| stats[(h * c.batch + b) * 2 + k].get();
            close("|G_S|^2", got(0), gs2.value, gs2.error);
            close("<S, G_S>", got(1), sgs.value, sgs.error);
            // (2.1) at the activations: <q, dq> = <k, dk> = <S, G_S>, from the kernel's own outputs
            for (which, e) in euler.iter().enumerate() {
                close(["<q, dq>", "<k, dk>"][which], e.value, got(1), e.error + sgs.error);
            }
        }
    }
}

#[test]
fn forward_float() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_forward::<f32>(c, schedule);
        }
    }
}

#[test]
fn forward_bf16() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_forward::<Bf16>(c, schedule);
        }
    }
}

#[test]
fn backward_float() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_backward::<f32>(c, schedule);
        }
    }
}

#[test]
fn backward_bf16() {
    for c in CASES {
        for schedule in Schedule::ALL {
            check_backward::<Bf16>(c, schedule);
        }
    }
}

#[test]
fn a_nan_logit_is_loud() {
    let c = case(1, 1, 40, 64, false, 1.0, 0.0);
    let mut x = inputs::<f32>(&c, 3);
    x.qkv[20 * 3 * 64] = f32::NAN; // a query of row 20
    let f = forward(&c, &x, Schedule::Forward);
    let row = |i: usize| f.o[i * 64..(i + 1) * 64].iter().all(|v| v.is_finite());
    assert!(row(19) && !row(20) && row(21));
    let stats = reduce(&f.stats, 1, 1, 6, 0b10_0001);
    assert!(stats.iter().all(|v| v.is_nan()), "{stats:?}");
}

fn any_case() -> impl Strategy<Value = Case> {
    let shape =
        (1usize..3, 1usize..4, 1usize..150, prop::sample::select(vec![32usize, 64, 128]), any::<bool>());
    (shape, -3.0..1.5f64, 0.0..6.0f64).prop_map(|((batch, heads, seq, dh, rope), log_spread, offset)| Case {
        batch,
        heads,
        seq: if dh == 128 { seq.min(80) } else { seq },
        dh,
        rope,
        spread: log_spread.exp(),
        offset,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any shape and scale agrees with the reference, both ways.
    #[test]
    fn any_shape_agrees(c in any_case(), seed in 0u16..1000) {
        check_forward::<f32>(&c, Schedule::Permuted(seed));
        check_forward::<Bf16>(&c, Schedule::Permuted(seed));
        check_backward::<f32>(&c, Schedule::Permuted(seed));
        check_backward::<Bf16>(&c, Schedule::Permuted(seed));
    }

    /// Bounds that no logits can break: the bracket (2.5), entropy within ln(len), the largest weight at least the
    /// uniform one and at most one, the centred energy at most the whole.
    #[test]
    fn statistics_keep_their_bounds(c in any_case()) {
        let x = inputs::<Bf16>(&c, 4);
        let f = forward(&c, &x, Schedule::Forward);
        let tiles = c.seq.div_ceil(rows::<Bf16>(c.dh));
        let stats = reduce(&f.stats, c.heads * c.batch, tiles, 6, 0b10_0001);
        let uniform: f64 = (1..=c.seq).map(|len| 1.0 / len as f64).sum();
        let rows = c.seq as f64;
        for s in stats.chunks(6).map(f64s) {
            // log-sum-exp and maximum round at their own size; sums of positive terms at theirs
            let slack = 1e-5 * rows;
            prop_assert!(s[5] >= 0.0 && s[5] <= 8.0 * U32 * (s[0].abs() + rows.ln() + 1.0) + 1e-5, "{s:?}");
            prop_assert!(s[2] >= 0.0 && s[2] <= s[1] * (1.0 + 1e-4), "{s:?}");
            prop_assert!(s[3] >= -slack && s[3] <= rows - 1.0 + slack, "{s:?}");
            prop_assert!(s[4] >= uniform - slack && s[4] <= rows + slack, "{s:?}");
        }
    }
}
