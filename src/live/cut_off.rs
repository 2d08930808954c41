//! Runs whose process died: told from those that live by their lock.

use growthpath_trace::{Run, RunLock, Status, Table, shown_path};

use super::silence::silence;
use crate::error::{Error, Result};
use crate::train::TrainConfig;

/// The last state of a run that says `running` and is written by nobody, since its process died; `None` of any other run,
/// and where the file system cannot tell.
///
/// # Errors
/// A run that can no longer be read.
pub fn cut_off(run: &Run) -> Result<Option<Run>> {
    if run.info().status != Status::Running || RunLock::is_held(run.dir()) != Some(false) {
        return Ok(None);
    }
    // A process that ends well says so before it lets go: what is read after its lock was free is its last word.
    let last = Run::open(run.dir())?;
    Ok((last.info().status == Status::Running).then_some(last))
}

/// Refuses a run of which nothing was recorded.
///
/// # Errors
/// A run without rows, with [`no_rows_words`]; one that can no longer be read.
pub fn with_rows(run: Run) -> Result<Run> {
    if Table::ALL.iter().any(|t| run.rows(*t) > 0) {
        return Ok(run);
    }
    Err(Error::format(run.dir(), no_rows_words(&run)?))
}

/// Why a run has no rows.
///
/// # Errors
/// A run that can no longer be read.
pub fn no_rows_words(run: &Run) -> Result<String> {
    Ok(match (cut_off(run)?, run.info().status) {
        (Some(last), _) => format!("no rows: {}", cut_off_words(&last)),
        (None, Status::Running) => {
            let silent = silence(run)?.map_or_else(String::new, |s| format!("; it {}", s.words()));
            format!(
                "no rows yet: a run writes its first within 20 seconds, or once a first probe that goes on beside training is done{silent}"
            )
        }
        (None, _) => "no rows: the run ended without any".to_owned(),
    })
}

/// What is to be said of a run that was cut off.
pub fn cut_off_words(run: &Run) -> String {
    let after = match run.step_span(Table::Steps) {
        Some((_, last)) => format!("after {} of {} steps", last + 1, run.info().steps_planned),
        None => "before its first rows were written".to_owned(),
    };
    let trained = serde_json::from_value::<TrainConfig>(run.info().config.clone()).is_ok();
    let mend = match trained {
        true => format!("; `growthpath train --resume --out {}` goes on", shown_path(run.dir())),
        false => String::new(),
    };
    format!("cut off {after}: no process writes it any more{mend}")
}
