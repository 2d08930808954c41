//! Curves from the per-step tables `heads` and `writes`.

use growthpath_trace::{HeadRow, Run, Table, WriteRow};

use super::bins::{Bins, distinct_steps};
use super::report::{HalfCurves, LayerCurves, WriteCurves};
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::window::Window;

/// Attention on the training batches.
pub(super) struct Attention {
    /// Spread by layer.
    pub spread: LayerCurves,
    /// Entropy by half.
    pub entropy: HalfCurves,
    /// Sharpness by half, where the trace has it.
    pub sharpness: Option<HalfCurves>,
}

pub(super) fn attention(run: &Run, grid: Grid, window: Window, points: usize) -> Result<Attention> {
    let layers = grid.layers;
    let mut names = vec!["layer", "spread", "entropy"];
    names.extend(Table::Heads.column_index("sharpness").map(|_| "sharpness"));
    let mut bins = Bins::new(distinct_steps::<HeadRow>(run, window.updates())?, points, layers + 4);
    for batch in run.stream_columns::<HeadRow>(&names, window.updates())? {
        let batch = batch?;
        let [layer, spread, entropy, rest @ ..] = &batch.values[..] else { continue };
        for (i, &step) in batch.steps.iter().enumerate() {
            // Layers are u16 columns, exact in float64.
            if let Some(l) = grid.layer(layer[i] as u16) {
                let mut point = bins.at(step);
                point.add(l, spread[i]);
                point.add(layers + grid.half(l), entropy[i]);
                if let [sharpness] = rest {
                    point.add(layers + 2 + grid.half(l), sharpness[i]);
                }
            }
        }
    }
    let (steps, mut curves) = bins.into_all();
    let mut halves = curves.split_off(layers.min(curves.len())).into_iter();
    let mut next = || HalfCurves {
        steps: steps.clone(),
        lower: halves.next().unwrap_or_default(),
        upper: halves.next().unwrap_or_default(),
    };
    let (entropy, sharpness) = (next(), next());
    Ok(Attention {
        entropy,
        sharpness: (names.len() > 3).then_some(sharpness),
        spread: LayerCurves { steps, layers: curves },
    })
}

/// Write energies by layer and site.
pub(super) fn writes(run: &Run, grid: Grid, window: Window, points: usize) -> Result<WriteCurves> {
    let layers = grid.layers;
    let mut bins = Bins::new(distinct_steps::<WriteRow>(run, window.updates())?, points, 4 * layers);
    each_row::<WriteRow>(run, window.updates(), |row| {
        if let (Some(layer), site @ 0..=1) = (grid.layer(row.layer), usize::from(row.site)) {
            let mut point = bins.at(row.step);
            point.add(site * layers + layer, row.energy.into());
            point.add((2 + site) * layers + layer, f64::from(row.energy) / f64::from(row.h2_before));
        }
    })?;
    let (steps, curves) = bins.into_all();
    let mut curves = curves.into_iter();
    let mut next = || curves.by_ref().take(layers).collect();
    Ok(WriteCurves { attn: next(), ffn: next(), attn_ratio: next(), ffn_ratio: next(), steps })
}
