//! One pass over `heads`: pressure, the Euler residual, attention at the window's ends.

use growthpath_trace::{HeadRow, Run};

use crate::error::Result;
use crate::read::euler::{KeyGroup, batch_pairs, has_qk_norm, heads_per_key, relative, scale};
use crate::read::grid::Grid;
use crate::read::running::Mean;
use crate::read::window::Window;

/// Attention at the first and last state of a window, one layer, mean over heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub spread_first: f64,
    pub spread_last: f64,
    pub entropy_first: f64,
    pub entropy_last: f64,
    pub top1_last: f64,
}

/// Means over heads at one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attention {
    pub spread: Mean,
    pub entropy: Mean,
    pub top1: Mean,
}

/// Attention of every layer at the first and the last step that came.
#[derive(Debug, Clone)]
pub(super) struct EndTracker {
    first: (Option<u32>, Vec<Attention>),
    last: (Option<u32>, Vec<Attention>),
}

impl EndTracker {
    pub fn new(layers: usize) -> Self {
        let none = (None, vec![Attention::default(); layers]);
        Self { first: none.clone(), last: none }
    }

    /// Adds a head; steps must not decrease. `layer` is an index below the number of layers.
    pub fn add(&mut self, step: u32, layer: usize, spread: f64, entropy: f64, top1: f64) {
        if self.last.0 != Some(step) {
            self.last.0 = Some(step);
            self.last.1.fill(Attention::default());
            self.first.0.get_or_insert(step);
        }
        let ends = [(self.first.0 == Some(step)).then_some(&mut self.first.1), Some(&mut self.last.1)];
        for layers in ends.into_iter().flatten() {
            let at = &mut layers[layer];
            at.spread.add(spread);
            at.entropy.add(entropy);
            at.top1.add(top1);
        }
    }

    pub fn layer(&self, layer: usize) -> Ends {
        let (first, last) = (&self.first.1[layer], &self.last.1[layer]);
        Ends {
            spread_first: first.spread.value(),
            spread_last: last.spread.value(),
            entropy_first: first.entropy.value(),
            entropy_last: last.entropy.value(),
            top1_last: last.top1.value(),
        }
    }
}

pub(super) struct HeadPass {
    pub rows: u64,
    pub euler_worst: f64,
    pressure: Vec<Mean>,
    ends: EndTracker,
}

/// The columns that the pass decodes, in the order in which it takes them.
const COLUMNS: [&str; 14] = [
    "layer", "head", "wg_q", "wg_k", "sgs", "w_q2", "g_q2", "w_k2", "g_k2", "s_ms", "gs2", "spread",
    "entropy", "top1",
];

pub(super) fn read(run: &Run, grid: Grid, window: &Window) -> Result<HeadPass> {
    let mut pass = HeadPass {
        rows: 0,
        euler_worst: f64::NAN,
        pressure: vec![Mean::default(); grid.layers],
        ends: EndTracker::new(grid.layers),
    };
    let qk_norm = has_qk_norm(run);
    let pairs = batch_pairs(run).unwrap_or(0.0);
    let (per_key, mut keys) = (heads_per_key(run), KeyGroup::default());
    for batch in run.stream_columns::<HeadRow>(&COLUMNS, window.updates())? {
        let batch = batch?;
        let Ok([layer, head, wg_q, wg_k, sgs, w_q2, g_q2, w_k2, g_k2, s_ms, gs2, spread, entropy, top1]) =
            <[Vec<f64>; COLUMNS.len()]>::try_from(batch.values)
        else {
            continue; // One vector a column asked for.
        };
        for (i, &step) in batch.steps.iter().enumerate() {
            // Layers are u16 columns, exact in float64.
            let Some(l) = grid.layer(layer[i] as u16) else { continue };
            pass.rows += 1;
            pass.pressure[l].add(-0.5 * (wg_q[i] + wg_k[i]));
            let wanted = if qk_norm { 0.0 } else { sgs[i] };
            let size = scale([w_q2[i], g_q2[i], w_k2[i], g_k2[i]], pairs * s_ms[i], gs2[i], top1[i]);
            pass.euler_worst = pass.euler_worst.max(relative(wg_q[i], wanted, size));
            if let Some((wanted, size)) = keys.add(per_key, head[i] as u16, wanted, size) {
                pass.euler_worst = pass.euler_worst.max(relative(wg_k[i], wanted, size));
            }
            pass.ends.add(step, l, spread[i], entropy[i], top1[i]);
        }
    }
    Ok(pass)
}

impl HeadPass {
    /// Mean sharpening pressure of a layer.
    pub fn pressure(&self, layer: usize) -> f64 {
        self.pressure[layer].value()
    }

    pub fn ends(&self, layer: usize) -> Ends {
        self.ends.layer(layer)
    }
}
