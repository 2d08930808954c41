//! AdamW and SGD with groups, slots, clipping and decay, step by step against float64.

use growthpath_kernels::Stats;
use growthpath_kernels::optimizer::{
    Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update, step, sum_squares,
};

use crate::support::{Bounded, Draw, U, assert_all, assert_close, tensor, values, wide};

const GROUPS: usize = 3;
const SLOTS: usize = 2;

/// A random partition of `len` elements over groups and slots.
fn partition(draw: &mut Draw, len: usize) -> Vec<Segment> {
    let (mut start, mut out) = (0, Vec::new());
    while start < len {
        let len = (1 + draw.below(len)).min(len - start);
        let slot = [None, Some(0), Some(1)][draw.below(3)];
        out.push(Segment { start, len, group: draw.below(GROUPS), slot });
        start += len;
    }
    out
}

/// New weight, first and second moment of one element, each with its bound.
fn element(u: &Update<'_>, (decay, lr): (Decay, f64), [w, g, m, v]: [f64; 4]) -> [Bounded; 3] {
    let g = g * f64::from(u.clip_scale);
    let decay = if decay == Decay::Applied { f64::from(u.weight_decay) } else { 0.0 };
    let (m, v, direction, bound) = match u.rule {
        Rule::AdamW { beta1, beta2, eps } => {
            let (b1, b2, eps) = (f64::from(beta1 as f32), f64::from(beta2 as f32), f64::from(eps as f32));
            let (old_m, old_v) = (m, v);
            let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
            // clip, product, coefficient, sum: four roundings of terms that may cancel in m and cannot in v
            let m_bound = 4.0 * U * ((b1 * old_m).abs() + ((1.0 - b1) * g).abs());
            let v_bound = 6.0 * U * (b2 * old_v + (1.0 - b2) * g * g);
            let t = f64::from(u.t);
            let (c1, c2) = (1.0 - b1.powf(t), 1.0 - b2.powf(t));
            let denominator = (v / c2).sqrt() + eps;
            let direction = m / c1 / denominator;
            // half of v's relative error through the root; two roundings of corrections, quotient and products
            let bound =
                m_bound / c1 / denominator + direction.abs() * (v_bound / v.max(1e-300) / 2.0 + 8.0 * U);
            (Bounded::new(m, m_bound), Bounded::new(v, v_bound), direction, bound)
        }
        Rule::Sgd { momentum } => {
            let mu = f64::from(momentum as f32);
            let bound = 3.0 * U * ((mu * m).abs() + g.abs());
            (Bounded::new(mu * m + g, bound), Bounded::default(), mu * m + g, bound)
        }
    };
    let step = lr * (direction + decay * w);
    let bound = lr * (bound + 3.0 * U * (direction.abs() + (decay * w).abs())) + U * ((w - step).abs());
    [Bounded::new(w - step, bound), m, v]
}

#[test]
fn updates_and_statistics_match_float64() {
    let mut draw = Draw::new();
    let rules = [
        Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 },
        Rule::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-6 },
        Rule::Sgd { momentum: 0.0 },
        Rule::Sgd { momentum: 0.9 },
    ];
    // around the runs of 512 and the pieces of 8192
    for len in [1, 15, 17, 512, 513, 8191, 20_011] {
        for rule in rules {
            for (clip_scale, decay, stats) in [
                (1.0, Decay::Exempt, Stats::Taken),
                (0.37, Decay::Applied, Stats::Taken),
                (0.5, Decay::Applied, Stats::Off),
            ] {
                let name = format!("{rule:?} len={len} clip={clip_scale} decay={decay:?} stats={stats:?}");
                let segments = partition(&mut draw, len);
                let multipliers = [1.0, 0.25, 0.0];
                let param = tensor(&draw.normal(len, 0.5), &[len]);
                let mut moments = OptimizerState::zeros(rule, len);
                let mut slots = [HeadUpdateStats::default(); SLOTS];
                for t in 1..4u32 {
                    let g = draw.normal(len, 0.02);
                    let u = Update {
                        rule,
                        lr: 0.01,
                        multipliers: &multipliers,
                        weight_decay: 0.1,
                        clip_scale,
                        t,
                        stats,
                    };
                    let (w0, before) = (values(&param), moments.clone());
                    slots = [HeadUpdateStats::default(); SLOTS];
                    step(&u, &param, &tensor(&g, &[len]), (decay, &segments), &mut moments, &mut slots)
                        .unwrap();
                    let w1 = values(&param);
                    let mut want: [Vec<Bounded>; 3] = Default::default();
                    for s in &segments {
                        let lr = f64::from(u.lr) * f64::from(multipliers[s.group]);
                        for i in s.start..s.start + s.len {
                            let v = before.v.get(i).map_or(0.0, |v| f64::from(*v));
                            let (w, g, m) = (f64::from(w0[i]), f64::from(g[i]), f64::from(before.m[i]));
                            for (all, one) in want.iter_mut().zip(element(&u, (decay, lr), [w, g, m, v])) {
                                all.push(one);
                            }
                        }
                    }
                    assert_all(&format!("{name} t={t} w"), &w1, &want[0]);
                    assert_all(&format!("{name} t={t} m"), &moments.m, &want[1]);
                    if !moments.v.is_empty() {
                        assert_all(&format!("{name} t={t} v"), &moments.v, &want[2]);
                    }
                    check_slots(&name, &slots, &segments, stats, [&w0, &w1, &g]);
                }
                let unmarked = segments.iter().all(|s| s.slot.is_none());
                assert_eq!(
                    slots == [HeadUpdateStats::default(); SLOTS],
                    !stats.taken() || unmarked,
                    "{name}"
                );
            }
        }
    }
}

/// Statistics against sums over the very weights that were written: only the summation is left to tolerate.
fn check_slots(
    name: &str,
    got: &[HeadUpdateStats],
    segments: &[Segment],
    stats: Stats,
    [w0, w1, g]: [&[f32]; 3],
) {
    for (slot, got) in got.iter().enumerate() {
        let mut want = [Bounded::default(); 6];
        let mut g_max = 0f32;
        for s in segments.iter().filter(|s| stats.taken() && s.slot == Some(slot)) {
            for i in s.start..s.start + s.len {
                let (w, g, d) = (f64::from(w0[i]), f64::from(g[i]), f64::from(w1[i]) - f64::from(w0[i]));
                for (sum, term) in want.iter_mut().zip([g * g, w * w, d * d, w * g, w * d, g * d]) {
                    sum.value += term;
                    // runs of 512 elements: 32 additions a lane and a tree of four; d itself rounds once
                    sum.bound += 40.0 * U * term.abs();
                }
                g_max = g_max.max(g.abs() as f32);
            }
        }
        let sums = [got.g2, got.w2, got.d2, got.wg, got.wd, got.gd];
        for ((what, got), want) in ["g2", "w2", "d2", "wg", "wd", "gd"].iter().zip(sums).zip(want) {
            assert_close(&format!("{name} slot {slot} {what}"), got, want);
        }
        assert_eq!(got.g_max, g_max, "{name} slot {slot}");
        // (2.4): |W + dW|^2 - |W|^2 = 2 <W, dW> + |dW|^2
        let after: f64 = segments
            .iter()
            .filter(|s| stats.taken() && s.slot == Some(slot))
            .flat_map(|s| &w1[s.start..s.start + s.len])
            .map(|w| f64::from(*w).powi(2))
            .sum();
        let bound = want[1].bound + 2.0 * want[4].bound + want[2].bound + 1e-14 * after;
        let change = Bounded::new(after - got.w2, bound);
        assert_close(&format!("{name} slot {slot} (2.4)"), 2.0 * got.wd + got.d2, change);
    }
}

#[test]
fn slots_add_up_over_parameters() {
    let mut draw = Draw::new();
    let rule = Rule::Sgd { momentum: 0.0 };
    let u = Update {
        rule,
        lr: 0.1,
        multipliers: &[1.0],
        weight_decay: 0.0,
        clip_scale: 1.0,
        t: 1,
        stats: Stats::Taken,
    };
    let segment = |len| [Segment { start: 0, len, group: 0, slot: Some(0) }];
    let (mut both, mut parts) = ([HeadUpdateStats::default()], Vec::new());
    for len in [40, 7] {
        let (w, g) = (draw.normal(len, 1.0), draw.normal(len, 1.0));
        let mut one = [HeadUpdateStats::default()];
        for slots in [&mut one, &mut both] {
            let mut moments = OptimizerState::zeros(rule, len);
            step(
                &u,
                &tensor(&w, &[len]),
                &tensor(&g, &[len]),
                (Decay::Applied, &segment(len)),
                &mut moments,
                slots,
            )
            .unwrap();
        }
        parts.push(one[0]);
    }
    assert_eq!(both[0].g2, parts[0].g2 + parts[1].g2);
    assert_eq!(both[0].gd, parts[0].gd + parts[1].gd);
    assert_eq!(both[0].g_max, parts[0].g_max.max(parts[1].g_max));
}

#[test]
fn squared_norm_matches_float64() {
    let mut draw = Draw::new();
    for len in [1, 31, 513, 8193, 30_000] {
        let g = draw.normal(len, 3.0);
        let want: f64 = wide(&g).iter().map(|v| v * v).sum();
        // runs of 512: 32 additions a lane, a tree of four
        let got = sum_squares(&tensor(&g, &[len])).unwrap();
        assert_close("sum_squares", got, Bounded::new(want, 38.0 * U * want));
    }
}
