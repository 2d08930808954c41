//! Early warnings of runs that diverged.

use super::table::Table;
use crate::study::results::{Results, Warning};

/// One row a signal of a pair, where a run of the second arm diverged.
pub fn warnings(r: &Results) -> Table {
    let head = ["arm", "beside", "signal", "seeds", "first away at step", "steps before divergence"];
    let mut t = Table::new("warnings", "Early warnings of runs that diverged", &head);
    for pair in &r.pairs {
        let mut signals: Vec<&'static str> = Vec::new();
        for w in &pair.warnings {
            if !signals.contains(&w.signal) {
                signals.push(w.signal);
            }
        }
        for signal in signals {
            let of: Vec<&Warning> = pair.warnings.iter().filter(|w| w.signal == signal).collect();
            let seen: Vec<u32> = of.iter().filter_map(|w| w.step).collect();
            let leads: Vec<u32> =
                of.iter().filter_map(|w| w.step.map(|s| w.diverged.saturating_sub(s))).collect();
            t.rows.push(vec![
                pair.arm.clone(),
                pair.reference.clone(),
                signal.to_owned(),
                format!("{} of {}", seen.len(), of.len()),
                range(&seen),
                range(&leads),
            ]);
        }
    }
    t.notes.push(format!(
        "First step from which a signal exceeded {} times that of the other arm with the same seed, for {} recorded steps in a row; \
         ranges are over seeds.",
        growthpath_analysis::arms::FACTOR,
        growthpath_analysis::arms::PATIENCE
    ));
    t
}

fn range(values: &[u32]) -> String {
    match (values.iter().min(), values.iter().max()) {
        (Some(low), Some(high)) if low == high => low.to_string(),
        (Some(low), Some(high)) => format!("{low} to {high}"),
        _ => "never".to_owned(),
    }
}
