//! What would decide an undecided verdict.

use super::record::Record;
use super::student;
use super::thresholds::Thresholds;
use super::times::{Shown, Times, shown};
use super::verdict::Verdict;

/// Parts into which the overlap is to be cut: two times that lie anywhere in it share a part once in so many records.
const PARTS: u32 = 10;

/// The mend in words; none for a verdict that is decided.
pub(super) fn mend(record: &Record, times: &Times, thresholds: &Thresholds) -> Option<String> {
    if times.verdict() != Verdict::Undecided {
        return None;
    }
    if record.diverged {
        return Some(format!(
            "the run diverged, its last probe is of step {} of {}: train anew with a smaller learning rate or clipping",
            record.last, record.total
        ));
    }
    if !times.complete {
        return Some(format!(
            "resume the run to its end (the record stops at step {} of {})",
            record.last, record.total
        ));
    }
    if record.maturity.is_empty() {
        return Some("record the lower half's maturity (train with probes)".to_owned());
    }
    let reliance = &record.reliance;
    if reliance.steps.is_empty() {
        return Some(
            "reliance was never measured: give it sequences and budget (--reliance-sequences 16 --probe-budget 0.3, or --probe-every)".to_owned(),
        );
    }
    if !reliance.stderr.iter().any(|e| e.is_finite()) {
        return Some("measure reliance on several sequences (--reliance-sequences 16)".to_owned());
    }
    let mut ways = Vec::new();
    ways.extend(denser(record, times));
    ways.extend(more_sequences(record, times, thresholds.confidence));
    if ways.is_empty() {
        ways.push(
            "no denser record would tell, for the upper half's reliance is too close to zero at every step measured"
                .to_owned(),
        );
    }
    Some(ways.join(", or "))
}

/// `probe every <= N steps between a and b`: where a bracket's inside could decide, if it is not measured step by step.
fn denser(record: &Record, times: &Times) -> Option<String> {
    let (c, m) = (times.commitment, times.maturity);
    let end = |high: Option<u32>| high.unwrap_or(record.total);
    let (a, b) = (c.low.min(m.low), end(c.high).min(end(m.high)));
    let maturity = record.lag.and_then(|lag| record.maturity.get(&lag)).map_or(&[][..], |c| &c.steps);
    let (probes, reliance) = (widest(maturity, a, b), widest(&record.reliance.steps, a, b));
    let gap = probes.max(reliance);
    if gap <= 1 {
        return None;
    }
    let every = (b.saturating_sub(a) / PARTS).min(gap / 2).max(1);
    // Where maturity is dense enough already, only reliance is wanting.
    let what = if probes > every { "probe" } else { "measure reliance" };
    Some(format!("{what} every <= {every} step{} between {a} and {b}", if every == 1 { "" } else { "s" }))
}

/// Widest gap between measurements from `a` to `b`.
fn widest(steps: &[u32], a: u32, b: u32) -> u32 {
    let inside = steps.iter().copied().filter(|s| *s > a && *s < b);
    let mut last = a;
    let mut gap = 0;
    for step in inside.chain([b]) {
        gap = gap.max(step.saturating_sub(last));
        last = step;
    }
    gap
}

/// `use >= M reliance sequences`: fewest at which a measurement that shows nothing so far would show reliance, if the
/// mean stays; of those that would decide, if there are any.
fn more_sequences(record: &Record, times: &Times, confidence: f64) -> Option<String> {
    let reliance = &record.reliance;
    let from = times.sharp.high?;
    let open = |i: &usize| {
        let step = reliance.steps[*i];
        step >= from
            && times.commitment.high.is_none_or(|h| step < h)
            && shown(reliance, *i, confidence) == Shown::Nothing
    };
    let needed =
        |i: usize| student::needed(confidence, reliance.delta[i], reliance.stderr[i], reliance.sequences[i]);
    let open: Vec<usize> = (0..reliance.steps.len()).filter(open).collect();
    let decisive = open.iter().filter(|i| reliance.steps[**i] <= times.maturity.low);
    let fewest = decisive.filter_map(|i| needed(*i)).min();
    let fewest = fewest.or_else(|| open.iter().filter_map(|i| needed(*i)).min())?;
    Some(format!("use >= {fewest} reliance sequences (--reliance-sequences {fewest})"))
}
