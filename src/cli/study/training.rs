//! Training one run after the other, for a study or a demo.

use std::sync::Arc;

use crate::cli::device::{DeviceArg, pick};
use crate::cli::progress::{Progress, Show, note};
use crate::cli::train::{load_data, settle_vocab};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::study::{Job, State, state};
use crate::train::config::ProbeTimes;
use crate::train::{Event, resume, stop, train};

/// A text that the next run may share.
pub type Loaded = Option<(String, Arc<Dataset>)>;

/// Train what is not trained yet; texts that runs share are loaded once.
pub fn train_all(jobs: &mut [Job], device: DeviceArg, show: Show) -> Result<()> {
    let mut loaded = None;
    // Everything that can be known to be wrong is found before anything is written.
    jobs.iter().try_for_each(Job::check)?;
    stop::watch();
    Job::share_probe_times(jobs);
    for job in jobs {
        let mut bar = Progress::new(&job.label, job.config.steps, 0, show);
        let ended = train_job(job, &mut loaded, device, show, &mut |e| bar.on(e));
        bar.finish();
        keep_diverged(&job.label, ended)?;
    }
    Ok(())
}

/// Train one run, or go on with it, or leave it as it is where it is complete.
pub fn train_job(
    job: &mut Job,
    loaded: &mut Loaded,
    device: DeviceArg,
    show: Show,
    on: &mut dyn FnMut(Event),
) -> Result<()> {
    let own = job.config.probe.times.clone();
    job.settle_probe_times()?;
    let key = format!("{:?} {} {}", job.config.data, job.config.tokenizer, job.config.model.context);
    let data = match loaded {
        Some((k, d)) if *k == key => {
            settle_vocab(&mut job.config, d)?;
            Arc::clone(d)
        }
        _ => Arc::new(load_data(&mut job.config, show)?),
    };
    *loaded = Some((key, Arc::clone(&data)));
    job.config.validate()?;
    let device = pick(device, &job.config)?;
    if let Some(signal) = stop::requested() {
        return Err(stopped_between(signal));
    }
    match found(job, own)? {
        State::Done => return Ok(()),
        State::New => {}
        State::Stopped(from) => {
            for s in &from.skipped {
                note(&format!("skipped {}: {}", s.dir.display(), s.why));
            }
            if from.from.is_some() {
                return resume(&job.config, &data, &from, &device, on).map(|_| ());
            }
            // Stopped before its first checkpoint.
            from.discard()?;
        }
    }
    train(&job.config, &data, &job.folder, &job.label, &device, on).map(|_| ())
}

/// What is in a run's folder. One that was trained when the run whose probe times it shares had failed has times of its own.
fn found(job: &mut Job, own: ProbeTimes) -> Result<State> {
    let shared = match state(&job.folder, &job.config) {
        Ok(found) => return Ok(found),
        Err(e) => e,
    };
    let mut config = job.config.clone();
    config.probe.times = own;
    match state(&job.folder, &config) {
        Ok(found) => {
            job.config = config;
            Ok(found)
        }
        Err(_) => Err(shared),
    }
}

/// A diverged arm is a result of the study, not its end.
pub fn keep_diverged(label: &str, ended: Result<()>) -> Result<()> {
    match ended {
        Err(Error::Diverged(why)) => {
            note(&format!("{label}: {}", why.lines().next().unwrap_or("diverged")));
            Ok(())
        }
        other => other,
    }
}

pub fn stopped_between(signal: i32) -> Error {
    let what = format!("stopped by {} between two runs", stop::name(signal));
    Error::Interrupted { signal, what, mend: String::new() }
}

/// What goes on with a whole study or demo, in place of what goes on with one of its runs.
pub fn mended(e: Error, command: &str) -> Error {
    match e {
        Error::Interrupted { signal, what, .. } => {
            Error::Interrupted { signal, what, mend: command.to_owned() }
        }
        e => e,
    }
}
