//! Two levels of progress: the study's bar below those of the runs that are being trained; lines where nobody watches.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::progress::{Progress, Show, note, watched};
use super::study_run::{StudyRun, Trained};

/// What is known of a study under way.
pub struct Board {
    bars: MultiProgress,
    study: ProgressBar,
    count: Mutex<Count>,
    runs: usize,
    started: Instant,
    show: Show,
}

/// Runs and steps so far.
#[derive(Default)]
struct Count {
    runs: usize,
    /// Steps of runs that this process trained: what its time was spent on.
    trained: u64,
    /// Steps of runs that are still to come.
    left: u64,
}

impl Board {
    /// For all runs of a study.
    pub fn new(runs: &[StudyRun], show: Show) -> Self {
        let target = if watched(show) { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let study = bars.add(ProgressBar::new(runs.len() as u64));
        if let Ok(style) = ProgressStyle::with_template("{prefix:22} {bar:20} {pos:>5}/{len} runs {msg}") {
            study.set_style(style);
        }
        study.set_prefix("study");
        let left = runs.iter().map(|r| u64::from(r.job.config.steps)).sum();
        let count = Mutex::new(Count { left, ..Count::default() });
        Self { bars, study, count, runs: runs.len(), started: Instant::now(), show }
    }

    /// A bar for a run that begins.
    pub fn run(&self, run: &StudyRun) -> Progress {
        Progress::among(&self.bars, &run.name, run.job.config.steps, 0, self.show)
    }

    /// A run ended: `how` in words.
    pub fn ended(&self, run: &StudyRun, how: &str, trained: Trained) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = u64::from(run.job.config.steps);
        count.runs += 1;
        count.left = count.left.saturating_sub(steps);
        count.trained += if trained == Trained::Now { steps } else { 0 };
        let left = time_left(self.started.elapsed(), count.trained, count.left);
        let left = left.map_or_else(String::new, |t| format!("about {} left", words(t)));
        self.study.set_position(count.runs as u64);
        self.study.set_message(left.clone());
        if self.show == Show::Progress && !watched(self.show) {
            let left = if left.is_empty() { left } else { format!("; {left}") };
            note(&format!("[{}/{}] {}: {how}{left}", count.runs, self.runs, run.name));
        } else if self.show == Show::Progress {
            // Lost only where standard error is closed.
            let _ = self.bars.println(format!("{}: {how}", run.name));
        }
    }

    /// Take the bars away.
    pub fn close(&self) {
        self.study.finish_and_clear();
    }
}

/// Time for `left` steps at the pace of `trained` steps so far; none before the first run and after the last.
fn time_left(elapsed: Duration, trained: u64, left: u64) -> Option<Duration> {
    (trained > 0 && left > 0).then(|| elapsed.mul_f64(left as f64 / trained as f64))
}

/// `40 s`, `12 min`, `3.5 h`.
fn words(t: Duration) -> String {
    match t.as_secs_f64() {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_goes_by_steps_trained_here() {
        let t = time_left(Duration::from_secs(30), 300, 900);
        assert_eq!(t, Some(Duration::from_secs(90)));
        assert_eq!(time_left(Duration::from_secs(30), 0, 900), None);
        assert_eq!(time_left(Duration::from_secs(30), 300, 0), None);
        assert_eq!([40, 720, 12_600].map(|s| words(Duration::from_secs(s))), ["40 s", "12 min", "3.5 h"]);
    }
}
