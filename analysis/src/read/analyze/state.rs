//! What the residual stream was made of: `writes` and `probe_layers` at the window's end, `shares`
//! over the window.

use std::collections::BTreeSet;

use growthpath_trace::{MaturityRow, ProbeLayerRow, Run, ShareRow, Table, WriteRow};

use super::report::LayerShares;
use crate::error::Result;
use crate::maturity::main_lag;
use crate::read::each_row;
use crate::read::grid::Grid;
use crate::read::names::{NamedValues, WriteSlots};
use crate::read::running::Mean;
use crate::read::window::Window;

/// One sub-block's write at the window's last recorded step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub energy: f64,
    /// Over the stream that it adds to.
    pub ratio: f64,
    /// Fraction of the energy that all tokens share.
    pub common: f64,
}

/// The residual basis at the window's last probe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Basis {
    pub maturity: f64,
    pub eff_rank: f64,
    pub distinct: f64,
}

pub(super) struct StatePass {
    pub rows: u64,
    /// Attention and FFN of each layer.
    pub writes: Vec<[Write; 2]>,
    pub basis: Vec<Basis>,
    slots: WriteSlots,
    /// Of each layer, by slot.
    energy: Vec<Vec<Mean>>,
    drift: Vec<Vec<Mean>>,
}

pub(super) fn read(run: &Run, grid: Grid, window: &Window) -> Result<StatePass> {
    let nan = f64::NAN;
    let no_write = Write { energy: nan, ratio: nan, common: nan };
    let no_basis = Basis { maturity: nan, eff_rank: nan, distinct: nan };
    let slots = WriteSlots::new(grid.layers);
    let by_write = vec![vec![Mean::default(); slots.count()]; grid.layers];
    let mut pass = StatePass {
        rows: 0,
        writes: vec![[no_write; 2]; grid.layers],
        basis: vec![no_basis; grid.layers],
        slots,
        energy: by_write.clone(),
        drift: by_write,
    };
    each_row::<WriteRow>(run, window.tail(run, Table::Writes), |row| {
        let Some(layer) = grid.layer(row.layer) else { return };
        let Some(write) = pass.writes[layer].get_mut(usize::from(row.site)) else { return };
        pass.rows += 1;
        let [energy, common, before] = [row.energy, row.common, row.h2_before].map(f64::from);
        *write = Write { energy, ratio: energy / before, common: common / energy };
    })?;
    each_row::<ProbeLayerRow>(run, window.tail(run, Table::ProbeLayers), |row| {
        let Some(layer) = grid.layer(row.layer) else { return };
        pass.rows += 1;
        let basis = &mut pass.basis[layer];
        (basis.eff_rank, basis.distinct) = (row.eff_rank, row.distinct);
    })?;
    let lag = main_lag(run);
    // Rows of other lags stand between: the last part alone may hold none of the main one.
    each_row::<MaturityRow>(run, window.states(), |row| {
        if let Some(layer) = grid.layer(row.layer).filter(|_| Some(row.lag) == lag) {
            pass.basis[layer].maturity = row.maturity;
        }
    })?;
    pass.shares(run, grid, window)?;
    Ok(pass)
}

impl StatePass {
    fn shares(&mut self, run: &Run, grid: Grid, window: &Window) -> Result<()> {
        let intervals = intervals(run, window)?;
        each_row::<ShareRow>(run, window.states(), |row| {
            let (Some(layer), Some(slot)) = (grid.layer(row.layer), self.slots.slot(row.write)) else {
                return;
            };
            self.rows += 1;
            // The share of an interval that begins before the window belongs to what came before.
            if !intervals.excluded.contains(&row.step) {
                self.energy[layer][slot].add(row.energy_share);
                self.drift[layer][slot].add(row.drift_share);
            }
        })
    }

    pub fn energy_shares(&self) -> Vec<LayerShares> {
        self.named(&self.energy, Mean::value)
    }

    pub fn drift_shares(&self) -> Vec<LayerShares> {
        self.named(&self.drift, Mean::total)
    }

    /// Layers with any share, and the writes that they have.
    fn named(&self, shares: &[Vec<Mean>], value: impl Fn(&Mean) -> f64) -> Vec<LayerShares> {
        let layer = |(l, shares): (usize, &Vec<Mean>)| {
            let named = shares.iter().enumerate().filter(|(_, m)| !m.is_empty());
            let shares: Vec<_> = named.map(|(slot, m)| (self.slots.name(slot), value(m))).collect();
            (!shares.is_empty()).then_some(LayerShares { layer: l as u16, shares: NamedValues(shares) })
        };
        shares.iter().enumerate().filter_map(layer).collect()
    }
}

/// Probe steps within the window whose interval begins before it: at most the first one, but a
/// damaged chain may have more.
struct Intervals {
    excluded: BTreeSet<u32>,
}

fn intervals(run: &Run, window: &Window) -> Result<Intervals> {
    let mut excluded = BTreeSet::new();
    if window.start > 0 {
        for batch in run.stream_columns::<growthpath_trace::ProbeRow>(&["prev_step"], window.states())? {
            let batch = batch?;
            let prev = batch.values.first().into_iter().flatten();
            let outside = batch.steps.iter().zip(prev).filter(|(_, prev)| **prev < f64::from(window.start));
            excluded.extend(outside.map(|(step, _)| *step));
        }
    }
    Ok(Intervals { excluded })
}
