//! `faster-projected-gan train`.

use std::path::{Path, PathBuf};

use super::options::{Machine, fresh};
use super::output::say;
use super::progress::Progress;
use crate::config::{GeneratorConfig, Variant};
use crate::efficientnet::Size;
use crate::error::{Error, Result};
use crate::figures::{self, Drawn};
use crate::images::{Dataset, load_folder};
use crate::train::{Plan, Settings, Trainer, run as train, settings_of};

/// Arguments of `train`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of PNG, JPEG or WebP images of any size (searched through; centred squares are taken, mirrors added)
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// Steps in all
    #[arg(long, default_value_t = 2000)]
    steps: u64,
    /// Pixels along each side: 128, 256, 512 or 1024 [default: 128]
    #[arg(long)]
    resolution: Option<usize>,
    /// Base width of the generator [default: 16]
    #[arg(long)]
    ngf: Option<usize>,
    /// Which convolutions are depthwise-separable [default: standard]
    #[arg(long, value_enum)]
    variant: Option<Variant>,
    /// One convolution and no noise in a block
    #[arg(long)]
    lite: bool,
    /// Images a step, of each kind [default: 8]
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of weights, latents, augmentation and order [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Adam's rate [default: 2e-4]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Pixels along each side of what enters the discriminator's feature network [default: 224, or the images' if larger]
    #[arg(long, value_name = "N")]
    feature_size: Option<usize>,
    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 200)]
    checkpoint_every: u64,
    /// Steps between sample grids
    #[arg(long, value_name = "STEPS", default_value_t = 200)]
    sample_every: u64,
    /// Steps between evaluations; 0 for none
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    evaluate_every: u64,
    /// Generated images of an evaluation
    #[arg(long, value_name = "N", default_value_t = 256)]
    evaluate_samples: usize,
    #[command(flatten)]
    machine: Machine,
    /// No progress display
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    /// Fresh settings from the command line, or the checkpoint's, with which the command line must agree.
    fn settings(&self) -> Result<Settings> {
        if !self.resume {
            let generator = GeneratorConfig {
                ngf: self.ngf.unwrap_or(16),
                resolution: self.resolution.unwrap_or(128),
                variant: self.variant.unwrap_or(Variant::Standard),
                lite: self.lite,
            };
            let mut s = Settings::new(generator, self.batch.unwrap_or(8), self.seed.unwrap_or(1));
            s.learning_rate = self.learning_rate.unwrap_or(s.learning_rate);
            s.feature_size = self.feature_size.unwrap_or(s.feature_size);
            s.check()?;
            return Ok(s);
        }
        let (s, done) = settings_of(&self.out)?;
        let g = &s.generator;
        agree("ngf", self.ngf, g.ngf)?;
        agree("resolution", self.resolution, g.resolution)?;
        agree("variant", self.variant.map(Variant::name), g.variant.name())?;
        agree("lite", self.lite.then_some(true), g.lite)?;
        agree("batch", self.batch, s.batch)?;
        agree("seed", self.seed, s.seed)?;
        agree("learning-rate", self.learning_rate, s.learning_rate)?;
        agree("feature-size", self.feature_size, s.feature_size)?;
        if self.steps <= done {
            let steps = self.steps;
            return Err(Error::usage(format!(
                "--steps {steps}: {done} are done already, give a larger number"
            )));
        }
        Ok(s)
    }
}

fn agree<T: PartialEq + std::fmt::Display>(name: &str, given: Option<T>, run: T) -> Result<()> {
    match given {
        Some(g) if g != run => Err(Error::usage(format!(
            "--{name} {g}: the run to resume has {run}; leave --{name} out, or train into another folder"
        ))),
        _ => Ok(()),
    }
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    args.machine.start()?;
    let mut settings = args.settings()?;
    if args.evaluate_every > 0 && args.evaluate_samples < 3 {
        return Err(Error::usage("--evaluate-samples: KID needs at least 3"));
    }
    let size = settings.generator.resolution;
    let mut data = Dataset::new(load_folder(&args.images, size, settings.batch.max(3))?, size);
    let fingerprint = data.fingerprint();
    if args.resume && settings.images != fingerprint {
        return Err(Error::format(
            &args.images,
            "not the images that the run to resume was trained on: give the same folder",
        ));
    }
    settings.images = fingerprint;
    let features = args.machine.network(Size::Lite0)?;
    let judge = if args.evaluate_every > 0 { Some(args.machine.network(Size::Lite1)?) } else { None };
    if !args.resume {
        fresh(&args.out, "choose another --out, or go on with --resume")?;
    }
    let mut trainer = Trainer::new(settings, features)?;
    if args.resume {
        trainer.restore(&args.out)?;
    }
    let plan = Plan {
        out: args.out.clone(),
        steps: args.steps,
        checkpoint_every: args.checkpoint_every,
        sample_every: args.sample_every,
        evaluate_every: args.evaluate_every,
        evaluate_samples: args.evaluate_samples,
    };
    let label = trainer.settings.generator.variant.name();
    let progress = Progress::new(label, plan.steps, trainer.step, args.quiet);
    let done = train(&mut trainer, &mut data, judge.as_ref(), &plan, |e| progress.on(e));
    progress.finish();
    done?;
    draw(label, &args.out)?;
    say(&format!(
        "{} steps done; samples, tables, figures and checkpoint in {}",
        plan.steps,
        plan.out.display()
    ))
}

fn draw(label: &str, out: &Path) -> Result<()> {
    let run = [Drawn::read(label, out)?];
    figures::save(&figures::losses(&run), &out.join("figures"), "losses")?;
    if run[0].last().is_some() {
        figures::save(&figures::distances(&run), &out.join("figures"), "distances")?;
    }
    Ok(())
}
