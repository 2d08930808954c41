//! `growthpath check-device`: every kernel on this machine's GPU against its CPU twin.

#[cfg(feature = "cuda")]
use super::output::{self, table};
use crate::error::Result;
use crate::train::Device;

/// Arguments of `growthpath check-device`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Seed of the random inputs [default: the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Small sizes, for a sanitizer or an emulator
    #[arg(long)]
    quick: bool,
    /// Every comparison, not the worst of each array
    #[arg(long)]
    all: bool,
}

/// Run the verb: exit code 1 when an array differs.
#[cfg(feature = "cuda")]
pub fn run(args: &Args) -> Result<()> {
    match Device::cuda()? {
        Device::Cpu => Ok(()),
        Device::Cuda(gpu) => check(args, &gpu),
    }
}

/// Run the verb: says why there is no device.
#[cfg(not(feature = "cuda"))]
pub fn run(_args: &Args) -> Result<()> {
    Device::cuda().map(|_| ())
}

#[cfg(feature = "cuda")]
fn check(args: &Args, gpu: &crate::model::backend::Gpu) -> Result<()> {
    use growthpath_kernels::check::{Compared, Extent, run};

    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seed = args.seed.unwrap_or_else(clock);
    let mut last: Option<(String, std::time::Instant)> = None;
    let mut begin = |what: &str| {
        if let Some((done, since)) = last.replace((what.to_owned(), std::time::Instant::now())) {
            eprintln!("checked {done} in {:.1} s", since.elapsed().as_secs_f64());
        }
    };
    let extent = if args.quick { Extent::Quick } else { Extent::Full };
    let found = run(gpu, seed, extent, &mut begin)?;
    let mut shown: Vec<&Compared> = Vec::new();
    for f in &found {
        let worse = |o: &&mut &Compared| o.what == f.what && o.elem == f.elem;
        match shown.iter_mut().find(worse) {
            Some(o) if !args.all => {
                if f.worst > o.worst {
                    *o = f;
                }
            }
            _ => shown.push(f),
        }
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|f| {
            vec![
                f.what.clone(),
                f.elem.into(),
                f.shape.clone(),
                format!("{:.1e}", f.worst),
                format!("{:.0e}", f.limit),
                if f.ok() { "ok".into() } else { "DIFFERS".into() },
            ]
        })
        .collect();
    let bad = found.iter().filter(|f| !f.ok()).count();
    let mut text = table(&["array", "stored as", "worst case", "difference", "limit", ""], &rows);
    text += &format!("\n{}: {} arrays compared, {bad} differ (--seed {seed})\n", gpu.describe(), found.len());
    output::print(&text)?;
    match bad {
        0 => Ok(()),
        n => Err(crate::error::Error::format("check-device", format!("{n} arrays differ from the CPU's"))),
    }
}
