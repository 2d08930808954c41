//! `faster-projected-gan demo`: both generators, trained for minutes, side by side.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::options::{Machine, fresh};
use super::output::{say, table};
use super::progress::Progress;
use crate::config::{GeneratorConfig, Variant};
use crate::count;
use crate::efficientnet::Size;
use crate::error::{Error, Result};
use crate::figures::{self, Drawn};
use crate::images::{Dataset, drawn_faces, load_folder};
use crate::nn::stream;
use crate::train::{Plan, Settings, Trainer, run as train};

/// Arguments of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of images to learn instead of drawn faces
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder for runs, figures and report
    #[arg(long, value_name = "DIR", default_value = "projected-gan-demo")]
    out: PathBuf,
    /// Steps of each generator
    #[arg(long, default_value_t = 150)]
    steps: u64,
    /// Base width of the generators
    #[arg(long, default_value_t = 8)]
    ngf: usize,
    /// Images a step
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    machine: Machine,
    /// No progress display
    #[arg(long, short)]
    quiet: bool,
}

const RESOLUTION: usize = 128;
/// Drawn faces to learn from.
const FACES: usize = 200;

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    args.machine.start()?;
    let judge = args.machine.network(Size::Lite1)?;
    let images = match &args.images {
        Some(folder) => load_folder(folder, RESOLUTION, args.batch.max(3))?,
        None => drawn_faces(FACES, RESOLUTION, &mut stream(args.seed, 8, 0)),
    };
    let mut data = Dataset::new(images, RESOLUTION);
    let mut trainers = Vec::new();
    for variant in [Variant::Standard, Variant::Separable] {
        let config = GeneratorConfig { ngf: args.ngf, resolution: RESOLUTION, variant, lite: false };
        let mut settings = Settings::new(config, args.batch, args.seed);
        // Images enter the discriminator as they are, not enlarged to 224 px: a third of the time.
        settings.feature_size = RESOLUTION;
        settings.images = data.fingerprint();
        trainers.push(Trainer::new(settings, args.machine.network(Size::Lite0)?)?);
    }
    fresh(&args.out, "choose another --out, or remove it")?;
    let mut drawn = Vec::new();
    for mut trainer in trainers {
        let name = trainer.settings.generator.variant.name();
        let plan = Plan {
            out: args.out.join(name),
            steps: args.steps,
            checkpoint_every: 0,
            sample_every: args.steps.div_ceil(3).max(1),
            evaluate_every: args.steps.div_ceil(3).max(1),
            evaluate_samples: 64,
        };
        let progress = Progress::new(name, plan.steps, 0, args.quiet);
        let done = train(&mut trainer, &mut data, Some(&judge), &plan, |e| progress.on(e));
        progress.finish();
        done?;
        drawn.push(Drawn::read(name, &plan.out)?);
    }
    let folder = args.out.join("figures");
    figures::save(&figures::losses(&drawn), &folder, "losses")?;
    figures::save(&figures::distances(&drawn), &folder, "distances")?;
    figures::save(&figures::speed(&drawn), &folder, "speed")?;
    let report = report(args, data.len(), &drawn, started.elapsed().as_secs_f64());
    let path = args.out.join("report.md");
    std::fs::write(&path, report).map_err(Error::io(&path))?;
    summary(args, &drawn)?;
    say(&format!("report: {}", path.display()))
}

fn rows(args: &Args, drawn: &[Drawn]) -> Vec<Vec<String>> {
    let header = ["generator", "parameters", "GMAC an image", "s a step", "FD-lite1", "KID"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for (run, variant) in drawn.iter().zip([Variant::Standard, Variant::Separable]) {
        let c = count::generator(&GeneratorConfig {
            ngf: args.ngf,
            resolution: RESOLUTION,
            variant,
            lite: false,
        });
        let (_, fd, kid, error) = run.last().unwrap_or((f64::NAN, f64::NAN, f64::NAN, f64::NAN));
        rows.push(vec![
            variant.name().into(),
            c.parameters.to_string(),
            format!("{:.3}", c.macs as f64 / 1e9),
            format!("{:.3}", run.seconds()),
            format!("{fd:.2}"),
            format!("{kid:.3} +- {error:.3}"),
        ]);
    }
    rows
}

fn summary(args: &Args, drawn: &[Drawn]) -> Result<()> {
    say(&table(&rows(args, drawn)))?;
    say(&format!(
        "the separable generator's step is {:.2} times as fast",
        drawn[0].seconds() / drawn[1].seconds()
    ))
}

fn report(args: &Args, images: usize, drawn: &[Drawn], seconds: f64) -> String {
    let mut text = format!(
        "# Projected GAN: standard and separable generator\n\n{images} images of {RESOLUTION} px, {} steps of {} images, \
         ngf {}, seed {}, {:.0} s in all. Distances are between 64 generated and all real images, on lite1 features: not \
         comparable with FID, and at this length a sign of life, not a result.\n\n",
        args.steps, args.batch, args.ngf, args.seed, seconds
    );
    for (i, row) in rows(args, drawn).iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if i == 0 {
            text += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    text += &format!(
        "\nA step of the separable generator is {:.2} times as fast: the discriminator, which both share, is in the loop.\n",
        drawn[0].seconds() / drawn[1].seconds()
    );
    for (title, file) in [("Losses", "losses"), ("Distances", "distances"), ("Speed", "speed")] {
        text += &format!("\n## {title}\n\n![{title}](figures/{file}.png)\n");
    }
    for name in ["standard", "separable"] {
        let samples = Path::new(name).join("samples").join(format!("step-{:06}.png", args.steps));
        text += &format!("\n## Samples, {name}\n\n![samples]({})\n", samples.display());
    }
    text
}
