//! `growthpath train`.

use std::path::PathBuf;
use std::time::Instant;

use growthpath_trace::Run;

use super::output;
use super::progress::{Progress, note};
use super::train_args::{Device, TrainArgs, data_source, tokenizer};
use crate::data::{Dataset, Stage};
use crate::error::{Error, Result};
use crate::model::params::count;
use crate::train::{Outcome, TrainConfig, checkpoint, resume, train};

/// Arguments of `growthpath train`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    train: TrainArgs,
    /// Directory of the run; must not hold one yet, unless --resume
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Go on from the newest checkpoint in --out, with the configuration stored there
    #[arg(long)]
    resume: bool,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to train
    #[arg(long, value_enum, default_value = "auto")]
    device: Device,
    /// Name of the run in figures and tables [default: the arm]
    #[arg(long)]
    label: Option<String>,
    /// No progress display
    #[arg(long, short)]
    quiet: bool,
}

/// Set the number of threads once for the process.
pub fn set_threads(threads: Option<usize>) -> Result<()> {
    if let Some(n) = threads.filter(|n| *n == 0 || *n > 1024) {
        return Err(Error::usage(format!("--threads must be between 1 and 1024, got {n}")));
    }
    // A step is hundreds of short parallel regions: a caller outside the pool would sleep through each of them and be
    // woken after it, which costs more than many of them take.
    let built =
        rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).use_current_thread().build_global();
    match (threads, built) {
        (Some(n), Err(e)) => Err(Error::usage(format!("--threads {n}: {e}"))),
        _ => Ok(()),
    }
}

/// Refuse a device that this build or machine lacks.
pub fn check_device(device: Device) -> Result<()> {
    match device {
        Device::Auto | Device::Cpu => Ok(()),
        Device::Cuda => Err(Error::Format {
            path: "--device cuda".into(),
            message: "training on a GPU is not available in this build; use --device cpu or auto".into(),
        }),
    }
}

/// Load and tokenize a run's text, saying so when it takes long.
pub fn load_data(config: &mut TrainConfig, quiet: bool) -> Result<Dataset> {
    let started = Instant::now();
    let mut said = false;
    let mut on = |stage: Stage, done: u64, all: u64| {
        if !said && !quiet && started.elapsed().as_secs() >= 1 {
            said = true;
            note(&format!("preparing text: {stage:?} ({done} of {all} bytes)"));
        }
    };
    let spec = tokenizer(&config.tokenizer)?;
    let data = Dataset::load(&data_source(&config.data), &spec, config.model.context, &mut on)?;
    config.model.vocab = data.info().vocab_size;
    Ok(data)
}

/// Train with a progress display.
pub fn train_shown(
    config: &TrainConfig,
    data: &Dataset,
    out: &std::path::Path,
    label: &str,
    quiet: bool,
) -> Result<Outcome> {
    let mut bar = Progress::new(label, config.steps, 0, quiet);
    let outcome = train(config, data, out, label, &mut |e| bar.on(e));
    bar.finish();
    outcome
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    set_threads(args.threads)?;
    check_device(args.device)?;
    let (mut config, from, label) = if args.resume {
        let run = Run::open(&args.out)?;
        let config: TrainConfig = serde_json::from_value(run.info().config.clone())
            .map_err(|e| Error::format(args.out.join("run.json"), format!("cannot be resumed: {e}")))?;
        let from = checkpoint::latest(&args.out).map_or(0, |c| c.0);
        (config, from, run.info().label.clone())
    } else {
        let config = args.train.resolve()?;
        let label = args.label.clone().unwrap_or_else(|| config.label());
        (config, 0, label)
    };
    let stored = config.model.vocab;
    let data = load_data(&mut config, args.quiet)?;
    if args.resume && stored != config.model.vocab {
        return Err(Error::usage(format!(
            "the tokenizer now has {} entries, the run was started with {stored}",
            config.model.vocab
        )));
    }
    config.validate()?;
    if !args.quiet {
        note(&describe(&config, &data));
    }
    let outcome = if args.resume {
        check_same_data(args, &data)?;
        note(&format!("resuming at step {from}"));
        let mut bar = Progress::new(&label, config.steps, from, args.quiet);
        let outcome = resume(&config, &data, &args.out, &mut |e| bar.on(e));
        bar.finish();
        outcome?
    } else {
        train_shown(&config, &data, &args.out, &label, args.quiet)?
    };
    output::print(&summary(&config, &outcome, args))
}

fn check_same_data(args: &Args, data: &Dataset) -> Result<()> {
    let run = Run::open(&args.out)?;
    match run.info().data_blake3.get("streams") {
        Some(hash) if *hash != data.info().fingerprint => Err(Error::usage(
            "the text is not the one that the run was started with: its tokens have another hash".to_string(),
        )),
        _ => Ok(()),
    }
}

fn describe(c: &TrainConfig, data: &Dataset) -> String {
    let (all, body) = count(&c.model);
    let d = data.info();
    let tokens = c.batch * c.model.context;
    format!(
        "{}: {} layers, width {}, {} heads, context {}; {} parameters ({} without embeddings)\n\
         data: {} ({} training tokens, vocabulary {}); {} tokens a step, {:.2} epochs; {} threads",
        c.label(),
        c.model.layers,
        c.model.width,
        c.model.heads,
        c.model.context,
        thousands(all),
        thousands(body),
        d.train,
        thousands(d.train_tokens as usize),
        d.vocab_size,
        thousands(tokens),
        tokens as f64 * f64::from(c.steps) / d.train_tokens as f64,
        rayon::current_num_threads(),
    )
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn summary(c: &TrainConfig, o: &Outcome, args: &Args) -> String {
    let run = args.out.display();
    format!(
        "validation loss {:.4} nats/token (perplexity {:.2}) after {} steps; {:.0} tokens/s; probes took {:.1} s\n\
         run: {run}\nnext: growthpath analyze {run} | growthpath plot {run} --figure all --out figures\n",
        o.valid_loss,
        o.valid_loss.exp(),
        c.steps,
        o.tokens as f64 / o.step_seconds,
        o.probe_seconds,
    )
}
