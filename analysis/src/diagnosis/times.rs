//! When the upper half commits and the lower half settles, as brackets.

use super::bracket::Time;
use super::curves::{HalfCurve, RelianceCurve};
use super::record::Record;
use super::student;
use super::thresholds::Thresholds;
use crate::source::AttentionSource;

/// Recorded steps in a row at which the telemetry's sharpness must stay above its threshold.
///
/// Batches differ: near the threshold a single one can carry the mean over, five in a row hardly. The probe batch is
/// always the same and needs no such patience.
const PATIENCE: usize = 5;

/// Part of the way from a threshold to its other side (from sharpness to 0, from maturity to 1) within which a
/// measurement does not speak for the steps around it.
///
/// Curves waver as they cross: a GPT's lower half went 0.910, 0.896, 0.908, 0.820, 0.919 within ten steps around 0.9.
/// Where such steps are not measured, a bracket that took each measurement for its neighbourhood would miss what a
/// denser record shows. Brackets are right as long as no unmeasured excursion is larger than this; for maturity, larger
/// than the largest that was measured ([`deepest_dip`]).
const MARGIN: f64 = 0.25;

/// What one measurement of reliance shows at the asked confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The half is relied upon.
    Reliance,
    /// It is not: the loss without its attention is no higher.
    None,
    /// Neither.
    Nothing,
}

/// What the measurement at position `i` shows.
pub(super) fn shown(reliance: &RelianceCurve, i: usize, confidence: f64) -> Shown {
    let reach = student::quantile(confidence, reliance.sequences[i]) * reliance.stderr[i];
    let delta = reliance.delta[i];
    // Comparisons with NaN are false: without a standard error nothing is shown.
    match () {
        () if delta > reach => Shown::Reliance,
        () if delta + reach <= 0.0 => Shown::None,
        () => Shown::Nothing,
    }
}

/// The times of one setting of thresholds and lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// The upper half's mean sharpness passes its threshold.
    pub sharp: Time,
    /// Sharp and relied upon: t_c.
    pub commitment: Time,
    /// The lower half's mean maturity is above its threshold from here to the end: t_m.
    pub maturity: Time,
    /// Whether the run was recorded to its end.
    pub complete: bool,
}

impl Times {
    /// Reads them off a record.
    pub fn new(record: &Record, thresholds: &Thresholds, lag: Option<u32>) -> Self {
        let patience = match record.sharpness_source {
            AttentionSource::Telemetry => PATIENCE,
            AttentionSource::Probe => 1,
        };
        let sharp = Sharp::new(&record.sharpness, thresholds.sharpness, patience);
        let curve = lag.and_then(|lag| Some((lag, record.maturity.get(&lag)?)));
        let never = Time { low: 0, high: None };
        let maturity = curve.map_or(never, |(lag, c)| settled(c, lag, thresholds.maturity, record));
        Self {
            sharp: sharp.time(),
            commitment: sharp.commitment(&record.reliance, thresholds.confidence),
            maturity,
            complete: record.is_complete(),
        }
    }
}

/// Where the upper half is sharp.
struct Sharp<'a> {
    steps: &'a [u32],
    values: &'a [f64],
    threshold: f64,
    /// Whether the half is sharp, from here on for as long as patience asks.
    flags: Vec<bool>,
}

impl<'a> Sharp<'a> {
    fn new(curve: &'a HalfCurve, threshold: f64, patience: usize) -> Self {
        let (steps, values) = (&curve.steps[..], &curve.upper[..]);
        let run = |i: usize| &values[i..(i + patience).min(values.len())];
        let flags = (0..values.len()).map(|i| run(i).iter().all(|v| *v > threshold)).collect();
        Self { steps, values, threshold, flags }
    }

    /// The first time that it is.
    fn time(&self) -> Time {
        let first = self.flags.iter().position(|f| *f);
        let high = first.map(|i| self.steps[i]);
        let before = first.unwrap_or(self.steps.len());
        // The last measurement that excludes everything before it: well below the threshold so far.
        let near = (1.0 - MARGIN) * self.threshold;
        let clear = self.values[..before].iter().position(|v| v.is_nan() || *v > near).unwrap_or(before);
        let mut low = clear;
        // From there, steps measured one after another speak for themselves.
        while low < before && self.steps[low] <= low.checked_sub(1).map_or(0, |i| self.steps[i] + 1) {
            low += 1;
        }
        // Never sharp: whatever wavered was measured to the end.
        let low = if first.is_none() { before } else { low };
        Time { low: low.checked_sub(1).map_or(0, |i| self.steps[i]), high }
    }

    /// Whether it is sharp at a step: measured there, or well above the threshold when last measured.
    fn at(&self, step: u32) -> bool {
        match self.steps.binary_search(&step) {
            Ok(i) => self.flags[i],
            Err(after) => after
                .checked_sub(1)
                .is_some_and(|i| self.flags[i] && self.values[i] >= (1.0 + MARGIN) * self.threshold),
        }
    }

    /// The first time that it is sharp and relied upon.
    ///
    /// Reliance comes and goes before it stays, so a measurement that does not show it excludes no step but its own:
    /// the bracket begins where sharpness does, and ends at the first measurement that shows it while sharp.
    fn commitment(&self, reliance: &RelianceCurve, confidence: f64) -> Time {
        let sharp = self.time();
        let Some(from) = sharp.high else { return sharp };
        let shows = |i: &usize| shown(reliance, *i, confidence) == Shown::Reliance;
        let first = reliance.steps.partition_point(|s| *s < from);
        let high = (first..reliance.steps.len()).filter(shows).find(|i| self.at(reliance.steps[*i]));
        let absent = |step: u32| {
            let measured = reliance.steps.binary_search(&step).ok();
            let blunt = self.steps.binary_search(&step).is_ok_and(|i| !self.flags[i]);
            blunt || measured.is_some_and(|i| shown(reliance, i, confidence) == Shown::None)
        };
        let mut low = sharp.low;
        while absent(low + 1) {
            low += 1;
        }
        Time { low, high: high.map(|i| reliance.steps[i]) }
    }
}

/// The first time from which the lower half's values stay above the threshold to the end of the record, as far as they
/// were measured. Values are defined from step `lag` on.
fn settled(curve: &HalfCurve, lag: u32, threshold: f64, record: &Record) -> Time {
    let (steps, values) = (&curve.steps[..], &curve.lower[..]);
    // Comparisons with NaN are false: an undefined value is not settled.
    let unsettled = values.iter().rposition(|v| v.is_nan() || *v <= threshold);
    let low = unsettled.map_or(lag.saturating_sub(1), |i| steps[i]);
    let since = unsettled.map_or(0, |i| i + 1);
    let quarter = 1.0 - (1.0 - MARGIN) * (1.0 - threshold);
    let clear = quarter.max(threshold + deepest_dip(steps, &values[since..], since));
    // From here on every measurement is clear of the threshold and close enough to the next one, or to the end of the
    // record, to speak for the steps between: training slows down on its own clock, so a gap may be twice as long as what
    // came before it, and a lag more. Not where nothing unsettled was seen yet: in the warm-up features stand still, and a
    // value over a lag says of what follows no more than that lag.
    let slower = if unsettled.is_some() { 3 } else { 1 };
    let far = |i: usize| {
        let next = steps.get(i + 1).copied().unwrap_or(record.last);
        next > steps[i].saturating_mul(slower).saturating_add(lag)
    };
    let wavering = (0..values.len()).rposition(|i| values[i].is_nan() || values[i] < clear || far(i));
    let sure = Some(wavering.map_or(since, |i| since.max(i + 1))).filter(|i| *i < values.len());
    // Nothing can come after the last step.
    let last = values.len().checked_sub(1).filter(|i| *i >= since && steps[*i] >= record.total);
    let high = sure.or(last).map(|mut i| {
        // Steps measured one after another speak for themselves.
        while i > since && steps[i - 1] + 1 == steps[i] {
            i -= 1;
        }
        steps[i]
    });
    Time { low: high.map_or(low, |h| low.min(h.saturating_sub(1))), high }
}

/// How far below the straight line between its neighbours the lowest measurement lies, `first` being the position of
/// `values` in `steps`: what the curve may do between two measurements as well.
fn deepest_dip(steps: &[u32], values: &[f64], first: usize) -> f64 {
    let dip = |i: usize| {
        let at = |i: usize| f64::from(steps[first + i]);
        let part = (at(i) - at(i - 1)) / (at(i + 1) - at(i - 1));
        values[i - 1] + part * (values[i + 1] - values[i - 1]) - values[i]
    };
    (1..values.len().saturating_sub(1)).map(dip).fold(0.0, f64::max)
}
