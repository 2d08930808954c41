//! Curves from the per-step tables `heads` and `writes`.

use growthpath_trace::{HeadRow, Run, StepRange, Table, WriteRow};

use super::bins::Bins;
use super::report::{HalfCurves, LayerCurves, WriteCurves};
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;

/// Spread by layer and entropy by half.
pub(super) fn attention(run: &Run, grid: Grid, points: usize) -> Result<(LayerCurves, HalfCurves)> {
    let layers = grid.layers;
    let mut bins = Bins::new(run, Table::Heads, grid.cells(), points, layers + 2);
    for batch in run.stream_columns::<HeadRow>(&["layer", "spread", "entropy"], StepRange::ALL)? {
        let batch = batch?;
        let [layer, spread, entropy] = &batch.values[..] else { continue };
        for (i, &step) in batch.steps.iter().enumerate() {
            // Layers are u16 columns, exact in float64.
            if let Some(l) = grid.layer(layer[i] as u16) {
                let mut point = bins.at(step);
                point.add(l, spread[i]);
                point.add(layers + grid.half(l), entropy[i]);
            }
        }
    }
    let (steps, mut curves) = bins.into_all();
    let mut halves = curves.split_off(layers.min(curves.len())).into_iter();
    let entropy = HalfCurves {
        steps: steps.clone(),
        lower: halves.next().unwrap_or_default(),
        upper: halves.next().unwrap_or_default(),
    };
    Ok((LayerCurves { steps, layers: curves }, entropy))
}

/// Write energies by layer and site.
pub(super) fn writes(run: &Run, grid: Grid, points: usize) -> Result<WriteCurves> {
    let layers = grid.layers;
    let mut bins = Bins::new(run, Table::Writes, 2 * layers, points, 4 * layers);
    each_row::<WriteRow>(run, StepRange::ALL, |row| {
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
