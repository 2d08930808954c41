//! Runs that say that they are being trained and have not been written for long.

use std::path::Path;
use std::time::{Duration, SystemTime};

use growthpath_trace::{Run, RunLock, Status, StepRow, Table};

use crate::error::Result;

/// A run shows life every 20 seconds, and after every evaluation, probe and checkpoint, each of which may take longer than
/// many steps: silence is what exceeds both of these.
const LEAST: Duration = Duration::from_secs(300);
const STEPS: f64 = 100.0;

/// Steps whose times say what is usual.
const RECENT: u32 = 50;

/// How long a run has not been written, where that is much longer than is usual for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// Since its last write.
    pub since: Duration,
    /// The longest of its last steps; none before the first.
    pub step: Option<Duration>,
    /// Whether a process is known to hold it.
    pub held: bool,
}

/// The silence of a run that says that it is being trained; `None` of any other, and of one that was written lately. A
/// process that died is known by its lock ([`super::cut_off`]); this is for file systems that cannot lock, and for processes
/// that hang.
///
/// # Errors
/// A run that can no longer be read.
pub fn silence(run: &Run) -> Result<Option<Silence>> {
    if run.info().status != Status::Running {
        return Ok(None);
    }
    // Clocks of two machines may differ: what was written in the future was written lately.
    let written = ["manifest.json", "run.json"].iter().filter_map(|f| modified(&run.dir().join(f))).max();
    let Some(since) = written.and_then(|w| SystemTime::now().duration_since(w).ok()) else { return Ok(None) };
    if since < LEAST {
        return Ok(None);
    }
    let step = longest_step(run)?;
    let usual = step.map_or(LEAST, |s| s.mul_f64(STEPS));
    let held = RunLock::is_held(run.dir()) == Some(true);
    Ok((since >= usual).then_some(Silence { since, step, held }))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn longest_step(run: &Run) -> Result<Option<Duration>> {
    let Some((_, last)) = run.step_span(Table::Steps) else { return Ok(None) };
    let rows = run.read::<StepRow>(last.saturating_sub(RECENT)..)?;
    let longest =
        rows.iter().map(|r| f64::from(r.step_ms) / 1e3).filter(|s| s.is_finite()).fold(0.0, f64::max);
    Ok(Duration::try_from_secs_f64(longest).ok())
}

impl Silence {
    /// What is to be said of it.
    pub fn words(&self) -> String {
        let step = self.step.map_or_else(String::new, |s| format!("; its steps take {}", in_words(s)));
        let held = if self.held { "; a process holds it still" } else { "" };
        format!("seems to have stopped: last written {} ago{step}{held}", in_words(self.since))
    }
}

/// A time in its largest unit.
fn in_words(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", 1e3 * s),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}
