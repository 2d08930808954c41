//! Numbers head by head: where each head's growth came from, and what the loss loses without parts of attention.

use growthpath_trace::{ProbeRow, RelianceRow, Run, WHOLE_LAYER};
use serde::Serialize;

use crate::diagnosis::student;
use crate::error::Result;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::window::Window;
use crate::recorded;

/// Where one head's growth came from (3.1): sums over the window's intervals, in ln. The three parts add up to the
/// growth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HeadSplit {
    /// Part of the query weights.
    pub query: f64,
    /// Part of the key weights.
    pub key: f64,
    /// Part of the features.
    pub features: f64,
    /// Log growth of the spread.
    pub growth: f64,
}

/// Loss with a part of attention replaced by the uniform causal average, minus loss without (section 8), nat/token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The difference, mean over sequences.
    pub delta: f64,
    /// Its standard error over sequences; NaN for one sequence.
    pub stderr: f64,
    /// Half of its 95 % interval: the standard error times Student's quantile for the number of sequences; NaN for one.
    pub reach: f64,
    /// Optimizer steps done when it was measured.
    pub step: u32,
}

/// The last measurement of each part in the window.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ablations {
    /// The lower and the upper half, where measured.
    pub halves: [Option<Estimate>; 2],
    /// Every layer from the bottom.
    pub layers: Vec<Option<Estimate>>,
    /// `heads[layer][head]`.
    pub heads: Vec<Vec<Option<Estimate>>>,
}

/// Every head's split, `[layer][head]`; empty without intervals. A head with an interval of undefined growth is summed
/// over the others.
pub(super) fn splits(run: &Run, grid: Grid, window: Window) -> Result<Vec<Vec<HeadSplit>>> {
    let mut all = vec![vec![HeadSplit::default(); grid.heads]; grid.layers];
    let mut any = false;
    each_row::<ProbeRow>(run, window.states(), |row| {
        let Some(layer) = grid.layer(row.layer).filter(|_| window.holds(row)) else { return };
        let head = all[layer].get_mut(usize::from(row.head));
        if let Some((head, parts)) = head.zip(recorded::parts(row)) {
            any = true;
            head.query += parts.query;
            head.key += parts.key;
            head.features += parts.features;
            head.growth += row.gamma;
        }
    })?;
    Ok(if any { all } else { Vec::new() })
}

/// [`RelianceRow::scope`] of a head, a layer and a half.
const HEAD: u8 = 0;
const LAYER: u8 = 1;
const HALF: u8 = 2;

pub(super) fn ablations(run: &Run, grid: Grid, window: Window) -> Result<Ablations> {
    let mut all = Ablations {
        halves: [None; 2],
        layers: vec![None; grid.layers],
        heads: vec![vec![None; grid.heads]; grid.layers],
    };
    each_row::<RelianceRow>(run, window.states(), |row| {
        let reach = row.stderr * student::quantile(0.975, row.sequences);
        let estimate = Some(Estimate { delta: row.delta, stderr: row.stderr, reach, step: row.step });
        let (layer, head) = (usize::from(row.layer), usize::from(row.head));
        let place = match row.scope {
            HEAD if row.head != WHOLE_LAYER => all.heads.get_mut(layer).and_then(|l| l.get_mut(head)),
            LAYER => all.layers.get_mut(layer),
            HALF => all.halves.get_mut(layer),
            _ => None,
        };
        // Steps do not decrease: the last one stays.
        if let Some(place) = place {
            *place = estimate;
        }
    })?;
    Ok(all)
}
