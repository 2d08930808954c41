//! `faster-projected-gan generate`.

use std::path::PathBuf;

use super::options::fresh;
use super::output::say;
use crate::error::{Error, Result};
use crate::evaluate::sample;
use crate::images::{save_grid, save_images};
use crate::train::load_ema;

/// Arguments of `generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of a run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Images to make
    #[arg(long, short = 'n', default_value_t = 36)]
    count: usize,
    /// Seed of latents and noise
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for one PNG an image
    #[arg(long, value_name = "DIR", required_unless_present = "grid")]
    out: Option<PathBuf>,
    /// One picture of all images, six in a row
    #[arg(long, value_name = "FILE.png")]
    grid: Option<PathBuf>,
}

/// Images made together.
const BATCH: usize = 12;

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.count == 0 {
        return Err(Error::usage("--count 0: choose at least 1"));
    }
    if args.grid.as_ref().is_some_and(|g| g.extension().is_none_or(|e| e != "png")) {
        return Err(Error::usage("--grid: the file's name must end in .png"));
    }
    let (generator, _, step) = load_ema(&args.run)?;
    if let Some(out) = &args.out {
        fresh(out, "choose another --out")?;
    }
    let mut parts = Vec::new();
    for start in (0..args.count).step_by(BATCH) {
        let images = sample(&generator, BATCH.min(args.count - start), args.seed, start)?;
        if let Some(out) = &args.out {
            save_images(&images, out, start)?;
        }
        if args.grid.is_some() {
            parts.push(images);
        }
    }
    if let Some(grid) = &args.grid {
        save_grid(&candle_core::Tensor::cat(&parts, 0)?, 6, grid)?;
    }
    let places = args.out.iter().chain(&args.grid).map(|p| p.display().to_string()).collect::<Vec<_>>();
    say(&format!("{} images of the generator after {step} steps in {}", args.count, places.join(" and ")))
}
