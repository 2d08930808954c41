//! The optimizer: several steps of both rules, with clipping, groups, decay and statistics.

use super::case::{Case, Extent, vector};
use crate::Stats;
use crate::error::Result;
use crate::optimizer::gpu::{Arrays, Placed, STATS, Table, slice_stats};
use crate::optimizer::{self as opt, Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update};
use crate::tensor::read;

const STEPS: u32 = 3;

pub(super) fn optimizers(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let layout = Layout::new(extent.pick(100, 40_000));
    let adam = Rule::AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
    optimizer(c, "adamw", adam, &layout)?;
    optimizer(c, "sgd", Rule::Sgd { momentum: 0.9 }, &layout)?;
    optimizer(c, "plain sgd", Rule::Sgd { momentum: 0.0 }, &layout)
}

/// Two heads' weights and, as runs of a second parameter, their biases; then parameters without statistics.
struct Layout {
    sizes: [usize; 3],
    placed: Vec<Placed>,
    total: usize,
}

impl Layout {
    fn new(unit: usize) -> Self {
        let run = |start, len, group, slot| Segment { start, len, group, slot };
        let matrix =
            vec![run(0, unit, 1, Some(0)), run(unit, unit, 1, Some(1)), run(2 * unit, unit, 0, None)];
        let bias = vec![run(0, 20, 1, Some(0)), run(20, 20, 1, Some(1)), run(40, 20, 0, None)];
        let sizes = [3 * unit, 60, unit + 7];
        let second = sizes[0].next_multiple_of(64);
        let starts = [0, second, second + 64];
        let segments = [matrix, bias, vec![run(0, sizes[2], 0, None)]];
        let placed = segments.into_iter().zip(starts).enumerate();
        Self {
            sizes,
            placed: placed
                .map(|(i, (segments, start))| Placed {
                    start,
                    decay: if i != 1 { Decay::Applied } else { Decay::Exempt },
                    segments,
                })
                .collect(),
            total: starts[2] + sizes[2].next_multiple_of(64),
        }
    }

    /// The parameters side by side as they lie on the device.
    fn spread(&self, values: &[Vec<f32>]) -> Vec<f32> {
        let mut flat = vec![0f32; self.total];
        for (v, p) in values.iter().zip(&self.placed) {
            flat[p.start..p.start + v.len()].copy_from_slice(v);
        }
        flat
    }
}

fn optimizer(c: &mut Case<'_>, name: &str, rule: Rule, layout: &Layout) -> Result<()> {
    const MULTIPLIERS: [f32; 2] = [1.0, 0.25];
    let draw = |c: &mut Case<'_>, mean| {
        layout.sizes.iter().map(|n| c.floats(*n, mean, 1.0)).collect::<Result<Vec<_>>>()
    };
    let start = draw(c, 0.0)?;
    let params = start.iter().map(|p| vector(p)).collect::<Result<Vec<_>>>()?;
    let mut moments: Vec<OptimizerState> =
        layout.sizes.iter().map(|n| OptimizerState::zeros(rule, *n)).collect();
    let param = c.gpu.upload(&layout.spread(&start))?;
    let (m, v) = (c.float_room(layout.total)?, c.float_room(layout.total)?);
    let mut table = Table::new(c.gpu, &layout.placed, 2, 2, layout.total)?;
    let (clip, stats) = (c.float_room(2)?, c.float_room(2 * STATS)?);
    for t in 1..=STEPS {
        let grads = draw(c, 0.01)?;
        let norm = grads.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let (multipliers, clip_scale) = (&MULTIPLIERS[..], (1.0 / norm) as f32);
        let update =
            Update { rule, lr: 1e-2, multipliers, weight_decay: 0.1, clip_scale, t, stats: Stats::Taken };
        let mut slots = vec![HeadUpdateStats::default(); 2];
        for (i, p) in layout.placed.iter().enumerate() {
            let g = vector(&grads[i])?;
            opt::step(&update, &params[i], &g, (p.decay, &p.segments), &mut moments[i], &mut slots)?;
        }
        let grad = c.gpu.upload(&layout.spread(&grads))?;
        let arrays = Arrays { param: param.all(), grad: grad.all(), m: m.all(), v: v.all() };
        table.send(&update, 1.0)?;
        table.clip(&arrays, clip.all())?;
        table.step(&arrays, rule, clip.all())?;
        table.stats(stats.all())?;
        let shape = format!("{} elements, step {t}", layout.sizes.iter().sum::<usize>());
        let got = clip.all().read()?;
        c.compare(&format!("{name} gradient norm"), &shape, &got[..1], &[norm as f32]);
        c.compare(&format!("{name} clip factor"), &shape, &got[1..], &[clip_scale]);
        let flat = param.all().read()?;
        for (p, want) in layout.placed.iter().zip(&params) {
            let want = read(want)?;
            c.compare(&format!("{name} parameters"), &shape, &flat[p.start..p.start + want.len()], &want);
        }
        let totals = stats.all().read()?;
        for (t, w) in totals.as_chunks::<STATS>().0.iter().zip(&slots) {
            c.compare(&format!("{name} statistics"), &shape, &relative(&slice_stats(*t), w), &relative(w, w));
        }
    }
    Ok(())
}

/// The sums of `s` over those of `w`; inner products over what they can be at most.
fn relative(s: &HeadUpdateStats, w: &HeadUpdateStats) -> [f32; 7] {
    let (a, b, d) = ((w.w2 * w.g2).sqrt(), (w.w2 * w.d2).sqrt(), (w.g2 * w.d2).sqrt());
    let max = f64::from(s.g_max / w.g_max);
    [s.g2 / w.g2, max, s.w2 / w.w2, s.d2 / w.d2, s.wg / a, s.wd / b, s.gd / d].map(|v| v as f32)
}
