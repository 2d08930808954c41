//! `growthpath train`.

use std::path::PathBuf;
use std::time::Instant;

use growthpath_trace::{LONGEST_LABEL, Run, shown_path};
use indicatif::HumanCount;

use super::device::{DeviceArg, pick};
use super::progress::{Progress, Show, note};
use super::train_args::{TrainArgs, tokenizer};
use super::values::place;
use super::words::shell;
use super::{given, output};
use crate::data::{Dataset, Stage};
use crate::error::{Error, Result};
use crate::model::params::count;
use crate::tables::plural;
use crate::train::config::ProbeTimes;
use crate::train::safeguard::{MINUTES, set_interval};
use crate::train::sizes::Holds;
use crate::train::{Device, Outcome, Resume, TrainConfig, resume, sizes, stop, train};

/// Arguments of `growthpath train`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    train: TrainArgs,
    /// Directory of the run; must not hold one yet, unless --resume
    #[arg(long, value_parser = place(), value_name = "RUN")]
    out: PathBuf,
    /// Go on from the newest checkpoint in --out, with the configuration stored there
    #[arg(long)]
    resume: bool,
    /// Write a checkpoint every so many minutes, of which the newest are kept, so that a crash costs no more; 0 = never
    #[arg(long, value_name = "MINUTES", default_value_t = MINUTES)]
    checkpoint_minutes: f64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to train
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceArg,
    /// With --device cuda: print how often each kernel was launched and how long it took
    #[arg(long)]
    profile: bool,
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

/// Load and tokenize a run's text, saying so when it takes long.
pub fn load_data(config: &mut TrainConfig, show: Show) -> Result<Dataset> {
    sizes::fit(config, Holds::Parameters)?;
    let started = Instant::now();
    let mut said = false;
    let mut on = |stage: Stage, done: u64, all: u64| {
        if !said && show == Show::Progress && started.elapsed().as_secs() >= 1 {
            said = true;
            note(&format!("{stage}: {:.1} of {:.1} MB", done as f64 / 1e6, all as f64 / 1e6));
        }
    };
    let spec = tokenizer(&config.tokenizer)?;
    let data = Dataset::load(&config.data, &spec, config.model.context, &mut on)?;
    let entries = data.info().vocab_size;
    if let Some(init) = config.init.as_ref().filter(|i| entries > i.vocab) {
        return Err(Error::usage(format!(
            "the tokenizer has {entries} entries, the embedding of {} {}: give the tokenizer of that checkpoint",
            init.checkpoint.display(),
            init.vocab
        )));
    }
    if let Some(init) = &config.init
        && let Some(unknown) = init.same_tokenizer(&data)?
    {
        note(&unknown);
    }
    settle_vocab(config, &data)?;
    Ok(data)
}

/// The tokenizer decides the vocabulary; one that was asked for may be larger (padded), not smaller.
pub fn settle_vocab(config: &mut TrainConfig, data: &Dataset) -> Result<()> {
    let entries = data.info().vocab_size;
    match config.model.vocab {
        0 => config.model.vocab = entries,
        asked if asked < entries => {
            return Err(Error::usage(format!(
                "vocabulary of {asked}: the tokenizer has {entries} entries; leave --set vocab out, or give at least as many to pad it"
            )));
        }
        _ => {}
    }
    sizes::fit(config, Holds::Parameters)
}

/// Train with a progress display.
pub fn train_shown(
    config: &TrainConfig,
    data: &Dataset,
    out: &std::path::Path,
    label: &str,
    device: &Device,
    show: Show,
) -> Result<Outcome> {
    let mut bar = Progress::new(label, config.steps, 0, show);
    let outcome = train(config, data, out, label, device, &mut |e| bar.on(e));
    bar.finish();
    outcome
}

/// Go on with a run with a progress display.
pub fn resume_shown(
    config: &TrainConfig,
    data: &Dataset,
    from: Resume,
    label: &str,
    device: &Device,
    show: Show,
) -> Result<Outcome> {
    for s in &from.skipped {
        note(&format!("skipped {}: {}", shown_path(&s.dir), s.why));
    }
    let out = from.run().to_owned();
    let Some(step) = from.from.as_ref().map(|f| f.step) else {
        note(&format!("{}: stopped before its first checkpoint: starting again", shown_path(&out)));
        from.discard()?;
        return train_shown(config, data, &out, label, device, show);
    };
    note(&format!("resuming at step {step}"));
    let mut bar = Progress::new(label, config.steps, step, show);
    let outcome = resume(config, data, &from, device, &mut |e| bar.on(e));
    bar.finish();
    outcome
}

/// What a run that is to be resumed was started with.
fn stored(args: &Args) -> Result<(TrainConfig, String)> {
    let run = Run::open(&args.out)?;
    let config: TrainConfig = serde_json::from_value(run.info().config.clone())
        .map_err(|e| Error::format(args.out.join("run.json"), format!("cannot be resumed: {e}")))?;
    let label = run.info().label.clone();
    let command = <Args as clap::Args>::augment_args(clap::Command::new("train"));
    given::agree(command, &args.train, args.label.as_deref(), &config, &label)?;
    Ok((config, label))
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let show = Show::unless(args.quiet);
    set_threads(args.threads)?;
    set_interval(args.checkpoint_minutes)?;
    let (mut config, label) = if args.resume {
        stored(args)?
    } else {
        // Before any text is read: tokenizing takes a while.
        if args.out.join("run.json").exists() {
            return Err(growthpath_trace::Error::AlreadyARun { path: args.out.clone() }.into());
        }
        let config = args.train.resolve()?;
        let label = args.label.clone().unwrap_or_else(|| config.label());
        bounded(&label)?;
        (config, label)
    };
    config.validate_without_text()?;
    let from = if args.resume { Some(Resume::of(&args.out)?) } else { None };
    let device = pick(args.device, &config)?;
    if !matches!(device, Device::Cpu) {
        if args.train.spectra_every.is_some_and(|n| n > 0) {
            return Err(Error::usage(
                "--spectra-every has no effect here: a GPU would have to stop for the weights; leave it out, or train with --device cpu",
            ));
        }
        // run.json says what is recorded, and a device records no spectra: it would have to be waited for.
        config.spectra_every = 0;
    }
    if args.profile {
        profile_start(&device)?;
    }
    let data = load_data(&mut config, show)?;
    config.validate()?;
    if show == Show::Progress {
        note(&describe(&config, &data, &device));
    }
    stop::watch();
    let outcome = match from {
        Some(from) => {
            check_same_data(args, &data)?;
            resume_shown(&config, &data, from, &label, &device, show)?
        }
        None => train_shown(&config, &data, &args.out, &label, &device, show)?,
    };
    let mut text = summary(&config, &outcome, args);
    if args.profile {
        text += &profile_end(&device, &outcome)?;
    }
    output::print(&text)
}

/// A label that a figure has room for.
fn bounded(label: &str) -> Result<()> {
    match label.chars().count() {
        n if n > LONGEST_LABEL => Err(Error::usage(format!(
            "--label has {n} characters, at most {LONGEST_LABEL} are shown: shorten it"
        ))),
        _ => Ok(()),
    }
}

fn profile_start(device: &Device) -> Result<()> {
    match device {
        Device::Cpu => Err(Error::usage("--profile counts a device's launches: it needs --device cuda")),
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => {
            gpu.profile_start(true);
            Ok(())
        }
    }
}

/// Launches and time by kernel over the whole run, validation included.
fn profile_end(device: &Device, outcome: &Outcome) -> Result<String> {
    match device {
        Device::Cpu => Ok(format!("{} launches a training step\n", outcome.launches_a_step)),
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => {
            let uses = gpu.profile_end()?;
            let all: f64 = uses.iter().map(|u| u.milliseconds).sum();
            let rows: Vec<Vec<String>> = uses
                .iter()
                .map(|u| {
                    vec![
                        u.kernel.clone(),
                        u.launches.to_string(),
                        format!("{:.1}", u.milliseconds),
                        format!("{:.1}", 1e3 * u.milliseconds / u.launches.max(1) as f64),
                        format!("{:.1}", 100.0 * u.milliseconds / all.max(f64::MIN_POSITIVE)),
                    ]
                })
                .collect();
            let header = ["kernel", "launches", "ms in all", "us a launch", "% of the time"];
            Ok(format!(
                "\n{}{} launches a training step, 1 copy to the host\n",
                output::table(&header, &rows),
                outcome.launches_a_step
            ))
        }
    }
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

fn describe(c: &TrainConfig, data: &Dataset, device: &Device) -> String {
    let (all, body) = count(&c.model);
    let d = data.info();
    let tokens = c.batch * c.model.context;
    format!(
        "{}: {} layers, width {}, {} heads, context {}; {} parameters ({} without embeddings)\n\
         data: {} ({} training tokens, vocabulary {}); {} tokens a step, {:.2} epochs; {}",
        c.label(),
        c.model.layers,
        c.model.width,
        c.model.heads,
        c.model.context,
        HumanCount(all as u64),
        HumanCount(body as u64),
        d.train,
        HumanCount(d.train_tokens),
        d.vocab_size,
        HumanCount(tokens as u64),
        tokens as f64 * f64::from(c.steps) / d.train_tokens as f64,
        device.describe(),
    )
}

fn summary(c: &TrainConfig, o: &Outcome, args: &Args) -> String {
    let run = shell(&args.out);
    // A resume from the last checkpoint has no step to time.
    let speed = match o.tokens {
        0 => String::new(),
        n => format!("; {:.0} tokens/s", n as f64 / o.step_seconds),
    };
    format!(
        "validation loss {:.4} nats/token (perplexity {:.2}) after {}{speed}\n{}\
         run: {}\nnext:\n  growthpath analyze {run}\n  growthpath report {run}\n  growthpath plot {run} --out figures\n",
        o.valid_loss,
        o.valid_loss.exp(),
        plural(c.steps, "step"),
        probing(c, o),
        shown_path(&args.out),
    )
}

/// What probes, maturity and reliance took of the time and of the arithmetic, and what the choice of times rested on.
fn probing(c: &TrainConfig, o: &Outcome) -> String {
    if c.probe.times == ProbeTimes::Never {
        return String::new();
    }
    let steps = f64::from(c.steps);
    // A resume from the last checkpoint had no step to compare with.
    let share = match o.probe_seconds / (o.probe_seconds + o.step_seconds) {
        share if o.tokens > 0 => format!(", {:.0} % of the time", 100.0 * share),
        _ => String::new(),
    };
    let seconds = o.probe_seconds;
    let took = match o.beside_seconds {
        0.0 => format!("{seconds:.1} s{share}"),
        beside => {
            format!("{seconds:.1} s between steps{share} ({beside:.1} s of work on the host beside them)")
        }
    };
    let mut text = format!(
        "probes, maturity and reliance: {took}; counted from the shapes, {:.1} % of the training's arithmetic",
        100.0 * o.probe_steps / steps,
    );
    if let ProbeTimes::Auto { budget, .. } | ProbeTimes::Like { budget, .. } = &c.probe.times {
        text += &format!(" (budget {} %)", 100.0 * budget);
        let auto = matches!(c.probe.times, ProbeTimes::Auto { .. });
        if auto && o.probe_limit.is_some_and(|l| l > budget * steps) {
            text += "\nnote: so short a run goes beyond the budget with its first and last probe alone; take more steps or a larger --probe-budget";
        }
        if auto && c.telemetry_every == 0 {
            text += "\nnote: with --telemetry off nothing says when logits move: probes were taken at times fixed in advance";
        } else if auto && c.telemetry_every > 1 {
            text +=
                &format!("\nnote: movement of the logits was seen every {} steps only", c.telemetry_every);
        }
    }
    text + "\n"
}
