//! `growthpath export --to`: a run's curves for other programs' displays, once or as long as it grows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use growthpath_trace::shown_path;
use serde_json::{Map, Value};

use super::progress::note;
use crate::destination::outside_tables;
use crate::error::{Error, Result};
use crate::live::{EventFile, Growth, Sample, Scalars, Tail, cut_off_words};

/// Where curves go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CurveTarget {
    /// An event file for TensorBoard, which W&B's `wandb sync` reads too.
    Tensorboard,
    /// One JSON object a step: `step`, `seconds`, and the curves by name.
    Jsonl,
}

/// What takes samples.
enum Sink {
    Events(EventFile),
    Lines(Box<dyn Write>, std::path::PathBuf),
}

impl Sink {
    fn add(&mut self, samples: &[Sample]) -> Result<()> {
        match self {
            Self::Events(file) => file.add(samples),
            Self::Lines(out, path) => {
                let mut write = || {
                    for s in samples {
                        writeln!(out, "{}", line(s))?;
                    }
                    out.flush()
                };
                write().map_err(Error::io(&*path))
            }
        }
    }
}

/// A sample as a JSON line.
fn line(s: &Sample) -> Value {
    let mut object = Map::new();
    object.insert("step".into(), s.step.into());
    object.insert("seconds".into(), s.seconds.into());
    object.extend(s.values.iter().map(|(name, v)| (name.clone(), (*v).into())));
    Value::Object(object)
}

/// Write a run's curves; with `follow`, look again every so many seconds until it ends.
///
/// # Errors
/// A folder that is no run, or a target that cannot be written.
pub fn run(folder: &Path, to: CurveTarget, out: Option<&Path>, follow: Option<f64>) -> Result<()> {
    let every = follow.unwrap_or(1.0);
    if !(every.is_finite() && (0.05..=86_400.0).contains(&every)) {
        return Err(Error::usage(format!("--every must be between 0.05 seconds and a day, got {every}")));
    }
    let mut tail = Tail::new(folder, Duration::from_secs_f64(every));
    let mut scalars = Scalars::default();
    let mut sink: Option<Sink> = None;
    loop {
        match tail.look()? {
            Growth::Grown(run) => {
                let sink = match &mut sink {
                    Some(sink) => sink,
                    none => none.insert(open(&run, folder, to, out)?),
                };
                match scalars.read(&run) {
                    Ok(samples) => sink.add(&samples)?,
                    Err(e) if follow.is_none() => return Err(e),
                    Err(e) => drop(tail.later(e)?),
                }
            }
            Growth::Ended(_) => break,
            Growth::CutOff(run) => {
                note(&format!("{}: {}", shown_path(folder), cut_off_words(&run)));
                break;
            }
            Growth::Silent(_, silence) => {
                note(&format!("{}: {}", shown_path(folder), silence.words()));
                tail.wait();
            }
            Growth::Same => tail.wait(),
        }
        if follow.is_none() {
            break;
        }
    }
    if let Some(Sink::Events(file)) = &sink {
        note(&format!("{}", file.path().display()));
    }
    Ok(())
}

fn open(run: &growthpath_trace::Run, folder: &Path, to: CurveTarget, out: Option<&Path>) -> Result<Sink> {
    Ok(match (to, out) {
        (CurveTarget::Tensorboard, out) => {
            let folder = out.map_or_else(|| folder.join("tensorboard"), Path::to_owned);
            outside_tables(&folder)?;
            Sink::Events(EventFile::create(&folder, run.info().created_unix)?)
        }
        (CurveTarget::Jsonl, Some(path)) => {
            outside_tables(path)?;
            if std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0) {
                return Err(Error::format(path, "exists already: remove it, or choose another --out"));
            }
            let file = File::create(path).map_err(Error::io(path))?;
            Sink::Lines(Box::new(BufWriter::new(file)), path.to_owned())
        }
        (CurveTarget::Jsonl, None) => Sink::Lines(Box::new(std::io::stdout()), "standard output".into()),
    })
}
