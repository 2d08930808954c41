//! What is to be done for each run of a study.

use std::path::{Path, PathBuf};

use growthpath_trace::{Run, Status, is_unborn, shown_path};

use crate::data::Source;
use crate::error::{Error, Result};
use crate::train::cadence::like::like;
use crate::train::config::ProbeTimes;
use crate::train::{Resume, TrainConfig};

/// One run of a study.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name in figures and tables.
    pub label: String,
    /// Its directory.
    pub folder: PathBuf,
    /// What to train.
    pub config: TrainConfig,
    /// Another run of the study whose probe times this one shares, trained before it.
    pub like: Option<PathBuf>,
}

impl Job {
    /// Let jobs of one seed share the first one's probe times, where both would choose their own: they can then be
    /// compared interval by interval.
    pub fn share_probe_times(jobs: &mut [Self]) {
        for i in 1..jobs.len() {
            let (earlier, rest) = jobs.split_at_mut(i);
            // With QK-norm there are no probes to share.
            let auto = |c: &TrainConfig| matches!(c.probe.times, ProbeTimes::Auto { .. }) && !c.model.qk_norm;
            let (seed, steps) = (rest[0].config.seed, rest[0].config.steps);
            let alike = |j: &&Self| auto(&j.config) && j.config.seed == seed && j.config.steps == steps;
            if let Some(first) = earlier.iter().find(alike)
                && auto(&rest[0].config)
            {
                rest[0].like = Some(first.folder.clone());
            }
        }
    }

    /// Check what can be checked before the first run of a study: the configuration, and that its text is there.
    ///
    /// # Errors
    /// What cannot be used, with the arm's name.
    pub fn check(&self) -> Result<()> {
        self.config.validate_without_text().map_err(|e| match e {
            Error::Usage(m) => Error::usage(format!("arm `{}`: {m}", self.label)),
            e => e,
        })?;
        if let Source::Files { train, valid } = &self.config.data {
            for path in std::iter::once(train).chain(valid) {
                std::fs::metadata(path).map_err(Error::io(path))?;
            }
        }
        Ok(())
    }

    /// Check before anything is written that a run in its folder is of this configuration, but for what is only known when
    /// it begins: the vocabulary and shared probe times. What is no run there is left to [`state`].
    ///
    /// # Errors
    /// A run of another configuration.
    pub fn agrees_with_its_folder(&self) -> Result<()> {
        let Ok(run) = Run::open(&self.folder) else { return Ok(()) };
        let Ok(mut asked) = serde_json::to_value(&self.config) else { return Ok(()) };
        let mut stored = run.info().config.clone();
        for config in [&mut asked, &mut stored] {
            for late in ["/model/vocab", "/probe/times"] {
                if let Some(v) = config.pointer_mut(late) {
                    *v = serde_json::Value::Null;
                }
            }
        }
        if asked == stored { Ok(()) } else { Err(another_configuration(&self.folder)) }
    }

    /// Take over the probe times of [`Job::like`], unless that run is not complete: it failed, or it diverged and its times
    /// end there.
    ///
    /// # Errors
    /// When that run cannot be read.
    pub fn settle_probe_times(&mut self) -> Result<()> {
        if let (Some(run), ProbeTimes::Auto { budget, .. }) = (&self.like, &self.config.probe.times) {
            if !Run::open(run).is_ok_and(|r| r.info().status == Status::Complete) {
                return Ok(());
            }
            self.config.probe.times = like(run, *budget)?;
        }
        Ok(())
    }
}

/// How far a run is.
#[derive(Debug)]
pub enum State {
    /// Nothing there, or what is left of a creation that was cut short.
    New,
    /// Complete, or diverged.
    Done,
    /// Stopped: to go on from its newest checkpoint, or to be started again where there is none.
    Stopped(Resume),
}

fn another_configuration(folder: &Path) -> Error {
    Error::usage(format!(
        "{}: holds a run of another configuration; choose another --out or remove it",
        shown_path(folder)
    ))
}

/// Look at what is in a run's folder.
///
/// # Errors
/// A folder that is not a run, one that holds a run of another configuration, or one that another process writes.
pub fn state(folder: &Path, config: &TrainConfig) -> Result<State> {
    if !folder.exists() || is_unborn(folder) {
        return Ok(State::New);
    }
    let run = Run::open(folder)?;
    let stored: Option<TrainConfig> = serde_json::from_value(run.info().config.clone()).ok();
    if stored.as_ref() != Some(config) {
        return Err(another_configuration(folder));
    }
    match run.info().status {
        Status::Complete | Status::Diverged => Ok(State::Done),
        _ => Ok(State::Stopped(Resume::of(folder)?)),
    }
}
