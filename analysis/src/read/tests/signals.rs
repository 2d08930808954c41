//! Early signals on traces whose growth is known.

use growthpath_trace::{HeadRow, Run};

use super::synthetic::Tamper;
use super::{SMALL, run_with};
use crate::AnalysisError;
use crate::read::{LEAD_LAGS, Lead, leads};

/// Spread whose growth over the next step is `rate(step, head)`, announced by the pressure.
struct Announced;

fn rate(step: u32, head: u16) -> f64 {
    0.02 * f64::from((step * 7 + u32::from(head) * 5) % 13) - 0.1
}

impl Tamper for Announced {
    fn head(&mut self, row: &mut HeadRow) {
        let head = 3 * row.layer + row.head;
        let ln: f64 = (0..row.step).map(|s| rate(s, head)).sum();
        row.spread = ln.exp() as f32;
        let pressure = rate(row.step, head) as f32;
        (row.wg_q, row.wg_k) = (-pressure, -pressure);
        row.entropy = -pressure;
        row.dm_f = if row.step.is_multiple_of(30) { 1.0 } else { f32::NAN };
    }
}

fn find<'a>(leads: &'a [Lead], signal: &str, lag: u32) -> &'a Lead {
    leads.iter().find(|l| l.signal == signal && l.lag == lag).unwrap()
}

fn announced() -> (tempfile::TempDir, Run) {
    run_with(SMALL, &mut Announced)
}

#[test]
fn what_announces_growth_is_found_and_its_opposite_too() {
    let (_folder, run) = announced();
    let found = leads(&run, None).unwrap();
    assert_eq!(found.len(), 9 * LEAD_LAGS.len());
    let (up, down) = (find(&found, "pressure", 1), find(&found, "entropy", 1));
    for (r, sign) in
        [(up.over_time, 1.0), (up.over_heads, 1.0), (down.over_time, -1.0), (down.over_heads, -1.0)]
    {
        // float32 spreads round growths that repeat, which breaks their ties; nothing else is in the way
        assert!((sign * r.plain - 1.0).abs() < 0.01, "{r:?}");
        assert!(sign * r.given_past > 0.9, "{r:?}");
    }
    assert_eq!((up.over_time.count, up.over_heads.count), (15, 59));
    // Random columns announce nothing: 59 pairs a head, median of 15 heads.
    let chance = find(&found, "gradient norm", 1);
    assert!(chance.over_time.plain.abs() < 0.15 && chance.over_heads.plain.abs() < 0.15, "{chance:?}");
    // Two recorded steps are no correlation.
    let sparse = find(&found, "dm_f", 3);
    assert!(sparse.over_time.plain.is_nan() && sparse.over_time.count == 0, "{sparse:?}");
    assert!(find(&found, "past growth", 1).over_time.given_past.is_nan());
}

#[test]
fn growth_is_taken_over_the_lag_from_the_step_of_the_signal() {
    let (_folder, run) = announced();
    let found = leads(&run, Some(10..50)).unwrap();
    // The same by hand, one head: signal at t against the sum of the next three rates.
    let rows: Vec<[f64; 3]> = (10..47)
        .map(|t| {
            let sum = |range: std::ops::Range<u32>| range.map(|s| rate(s, 0)).sum::<f64>();
            [rate(t, 0), sum(t..t + 3), if t >= 13 { sum(t - 3..t) } else { f64::NAN }]
        })
        .collect();
    let (want, _) = crate::ranks::spearman(&rows);
    let got = find(&found, "pressure", 3).over_time.plain;
    // Other heads are shifted by up to a period of 13 steps: close, not equal.
    assert!((got - want).abs() < 0.1, "{got} {want}");
    assert_eq!(find(&found, "pressure", 30).over_heads.count, 10);
}

#[test]
fn a_run_without_telemetry_says_so() {
    let size = super::Synthetic { telemetry_every: 0, ..SMALL };
    let (_folder, run) = super::run_of(size);
    let error = leads(&run, None).unwrap_err();
    assert!(
        matches!(error, AnalysisError::NothingToAnalyse { .. }) && error.to_string().contains("--telemetry")
    );
}
