//! Key moments over time: maturity over exact lags while the run goes on, the cosine to the final moment at its end
//! (section 8).
//!
//! A moment is kept as float32 lower triangles: its cosines are exact to 1e-7, and a checkpoint gives them back bit for
//! bit. What is kept is bounded: about 16 moments within two lags, and 16 for the end.

use std::collections::{BTreeMap, BTreeSet};

use faer::Mat;
use growthpath_trace::{MaturityRow, SettlingRow};
use serde::{Deserialize, Serialize};

use super::cadence::Plan;
use super::config::TrainConfig;
use super::lags::Lags;

/// Moments that may wait for a comparison over the longest lag.
const WAITING: u32 = 16;

/// The key moment of every layer at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyMoments {
    /// Steps done.
    pub step: u32,
    /// One lower triangle a layer, row by row: `(0,0) (1,0) (1,1) (2,0) ...`.
    pub layers: Vec<Vec<f32>>,
}

impl KeyMoments {
    /// Pack one symmetric `d x d` matrix a layer.
    pub fn pack<'a>(step: u32, layers: impl Iterator<Item = &'a Mat<f64>>) -> Self {
        let triangle =
            |m: &Mat<f64>| (0..m.nrows()).flat_map(|i| (0..=i).map(move |j| m[(i, j)] as f32)).collect();
        Self { step, layers: layers.map(triangle).collect() }
    }

    /// Cosine with another time's moment, `tr(A B) / (|A|_F |B|_F)`, one entry a layer; NaN for a zero moment.
    pub fn cosine(&self, other: &Self) -> Vec<f64> {
        self.layers.iter().zip(&other.layers).map(|(a, b)| cosine(a, b)).collect()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    let (mut column, mut row) = (0, 0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        // Off the diagonal an entry stands for two.
        let weight = if column == row { 1.0 } else { 2.0 };
        ab += weight * x * y;
        aa += weight * x * x;
        bb += weight * y * y;
        if column == row {
            (column, row) = (0, row + 1);
        } else {
            column += 1;
        }
    }
    ab / (aa * bb).sqrt()
}

/// What a moment is compared with.
#[derive(Debug, Clone)]
pub struct Comparisons {
    step: u32,
    /// Steps of the earlier moments.
    with: BTreeSet<u32>,
}

impl Comparisons {
    /// Whether there is one over exactly `lag` steps.
    pub fn over(&self, lag: u32) -> bool {
        self.step.checked_sub(lag).is_some_and(|start| self.with.contains(&start))
    }
}

/// Which moments a checkpoint holds, and what they wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperState {
    /// Steps of the moments that comparisons wait for.
    pub starts: Vec<u32>,
    /// Steps of the moments kept for the end.
    pub settling: Vec<u32>,
    /// Step of a comparison, and the steps that it compares with.
    pending: BTreeMap<u32, BTreeSet<u32>>,
    last_start: Option<u32>,
}

/// Keeps the moments that a later comparison needs, and no others.
#[derive(Debug, Clone)]
pub struct Keeper {
    lags: Lags,
    steps: u32,
    settle_at: BTreeSet<u32>,
    tail: bool,
    floor: BTreeSet<u32>,
    starts: Vec<KeyMoments>,
    settling: Vec<KeyMoments>,
    state: KeeperState,
}

impl Keeper {
    /// For a run that follows `plan`.
    pub fn new(config: &TrainConfig, plan: &Plan) -> Self {
        Self {
            lags: Lags::new(config),
            steps: config.steps,
            settle_at: plan.settle_at.clone(),
            tail: plan.tail,
            floor: plan.floor.clone(),
            starts: Vec::new(),
            settling: Vec::new(),
            state: KeeperState::default(),
        }
    }

    /// What a checkpoint holds beside [`Keeper::moments`].
    pub fn state(&self) -> KeeperState {
        let steps = |m: &[KeyMoments]| m.iter().map(|m| m.step).collect();
        KeeperState { starts: steps(&self.starts), settling: steps(&self.settling), ..self.state.clone() }
    }

    /// Every moment kept, each step once.
    pub fn moments(&self) -> impl Iterator<Item = &KeyMoments> {
        let again = |m: &&KeyMoments| !self.starts.iter().any(|s| s.step == m.step);
        self.starts.iter().chain(self.settling.iter().filter(again))
    }

    /// Become what a checkpoint held; `moment` gives the one of a step.
    ///
    /// # Errors
    /// What `moment` fails with.
    pub fn restore<E>(
        &mut self,
        state: KeeperState,
        mut moment: impl FnMut(u32) -> Result<KeyMoments, E>,
    ) -> Result<(), E> {
        self.starts = state.starts.iter().map(|s| moment(*s)).collect::<Result<_, E>>()?;
        self.settling = state.settling.iter().map(|s| moment(*s)).collect::<Result<_, E>>()?;
        self.state = state;
        Ok(())
    }

    /// Whether the key moment is needed when `done` steps are done.
    pub fn due(&self, done: u32) -> bool {
        self.state.pending.contains_key(&done) || self.settle_at.contains(&done) || self.ends_here(done)
    }

    /// Whether the last step lies exactly a lag ahead.
    fn ends_here(&self, done: u32) -> bool {
        self.tail && done > 0 && self.lags.all.iter().any(|lag| done + lag == self.steps)
    }

    /// Settle what is to become of the key moment of `now`, which need not be known yet: nothing that is decided rests on its
    /// values.
    ///
    /// `probe`: it is a probe's, and comparisons may start here if `pay` takes on so many further captures.
    pub fn plan(&mut self, now: u32, probe: bool, mut pay: impl FnMut(u32) -> bool) -> Comparisons {
        let with = self.state.pending.remove(&now).unwrap_or_default();
        // What is kept for the end is there anyway: where probes are sparse, maturity goes on from it.
        let sparse = self.state.last_start.is_none_or(|s| now >= s + 2 * self.lags.main);
        let starts = probe || (sparse && self.settle_at.contains(&now));
        let later = if starts { self.start(now, &mut pay) } else { Vec::new() };
        for at in later.into_iter().chain(self.ends_here(now).then_some(self.steps)) {
            self.state.pending.entry(at).or_default().insert(now);
        }
        Comparisons { step: now, with }
    }

    /// Compare a moment as planned, before the next one is planned, and keep it where it is needed later.
    pub fn compare(&mut self, moment: KeyMoments, planned: &Comparisons) -> Vec<MaturityRow> {
        let now = moment.step;
        let mut rows = Vec::new();
        for start in &planned.with {
            if let Some(earlier) = self.starts.iter().find(|m| m.step == *start) {
                let cosines = earlier.cosine(&moment).into_iter().enumerate();
                rows.extend(cosines.map(|(l, maturity)| MaturityRow {
                    step: now,
                    layer: l as u16,
                    lag: now - start,
                    maturity,
                }));
            }
        }
        rows.sort_by_key(|r| (r.layer, r.lag));
        if self.settle_at.contains(&now) {
            self.settling.push(moment.clone());
        }
        let wanted: BTreeSet<u32> = self.state.pending.values().flatten().copied().collect();
        if wanted.contains(&now) {
            self.starts.push(moment);
        }
        self.starts.retain(|m| wanted.contains(&m.step));
        rows
    }

    /// [`Keeper::plan`] and [`Keeper::compare`] of a moment that is there.
    pub fn take(
        &mut self,
        moment: KeyMoments,
        probe: bool,
        pay: impl FnMut(u32) -> bool,
    ) -> Vec<MaturityRow> {
        let planned = self.plan(moment.step, probe, pay);
        self.compare(moment, &planned)
    }

    /// Steps at which the moment of `now` is compared again: after every lag, or after the main one if more cannot be paid.
    fn start(&mut self, now: u32, pay: &mut impl FnMut(u32) -> bool) -> Vec<u32> {
        let spacing = (2 * self.lags.main).div_ceil(WAITING);
        if self.state.last_start.is_some_and(|s| now < s + spacing) {
            return Vec::new();
        }
        let within = |lag: &u32| Some(now + lag).filter(|t| *t <= self.steps);
        let all: Vec<u32> = self.lags.all.iter().filter_map(within).collect();
        let main: Vec<u32> = within(&self.lags.main).into_iter().collect();
        for times in [all, main] {
            // The last step is probed, the floor's as well: nothing to pay.
            let free = |t: &&u32| self.due(**t) || self.floor.contains(*t) || **t == self.steps;
            let captures = times.iter().filter(|t| !free(t)).count() as u32;
            if !times.is_empty() && pay(captures) {
                self.state.last_start = Some(now);
                return times;
            }
        }
        Vec::new()
    }

    /// The lag that an adaptive hold goes by.
    pub fn main_lag(&self) -> u32 {
        self.lags.main
    }

    /// Cosines to the final moment, in (step, layer) order.
    pub fn settle(&self, last: &KeyMoments) -> Vec<SettlingRow> {
        let rows = |m: &KeyMoments| -> Vec<SettlingRow> {
            let cosines = m.cosine(last).into_iter().enumerate();
            cosines
                .map(|(l, final_cosine)| SettlingRow { step: m.step, layer: l as u16, final_cosine })
                .collect()
        };
        self.settling.iter().flat_map(rows).collect()
    }
}

/// Mean over the layers below `upper` of the maturity over `lag`; none if there is no such row.
pub fn lower_maturity(rows: &[MaturityRow], lag: u32, upper: usize) -> Option<f64> {
    let lower = |r: &&MaturityRow| r.lag == lag && usize::from(r.layer) < upper.max(1);
    let lower: Vec<f64> = rows.iter().filter(lower).map(|r| r.maturity).collect();
    (!lower.is_empty()).then(|| lower.iter().sum::<f64>() / lower.len() as f64)
}

#[cfg(test)]
#[path = "moments_tests.rs"]
mod tests;
