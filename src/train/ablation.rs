//! Reliance: what the loss loses when attention is replaced by the uniform causal average.

use growthpath_trace::{RelianceRow, WHOLE_LAYER};

use super::cadence::Due;
use crate::data::Batch;
use crate::error::Result;
use crate::model::ModelConfig;

/// Mean and standard error of the mean (NaN for one value).
pub fn mean_and_error(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (var / n).sqrt())
}

/// Rows of one measurement: the halves where `due` says so, and heads and layers on so many of the sequences.
///
/// `losses` gives each token's loss on a batch, with the attention of the given heads (layer, head) replaced by the
/// uniform causal average.
///
/// # Errors
/// When `losses` fails.
pub fn measure(
    model: &ModelConfig,
    batch: &Batch,
    mut losses: impl FnMut(&Batch, &[(usize, usize)]) -> Result<Vec<f32>>,
    step: u32,
    due: Due,
) -> Result<Vec<RelianceRow>> {
    let (layers, heads) = (model.layers, model.heads);
    let whole = |range: std::ops::Range<usize>| -> Vec<(usize, usize)> {
        range.flat_map(|l| (0..heads).map(move |h| (l, h))).collect()
    };
    let mut rows = Vec::new();
    if due.head_sequences > 0 {
        let mut on = Against::new(batch.spread(due.head_sequences), step, &mut losses)?;
        for l in 0..layers {
            for h in 0..heads {
                rows.push(on.row((0, l, Some(h)), &[(l, h)])?);
            }
        }
        for l in 0..layers {
            rows.push(on.row((1, l, None), &whole(l..l + 1))?);
        }
    }
    if due.halves {
        let mut on = Against::new(batch.clone(), step, &mut losses)?;
        let upper = model.upper_half();
        rows.push(on.row((2, 0, None), &whole(0..upper))?);
        rows.push(on.row((2, 1, None), &whole(upper..layers))?);
    }
    Ok(rows)
}

/// Losses on a batch without replacement, and what they are compared with.
struct Against<'a, F> {
    batch: Batch,
    step: u32,
    base: Vec<f64>,
    losses: &'a mut F,
}

impl<'a, F: FnMut(&Batch, &[(usize, usize)]) -> Result<Vec<f32>>> Against<'a, F> {
    fn new(batch: Batch, step: u32, losses: &'a mut F) -> Result<Self> {
        let base = sequence_means(&losses(&batch, &[])?, batch.context);
        Ok(Self { batch, step, base, losses })
    }

    /// The row of `(scope, layer, head)`, whose heads are `set`.
    fn row(
        &mut self,
        (scope, layer, head): (u8, usize, Option<usize>),
        set: &[(usize, usize)],
    ) -> Result<RelianceRow> {
        let without = sequence_means(&(self.losses)(&self.batch, set)?, self.batch.context);
        let delta: Vec<f64> = without.iter().zip(&self.base).map(|(a, b)| a - b).collect();
        let (delta, stderr) = mean_and_error(&delta);
        Ok(RelianceRow {
            step: self.step,
            scope,
            layer: layer as u16,
            head: head.map_or(WHOLE_LAYER, |h| h as u16),
            delta,
            stderr,
            base_loss: mean_and_error(&self.base).0,
            sequences: self.base.len() as u32,
        })
    }
}

/// Mean of each sequence's losses.
pub fn sequence_means(losses: &[f32], context: usize) -> Vec<f64> {
    let mean = |s: &[f32]| s.iter().map(|l| f64::from(*l)).sum::<f64>() / s.len() as f64;
    losses.chunks_exact(context).map(mean).collect()
}
