//! `faster-projected-gan evaluate`.

use std::path::PathBuf;

use super::options::Machine;
use super::output::say;
use crate::efficientnet::Size;
use crate::error::{Error, Result};
use crate::evaluate::{distances, features_of, generated_features};
use crate::images::{Dataset, load_folder};
use crate::train::load_ema;

/// Arguments of `evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of real images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Folder of a run, whose averaged generator makes the images
    #[arg(long, value_name = "DIR", required_unless_present = "generated", conflicts_with = "generated")]
    run: Option<PathBuf>,
    /// Folder of images made before
    #[arg(long, value_name = "DIR")]
    generated: Option<PathBuf>,
    /// Images that --run makes
    #[arg(long, short = 'n', default_value_t = 1000)]
    samples: usize,
    /// Seed of their latents
    #[arg(long, default_value_t = 2)]
    seed: u64,
    #[command(flatten)]
    machine: Machine,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    args.machine.start()?;
    if args.samples < 3 {
        return Err(Error::usage("--samples: KID needs at least 3"));
    }
    let network = args.machine.network(Size::Lite1)?;
    let of_folder = |folder: &PathBuf, size: usize| -> Result<_> {
        features_of(&network, &Dataset::new(load_folder(folder, size, 3)?, size))
    };
    let (generated, size) = match (&args.run, &args.generated) {
        (Some(run), _) => {
            let (generator, settings, _) = load_ema(run)?;
            let size = settings.generator.resolution;
            (generated_features(&network, &generator, args.samples, args.seed)?, size)
        }
        (None, Some(folder)) => {
            let size = Size::Lite1.resolution();
            (of_folder(folder, size)?, size)
        }
        (None, None) => return Err(Error::usage("give --run or --generated")),
    };
    // Real images at the generator's resolution: enlarging is then no difference between the two sets.
    let real = of_folder(&args.images, size)?;
    let d = distances(&generated, &real);
    if !(d.fd_lite1.is_finite() && d.kid.value.is_finite()) {
        return Err(Error::Diverged("the distances are not numbers: the generator's images are not".into()));
    }
    let (n, m, kid, error) = (generated.nrows(), real.nrows(), d.kid.value, d.kid.standard_error);
    if args.json {
        let line = serde_json::json!({
            "fd_lite1": d.fd_lite1, "kid": kid, "kid_standard_error": error, "generated": n, "real": m,
        });
        return say(&line.to_string());
    }
    say(&format!("FD-lite1  {:.3}   ({n} generated, {m} real images; not comparable with FID)", d.fd_lite1))?;
    say(&format!("KID       {kid:.5} +- {error:.5}   (standard error over both sets, lite1 features)"))
}
