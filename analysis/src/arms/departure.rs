//! Early warnings: from when on a run's signals leave those of a healthy one.

use growthpath_trace::{HeadRow, Row, Run, StepRow, WriteRow};
use serde::Serialize;

use crate::error::Result;

/// [`WriteRow::site`] of the FFN.
const FFN: f64 = 1.0;

/// A signal has left the healthy run's when it exceeds it by this factor.
pub const FACTOR: f64 = 2.0;

/// Recorded steps in a row at which it must.
pub const PATIENCE: usize = 5;

/// When one signal of a run left the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Departure {
    /// The signal.
    pub signal: &'static str,
    /// First step from which it exceeded the reference's by [`FACTOR`] at [`PATIENCE`] recorded steps in a row, or was no
    /// number; none if it never did.
    pub step: Option<u32>,
}

/// A number of one recorded step.
type Point = (u32, f64);

/// Every signal of a run by its name.
fn signals(run: &Run) -> Result<[(&'static str, Vec<Point>); 5]> {
    Ok([
        ("training loss", column::<StepRow>(run, "loss", None)?),
        ("gradient norm", column::<StepRow>(run, "grad_norm", None)?),
        ("largest logit", column::<HeadRow>(run, "s_max", None)?),
        ("largest spread", column::<HeadRow>(run, "spread", None)?),
        ("largest FFN write", column::<WriteRow>(run, "energy", Some(("site", FFN)))?),
    ])
}

/// One number a step of a column: its largest value, of the rows in which another column has a value. A value that is not
/// a number makes the step's infinite.
fn column<R: Row>(run: &Run, name: &str, only: Option<(&str, f64)>) -> Result<Vec<Point>> {
    let names: Vec<&str> = std::iter::once(name).chain(only.map(|o| o.0)).collect();
    let mut points: Vec<Point> = Vec::new();
    for batch in run.stream_columns::<R>(&names, ..)? {
        let batch = batch?;
        for (i, &step) in batch.steps.iter().enumerate() {
            if only.is_some_and(|(_, value)| batch.values[1][i] != value) {
                continue;
            }
            let value = Some(batch.values[0][i]).filter(|v| v.is_finite()).unwrap_or(f64::INFINITY);
            match points.last_mut() {
                Some(last) if last.0 == step => last.1 = last.1.max(value),
                _ => points.push((step, value)),
            }
        }
    }
    Ok(points)
}

/// When each signal of `run` left the same signal of `healthy`, step by step.
///
/// # Errors
/// A trace that cannot be read.
pub fn departures(healthy: &Run, run: &Run) -> Result<Vec<Departure>> {
    let (a, b) = (signals(healthy)?, signals(run)?);
    let each = a.iter().zip(&b).map(|((signal, a), (_, b))| Departure { signal, step: departure(a, b) });
    Ok(each.collect())
}

/// First of [`PATIENCE`] steps in a row (fewer where the record ends) at which `b` exceeds `a` by [`FACTOR`].
fn departure(a: &[Point], b: &[Point]) -> Option<u32> {
    let shared: Vec<(u32, bool)> = b
        .iter()
        .filter_map(|(step, value)| {
            let at = a.binary_search_by_key(step, |p| p.0).ok()?;
            Some((*step, *value > FACTOR * a[at].1))
        })
        .collect();
    (0..shared.len())
        .find(|i| shared[*i..(i + PATIENCE).min(shared.len())].iter().all(|s| s.1))
        .map(|i| shared[i].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn a_signal_departs_when_it_stays_away() {
        let healthy = points(&[1.0; 12]);
        let once = points(&[1.0, 3.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
        assert_eq!(departure(&healthy, &once), Some(4));
        assert_eq!(departure(&healthy, &points(&[2.0; 12])), None, "twice is not beyond twice");
        // A run that ends in no number: the last steps suffice.
        let ends = points(&[1.0, 1.0, f64::INFINITY]);
        assert_eq!(departure(&healthy, &ends), Some(2));
        assert_eq!(departure(&healthy, &[]), None);
    }
}
