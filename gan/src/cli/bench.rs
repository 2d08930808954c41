//! `faster-projected-gan bench`.

use std::io::{IsTerminal, Write};

use indicatif::HumanCount;

use super::options::Machine;
use super::output::{say, table};
use crate::bench::{Job, Measured, Meter, counts, crossing, line, measure, paired, spread};
use crate::config::{GeneratorConfig, Variant};
use crate::count;
use crate::error::{Error, Result};
use crate::train::Settings;

/// Arguments of `bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print parameters and multiply-accumulates alone
    #[arg(long)]
    count_only: bool,
    /// Base width of the generators
    #[arg(long, default_value_t = 16)]
    ngf: usize,
    /// Pixels along each side
    #[arg(long, default_value_t = 128)]
    resolution: usize,
    /// One convolution and no noise in a block
    #[arg(long)]
    lite: bool,
    /// Generators to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "standard,separable,first,second")]
    variants: Vec<Variant>,
    /// Images a step
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Batches at which peak memory is measured [default: --batch]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    memory_batches: Vec<usize>,
    /// Rounds of one step of each generator; 0 measures memory alone
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Pixels along each side of what enters the discriminator's feature network [default: 224, or the images' if larger]
    #[arg(long, value_name = "N")]
    feature_size: Option<usize>,
    #[command(flatten)]
    machine: Machine,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Run the verb.
pub fn run(args: &Args, meter: Meter) -> Result<()> {
    if args.count_only {
        return print_counts(args);
    }
    args.machine.start()?;
    let mut settings = Vec::new();
    for &variant in &args.variants {
        let (ngf, resolution, lite) = (args.ngf, args.resolution, args.lite);
        let mut s = Settings::new(GeneratorConfig { ngf, resolution, variant, lite }, args.batch, 1);
        s.feature_size = args.feature_size.unwrap_or(s.feature_size);
        s.check()?;
        settings.push(s);
    }
    let batches = if args.memory_batches.is_empty() { vec![args.batch] } else { args.memory_batches.clone() };
    if let Some(b) = batches.iter().find(|b| **b < 2) {
        return Err(Error::usage(format!("--memory-batches {b}: batch norm needs at least 2 images")));
    }
    let job = Job { settings, rounds: args.rounds, batches };
    let watched = std::io::stderr().is_terminal();
    let all = measure(&job, &|size| args.machine.network(size), meter, &mut |text| {
        if watched {
            // Nobody to tell when standard error is closed.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    })?;
    if watched {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    if args.json {
        let text = serde_json::to_string(&all).map_err(|e| Error::Usage(e.to_string()))?;
        return say(&text);
    }
    print_measured(args, &all)
}

fn print_counts(args: &Args) -> Result<()> {
    let rows = counts(args.ngf, args.resolution, args.lite)?;
    if args.json {
        let of = |(v, c): &(Variant, count::Count)| serde_json::json!({ "variant": v.name(), "parameters": c.parameters, "macs": c.macs });
        return say(&serde_json::Value::Array(rows.iter().map(of).collect()).to_string());
    }
    let mut lines = vec![["generator", "parameters", "MACs an image"].map(String::from).to_vec()];
    for (v, c) in rows {
        lines.push(vec![
            v.name().into(),
            HumanCount(c.parameters).to_string(),
            format!("{:.3} G", c.macs as f64 / 1e9),
        ]);
    }
    let size = args.feature_size.unwrap_or(args.resolution.max(224));
    let d = count::discriminators(size);
    let label = format!("discriminators at {size} px (trained)");
    lines.push(vec![label, HumanCount(d.parameters).to_string(), format!("{:.3} G", d.macs as f64 / 1e9)]);
    say(&table(&lines))
}

fn print_measured(args: &Args, all: &[Measured]) -> Result<()> {
    let mib = |bytes: f64| format!("{:.0}", bytes / f64::from(1 << 20));
    let header = [
        "generator",
        "parameters",
        "GMAC",
        "step s",
        "step ratio [quartiles]",
        "alone s",
        "alone ratio",
        "peak MiB",
        "peak ratio",
    ];
    let mut lines = vec![header.map(String::from).to_vec()];
    let base = &all[0];
    // Without rounds there are no times.
    let shown = |v: f64, digits: usize| if v.is_nan() { "-".to_owned() } else { format!("{v:.digits$}") };
    let ratio = |a: &[f64], b: &[f64]| match paired(a, b) {
        r if r.median.is_nan() => "-".to_owned(),
        r => format!("{:.3} [{:.3}, {:.3}]", r.median, r.low, r.high),
    };
    for m in all {
        let peak = m.peak.last().map_or(f64::NAN, |p| p.1 as f64);
        let first = base.peak.last().map_or(f64::NAN, |p| p.1 as f64);
        lines.push(vec![
            m.variant.name().into(),
            HumanCount(m.parameters).to_string(),
            format!("{:.3}", m.macs as f64 / 1e9),
            shown(spread(&m.step).median, 3),
            ratio(&base.step, &m.step),
            shown(spread(&m.alone).median, 3),
            shown(paired(&base.alone, &m.alone).median, 2),
            mib(peak),
            format!("{:.3}", peak / first),
        ]);
    }
    let batch = all[0].peak.last().map_or(args.batch, |p| p.0);
    say(&format!(
        "ngf {}, {} px, batch {}, {} rounds; ratios: time of {} over each (larger is faster), peak over its (at batch {batch})",
        args.ngf,
        args.resolution,
        args.batch,
        args.rounds,
        base.variant.name()
    ))?;
    say(&table(&lines))?;
    for m in all {
        let points: Vec<String> = m.peak.iter().map(|p| format!("{}: {}", p.0, mib(p.1 as f64))).collect();
        let fit = line(&m.peak)
            .map_or(String::new(), |(fixed, each)| format!("   = {} + {} an image", mib(fixed), mib(each)));
        say(&format!("peak MiB by batch, {}: {}{fit}", m.variant.name(), points.join(", ")))?;
    }
    for m in &all[1..] {
        if let Some(batch) = crossing(base, m) {
            let text = format!(
                "{} and {} need the same memory at {batch:.1} images",
                base.variant.name(),
                m.variant.name()
            );
            say(&text)?;
        }
    }
    Ok(())
}
