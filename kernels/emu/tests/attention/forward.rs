//! The forward and its statistics.

use growthpath_emu::Schedule;

use crate::case::*;
use crate::support::*;

pub fn check_forward<S: Storage>(c: &Case, schedule: Schedule) {
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
