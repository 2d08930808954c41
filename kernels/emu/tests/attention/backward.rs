//! The backward and its statistics.

use growthpath_emu::{Arg, Schedule};

use crate::case::*;
use crate::support::*;
use crate::tiles::{Products, tiles};
use growthpath_statistics::logits::backward as partial_row;

/// Sum and sum of sizes along a product that ends in one gradient element.
#[derive(Clone, Copy, Default)]
struct Bounded {
    value: f64,
    error: f64,
}

pub fn check_backward<S: Storage>(c: &Case, schedule: Schedule) {
    for p in products::<S>(c.dh) {
        check_backward_by::<S>(*p, c, schedule);
    }
}

fn check_backward_by<S: Storage>(products: Products, c: &Case, schedule: Schedule) {
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
    let (cut, tiles) = (tiles(products, c.dh), count::<S>(c));
    let (grid, block) = ([tiles as u32, c.heads as u32, c.batch as u32], [cut.backward_threads as u32, 1, 1]);
    let mut dqkv = unwritten::<S>(n * 3 * width);
    let mut partial = unwritten::<f32>(c.heads * c.batch * tiles * partial_row::COUNT);
    let [cosine, sine] = x.tables();
    // On tensor cores the kernel over queries leaves delta behind; otherwise a kernel of its own does.
    let fused = S::NAME == "bf16";
    if !fused {
        let args = [(&dout).into(), (&o).into(), (&mut delta).into(), sizes[0], sizes[1], sizes[2]];
        let args = [&args[..], &[(c.dh as i32).into()]].concat();
        launch("attention_delta_f32", [3, 1, 1], [256, 1, 1], schedule, &args);
    }
    let read: [Arg<'_>; 2] = [(&dout).into(), (&x.qkv).into()];
    let rows: [Arg<'_>; 4] = [cosine, sine, (&lse).into(), (&mut delta).into()];
    let kept: &[Arg<'_>] = if fused { &[(&o).into()] } else { &[] };
    let written: [Arg<'_>; 2] = [(&mut dqkv).into(), (&mut partial).into()];
    let run = |kernel: &str, args: &[Arg<'_>]| {
        launch_shared(&products.kernel(kernel, c.dh), grid, block, cut.backward_bytes, schedule, args);
    };
    run("bwd_q", &[&read[..], kept, &rows, &written, &sizes].concat());
    run("bwd_kv", &[&read[..], &rows, &written[..1], &sizes[1..]].concat());

    let stats = reduce(&partial, c.heads * c.batch, tiles, partial_row::COUNT, partial_row::MAXIMA);
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
                // Rows of G_S sum to zero: the kernel takes LSE - ln(keys) off a row of S, the reference its mean.
                let len = (i + 1) as f64;
                let mean = r.s[i].iter().sum::<f64>() / len;
                let centre = r.lse[i] - len.ln();
                let centre_error = lse_error + 2.0 * U32 * (r.lse[i].abs() + len.ln());
                for j in 0..=i {
                    let (p, s) = (r.p[i][j], r.s[i][j]);
                    let p_error = p * (r.s_error + lse_error + U32 * (s - r.lse[i]).abs() + 4.0 * U32);
                    let dp = dot(&grad[i], &r.v[j]);
                    let dp_error = (c.dh as f64 + 1.0) * U32 * dot_size(&grad[i], &r.v[j]);
                    let ds = p * (dp - exact);
                    let ds_error = p_error * (dp - exact).abs()
                        + (p + p_error) * (dp_error + delta_error)
                        + 3.0 * U32 * ds.abs();
                    here = (here.0 + ds * ds, here.1 + (s - mean) * ds);
                    gs2.error += 2.0 * ds.abs() * ds_error + ds_error * ds_error + (t + 12.0) * U32 * ds * ds;
                    let about = (s - centre).abs() + centre_error + r.s_error;
                    sgs.error += about * ds_error
                        + ds.abs() * (r.s_error + centre_error + U32 * s.abs())
                        + (t + 12.0) * U32 * about * ds.abs();
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
            let got = |k: usize| stats[(h * c.batch + b) * partial_row::COUNT + k].get();
            close("|G_S|^2", got(partial_row::SQUARES), gs2.value, gs2.error);
            close("<S, G_S>", got(partial_row::PRODUCT), sgs.value, sgs.error);
            // (2.1) at the activations: <q, dq> = <k, dk> = <S, G_S>, from the kernel's own outputs
            for (which, e) in euler.iter().enumerate() {
                close(["<q, dq>", "<k, dk>"][which], e.value, got(partial_row::PRODUCT), e.error + sgs.error);
            }
        }
    }
}
