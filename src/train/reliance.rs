//! Reliance: what the loss loses when attention is replaced by the uniform causal average.

use growthpath_trace::{RelianceRow, WHOLE_LAYER};

use crate::error::Result;
use crate::model::ModelConfig;

/// Fractions of training at which every head and layer is measured; the halves are measured more often.
const FULL: [f64; 4] = [0.05, 0.25, 0.5, 1.0];

/// Whether the probe at `done`, the one after `prev`, is where heads and layers are measured too.
pub fn full_due(prev: Option<u32>, done: u32, steps: u32) -> bool {
    FULL.iter().any(|f| {
        let at = (f * f64::from(steps)).ceil() as u32;
        at <= done && prev.is_none_or(|p| p < at)
    })
}

/// Whether the halves are measured at a probe: at powers of two, about fifty times, and at the end.
pub fn halves_due(prev: Option<u32>, done: u32, steps: u32) -> bool {
    let every = (steps / 50).max(1);
    done == 0 || done == steps || done.is_power_of_two() || prev.is_none_or(|p| p / every < done / every)
}

/// Mean and standard error of the mean (NaN for one value).
pub fn mean_and_error(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (var / n).sqrt())
}

/// Rows of one measurement: halves, and layers and heads where `full`.
///
/// `losses` gives each token's loss on the batch, sequences of `context`, with the attention of the given heads (layer,
/// head) replaced by the uniform causal average.
///
/// # Errors
/// When `losses` fails.
pub fn measure(
    model: &ModelConfig,
    context: usize,
    mut losses: impl FnMut(&[(usize, usize)]) -> Result<Vec<f32>>,
    step: u32,
    full: bool,
) -> Result<Vec<RelianceRow>> {
    let (layers, heads) = (model.layers, model.heads);
    let mut sequence_losses = |uniform: &[(usize, usize)]| -> Result<Vec<f64>> {
        let mean = |s: &[f32]| s.iter().map(|l| f64::from(*l)).sum::<f64>() / s.len() as f64;
        Ok(losses(uniform)?.chunks_exact(context).map(mean).collect())
    };
    let base = sequence_losses(&[])?;
    let base_loss = mean_and_error(&base).0;
    let sequences = base.len() as u32;
    let mut rows = Vec::new();
    let mut push = |scope: u8, layer: usize, head: Option<usize>, set: Vec<(usize, usize)>| -> Result<()> {
        let without = sequence_losses(&set)?;
        let delta: Vec<f64> = without.iter().zip(&base).map(|(a, b)| a - b).collect();
        let (delta, stderr) = mean_and_error(&delta);
        let head = head.map_or(WHOLE_LAYER, |h| h as u16);
        rows.push(RelianceRow {
            step,
            scope,
            layer: layer as u16,
            head,
            delta,
            stderr,
            base_loss,
            sequences,
        });
        Ok(())
    };
    let whole = |range: std::ops::Range<usize>| range.flat_map(|l| (0..heads).map(move |h| (l, h))).collect();
    if full {
        for l in 0..layers {
            for h in 0..heads {
                push(0, l, Some(h), vec![(l, h)])?;
            }
        }
        for l in 0..layers {
            push(1, l, None, whole(l..l + 1))?;
        }
    }
    let upper = model.upper_half();
    push(2, 0, None, whole(0..upper))?;
    push(2, 1, None, whole(upper..layers))?;
    Ok(rows)
}
