//! The loop: steps, rows, samples, evaluations, checkpoints.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::trainer::{StepReport, Trainer};
use crate::efficientnet::EfficientNet;
use crate::error::{Error, Result};
use crate::evaluate::{Distances, Features, distances, features_of, generated_features, sample};
use crate::images::{Dataset, save_grid};

/// How long, how often, where to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Folder of the run.
    pub out: PathBuf,
    /// Steps in all.
    pub steps: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between sample grids.
    pub sample_every: u64,
    /// Steps between evaluations; 0 for none.
    pub evaluate_every: u64,
    /// Generated images of an evaluation.
    pub evaluate_samples: usize,
}

/// What the loop tells.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A step is done, in so many seconds.
    Step(StepReport, f64),
    /// An evaluation after so many steps.
    Evaluated(u64, Distances),
}

/// One row of `steps.csv` or `evaluations.csv`, for drawing.
pub type Row = Vec<f64>;

const STEP_HEADER: &str = "step,images,loss_g,loss_d,real_logit,fake_logit,seconds";
const EVALUATION_HEADER: &str = "step,images,fd_lite1,kid,kid_standard_error,samples";
/// Images in a sample grid, and the seed of their latents: the same in every grid of every run.
const GRID: usize = 36;
const GRID_SEED: u64 = 1;
/// Seed of evaluation samples.
const EVALUATION_SEED: u64 = 2;

/// Train on until `plan.steps`; `features` is the evaluation's network where the plan asks for evaluations.
///
/// # Errors
/// Paths that cannot be written; [`Error::Diverged`].
pub fn run(
    trainer: &mut Trainer,
    data: &mut Dataset,
    features: Option<&EfficientNet>,
    plan: &Plan,
    mut on: impl FnMut(Event),
) -> Result<()> {
    fs::create_dir_all(plan.out.join("samples")).map_err(Error::io(&plan.out))?;
    let mut steps = Table::open(&plan.out.join("steps.csv"), STEP_HEADER, trainer.step)?;
    let mut evaluations = Table::open(&plan.out.join("evaluations.csv"), EVALUATION_HEADER, trainer.step)?;
    let real = match features {
        Some(network) if plan.evaluate_every > 0 => Some((network, features_of(network, data)?)),
        _ => None,
    };
    let due = |every: u64, step: u64| step == plan.steps || (every > 0 && step.is_multiple_of(every));
    while trainer.step < plan.steps {
        let start = Instant::now();
        let report = trainer.step(data)?;
        let seconds = start.elapsed().as_secs_f64();
        let images = trainer.images_seen();
        let StepReport { step, loss_g, loss_d, real: r, fake: f, .. } = report;
        steps.row(&format!("{step},{images},{loss_g},{loss_d},{r},{f},{seconds:.4}"))?;
        on(Event::Step(report, seconds));
        if due(plan.sample_every, step) {
            let path = plan.out.join("samples").join(format!("step-{step:06}.png"));
            save_grid(&sample(&trainer.average, GRID, GRID_SEED, 0)?, 6, &path)?;
        }
        if let Some((network, real)) = real.as_ref().filter(|_| due(plan.evaluate_every, step)) {
            let d = evaluate(trainer, network, real, plan.evaluate_samples)?;
            let (fd, kid, n) = (d.fd_lite1, d.kid, plan.evaluate_samples);
            evaluations.row(&format!("{step},{images},{fd},{},{},{n}", kid.value, kid.standard_error))?;
            on(Event::Evaluated(step, d));
        }
        if due(plan.checkpoint_every, step) {
            trainer.save(&plan.out)?;
        }
    }
    Ok(())
}

fn evaluate(trainer: &Trainer, network: &EfficientNet, real: &Features, n: usize) -> Result<Distances> {
    let generated = generated_features(network, &trainer.average, n, EVALUATION_SEED)?;
    Ok(distances(&generated, real))
}

/// A CSV file whose first column is the step. Opening it for a run at step `done` drops later rows.
struct Table {
    file: File,
    path: PathBuf,
}

impl Table {
    fn open(path: &Path, header: &str, done: u64) -> Result<Self> {
        let old = if done > 0 && path.exists() {
            fs::read_to_string(path).map_err(Error::io(path))?
        } else {
            String::new()
        };
        let step = |line: &str| line.split(',').next().and_then(|s| s.parse::<u64>().ok());
        // A line cut short by a crash has no line end: it is past the checkpoint, too.
        let kept =
            old.split_inclusive('\n').filter(|l| l.ends_with('\n') && step(l).is_some_and(|s| s <= done));
        let text = format!("{header}\n{}", kept.collect::<String>());
        fs::write(path, text).map_err(Error::io(path))?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io(path))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    fn row(&mut self, line: &str) -> Result<()> {
        writeln!(self.file, "{line}").map_err(Error::io(&self.path))
    }
}

/// The rows of a CSV file that the loop wrote.
///
/// # Errors
/// A file that cannot be read, a cell that is not a number.
pub(crate) fn read_table(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let parse =
        |line: &str| line.split(',').map(|c| c.parse::<f64>()).collect::<std::result::Result<Row, _>>();
    text.lines().skip(1).map(|l| parse(l).map_err(|e| Error::format(path, format!("{l}: {e}")))).collect()
}
