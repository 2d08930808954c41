//! The optimizer: several steps of both rules, with clipping, groups, decay and statistics.

use super::{Case, vector};
use crate::error::Result;
use crate::optimizer::gpu::{Arrays, Placed, STATS, Table, slice_stats};
use crate::optimizer::{self as opt, HeadUpdateStats, OptimizerState, Rule, Segment, Update};
use crate::tensor::read;

const STEPS: u32 = 3;

pub(super) fn optimizers(c: &mut Case<'_>, quick: bool) -> Result<()> {
    let adam = Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    for (name, rule) in
        [("adamw", adam), ("sgd", Rule::Sgd { momentum: 0.9 }), ("plain sgd", Rule::Sgd { momentum: 0.0 })]
    {
        let unit = if quick { 100 } else { 40_000 };
        // Two heads' weights and, as runs of a second parameter, their biases; then parameters without statistics.
        let run = |start, len, group, slot| Segment { start, len, group, slot };
        let matrix =
            vec![run(0, unit, 1, Some(0)), run(unit, unit, 1, Some(1)), run(2 * unit, unit, 0, None)];
        let bias = vec![run(0, 20, 1, Some(0)), run(20, 20, 1, Some(1)), run(40, 20, 0, None)];
        let sizes = [3 * unit, 60, unit + 7];
        let segments = [matrix, bias, vec![run(0, unit + 7, 0, None)]];
        let starts = [0, (3 * unit).next_multiple_of(64), (3 * unit).next_multiple_of(64) + 64];
        let total = starts[2] + (unit + 7).next_multiple_of(64);
        let placed: Vec<Placed> = (0..3)
            .map(|i| Placed { start: starts[i], decay: i != 1, segments: segments[i].clone() })
            .collect();
        let multipliers = [1.0, 0.25];

        let mut params = Vec::new();
        for n in sizes {
            params.push(vector(&c.floats(n, 0.0, 1.0)?)?);
        }
        let spread = |values: &[Vec<f32>]| {
            let mut flat = vec![0f32; total];
            for (v, s) in values.iter().zip(starts) {
                flat[s..s + v.len()].copy_from_slice(v);
            }
            flat
        };
        let mut start = Vec::new();
        for p in &params {
            start.push(read(p)?.to_vec());
        }
        let param = c.gpu.upload(&spread(&start))?;
        let (m, v) = (c.float_room(total)?, c.float_room(total)?);
        let mut table = Table::new(c.gpu, &placed, 2, 2, total)?;
        let mut moments: Vec<OptimizerState> =
            sizes.iter().map(|n| OptimizerState::zeros(rule, *n)).collect();
        let (clip, stats) = (c.float_room(2)?, c.float_room(2 * STATS)?);
        for t in 1..=STEPS {
            let mut grads = Vec::new();
            for n in sizes {
                grads.push(c.floats(n, 0.01, 1.0)?);
            }
            let norm = grads.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let update = Update {
                rule,
                lr: 1e-2,
                multipliers: &multipliers,
                weight_decay: 0.1,
                clip_scale: (1.0 / norm) as f32,
                t,
                stats: true,
            };
            let mut slots = vec![HeadUpdateStats::default(); 2];
            for i in 0..3 {
                let g = vector(&grads[i])?;
                opt::step(
                    &update,
                    &params[i],
                    &g,
                    placed[i].decay,
                    &segments[i],
                    &mut moments[i],
                    &mut slots,
                )?;
            }
            let grad = c.gpu.upload(&spread(&grads))?;
            let arrays = Arrays { param: param.all(), grad: grad.all(), m: m.all(), v: v.all() };
            table.clip(&arrays, &multipliers, 1.0, clip.all())?;
            table.step(&arrays, &update, clip.all())?;
            table.stats(stats.all())?;
            let shape = format!("{} elements, step {t}", sizes.iter().sum::<usize>());
            let got = clip.all().read()?;
            c.compare(&format!("{name} gradient norm"), &shape, &got[..1], &[norm as f32]);
            c.compare(&format!("{name} clip factor"), &shape, &got[1..], &[(1.0 / norm) as f32]);
            let flat = param.all().read()?;
            for i in 0..3 {
                let want = read(&params[i])?.to_vec();
                c.compare(
                    &format!("{name} parameters"),
                    &shape,
                    &flat[starts[i]..starts[i] + sizes[i]],
                    &want,
                );
            }
            let totals = stats.all().read()?;
            for (t, w) in totals.as_chunks::<STATS>().0.iter().zip(&slots) {
                let g = slice_stats(*t);
                let scaled = |s: &HeadUpdateStats| {
                    // Inner products over what they can be at most.
                    let (a, b, d) = ((w.w2 * w.g2).sqrt(), (w.w2 * w.d2).sqrt(), (w.g2 * w.d2).sqrt());
                    [
                        s.g2 / w.g2,
                        f64::from(s.g_max / w.g_max),
                        s.w2 / w.w2,
                        s.d2 / w.d2,
                        s.wg / a,
                        s.wd / b,
                        s.gd / d,
                    ]
                    .map(|v| v as f32)
                };
                c.compare(&format!("{name} statistics"), &shape, &scaled(&g), &scaled(w));
            }
        }
    }
    Ok(())
}
