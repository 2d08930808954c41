//! The table of single runs.

use super::cells;
use super::table::Table;
use crate::study::results::{Ended, Results};
use crate::tables::number;

/// One row a run, whatever became of it.
pub fn runs(r: &Results) -> Table {
    let head = [
        "arm",
        "seed",
        "state",
        "validation loss",
        "upper commits",
        "lower settles",
        "prematurity",
        "verdict",
        "ln growth upper",
        "ln growth lower",
    ];
    let mut t = Table::new("runs", "Every run", &head);
    for run in &r.runs {
        let s = run.summary.as_ref();
        let value = |name: &str| s.map_or_else(|| "-".to_owned(), |s| number(s.get(name)));
        let loss = if run.ended == Ended::Complete {
            s.map_or_else(|| "-".to_owned(), |s| format!("{:.4}", s.get("val_loss")))
        } else {
            "-".to_owned()
        };
        t.rows.push(vec![
            run.arm.clone(),
            run.seed.to_string(),
            run.state(),
            loss,
            cells::bracket(s.and_then(|s| s.commitment)),
            cells::bracket(s.and_then(|s| s.maturity)),
            cells::share(s.and_then(|s| s.prematurity)),
            s.and_then(|s| s.verdict).map_or_else(|| "-".to_owned(), |v| v.to_string()),
            value("growth.upper"),
            value("growth.lower"),
        ]);
    }
    t.notes.push(
        "A time a..b was known not to have come at step a and to have come at step b. Prematurity: the lower half's time minus \
         the upper half's, as a share of training. A run that is not complete is described up to where it came."
            .to_owned(),
    );
    t.notes.extend(
        r.runs
            .iter()
            .filter(|run| !run.why.is_empty())
            .map(|run| format!("{} seed {}: {}", run.arm, run.seed, run.why.lines().next().unwrap_or(""))),
    );
    t
}
