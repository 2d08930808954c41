//! The forward and its statistics.

use growthpath_emu::Schedule;

use crate::case::*;
use crate::support::*;
use crate::tiles::Products;
use growthpath_statistics::logits::forward as row;

/// The numbers that have a float64 form here. A further one is held against the CPU's by `check-device`, which
/// `scripts/cuda-train-check.sh` runs on this emulator.
const REFERENCED: [usize; 14] = [
    row::SQUARES,
    row::CENTRED,
    row::ENTROPY,
    row::TOP1,
    row::SHARPNESS,
    row::DISTANCE,
    row::LOGITS,
    row::QUERY,
    row::KEY,
    row::PAIRED_QUERY,
    row::PAIRED_KEY,
    row::TOP,
    row::DEPTH,
    row::BRACKET,
];

pub fn check_forward<S: Storage>(c: &Case, schedule: Schedule) {
    for p in products::<S>(c.dh) {
        check_forward_by::<S>(*p, c, schedule);
    }
}

fn check_forward_by<S: Storage>(products: Products, c: &Case, schedule: Schedule) {
    let x = inputs::<S>(c, 1);
    let f = forward(products, c, &x, schedule);
    let tiles = count::<S>(c);
    let stats = reduce(&f.stats, c.heads * c.batch, tiles, row::COUNT, row::MAXIMA);
    let width = c.heads * c.dh;
    let t = c.seq as f64;
    for b in 0..c.batch {
        for h in 0..c.heads {
            let r = head(&x, c, b, h);
            // A probability moves by twice the logit error, and by the roundings of exp and of the online rescaling.
            let p_error = 2.0 * r.s_error + (t + 16.0) * U32;
            let mut want = row::EMPTY;
            want[row::BRACKET] = 0.0; // exactly at most zero: the check is its error
            let mut allowed = [0.0; row::COUNT];
            (allowed[row::TOP], allowed[row::DEPTH]) = (r.s_error, r.s_error);
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
                want[row::TOP] = want[row::TOP].max(top);
                want[row::DEPTH] = r.s[i].iter().fold(want[row::DEPTH], |d, s| d.max(-s));
                let mut relative = 0.0;
                for (s, p) in r.s[i].iter().zip(&r.p[i]) {
                    want[row::SQUARES] += s * s;
                    want[row::LOGITS] += s;
                    want[row::CENTRED] += (s - mean).powi(2);
                    if i > 0 && *p > 0.0 {
                        relative -= p * p.ln() / len.ln();
                    }
                    // logit errors, then additions about the reference logit, whose distance to s bounds the terms
                    let far = (top - s).abs().max((r.s[i][0] - s).abs()) + top.abs().max(s.abs());
                    allowed[row::LOGITS] += r.s_error + (t + 12.0) * U32 * far;
                    allowed[row::SQUARES] += 2.0 * s.abs() * r.s_error + (t + 12.0) * U32 * far * far;
                    let about = (s - top).abs().max((s - r.s[i][0]).abs()).max((s - mean).abs());
                    allowed[row::CENTRED] += 2.0 * (s - mean).abs() * r.s_error
                        + r.s_error * r.s_error
                        + 4.0 * (t / 4.0 + 12.0) * U32 * (about + r.s_error).powi(2);
                }
                if i > 0 {
                    // dH = -sum p (ln p + H) dS, and sum p |ln p + H| <= 2 H <= 2 ln(len)
                    let error = 2.0 * r.s_error + (t + 32.0) * U32 * (1.0 + 1.0 / len.ln());
                    want[row::ENTROPY] += relative;
                    allowed[row::ENTROPY] += error;
                    if i + 1 >= 8 {
                        want[row::SHARPNESS] += 1.0 - relative;
                        allowed[row::SHARPNESS] += error + (t + 2.0) * U32;
                    }
                }
                let first = (top - r.lse[i]).exp();
                want[row::TOP1] += first;
                allowed[row::TOP1] += p_error * first;
                allowed[row::BRACKET] = f64::max(allowed[row::BRACKET], 2.0 * lse_error);
                add_geometry(&r, i, &mut want, &mut allowed);
            }
            for k in REFERENCED {
                close(
                    &format!("statistic {}, seq {}, dh {}", row::ALL[k].name, c.seq, c.dh),
                    stats[(h * c.batch + b) * row::COUNT + k].get(),
                    want[k],
                    allowed[k] + U32 * want[k].abs(),
                );
            }
            // A layout mistake could hide in a sum of two tiles' shares; the spread's mean square also bounds 4 |S|.
            assert!(want[row::CENTRED] <= want[row::SQUARES] + 1e-9);
        }
    }
}

/// Distance of row `i`'s largest key, and what its query and its key add.
fn add_geometry(r: &Head, i: usize, want: &mut [f64; row::COUNT], allowed: &mut [f64; row::COUNT]) {
    let (t, top) = (r.s.len() as f64, r.s[i].iter().copied().fold(f64::NEG_INFINITY, f64::max));
    // Rounding may make another key the largest: any of those that are level with it.
    let level = || (0..=i).filter(|j| r.s[i][*j] >= top - 2.0 * r.s_error).map(|j| (i - j) as f64);
    let (near, far) = (level().fold(f64::INFINITY, f64::min), level().fold(0.0, f64::max));
    want[row::DISTANCE] += 0.5 * (near + far);
    allowed[row::DISTANCE] += 0.5 * (far - near);
    let (query, key) = (dot(&r.q[i], &r.q[i]), dot(&r.k[i], &r.k[i]));
    let (asked, asking) = ((i + 1) as f64, t - i as f64);
    let terms = [
        (row::QUERY, query),
        (row::KEY, key),
        (row::PAIRED_QUERY, asked * query),
        (row::PAIRED_KEY, asking * key),
    ];
    for (place, value) in terms {
        want[place] += value;
        // at most 64 positive terms a thread, then trees over lanes, warps and tiles
        allowed[place] += (64.0 + 16.0) * U32 * value;
    }
}
