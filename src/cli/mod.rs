//! The command line: one file a verb; this one holds the list, the exit codes and the error format.
//!
//! Exit codes: 0 done; 2 the command line or a value on it cannot be used; 1 everything else: files, divergence, a bug.

mod analyze;
mod analyze_text;
mod bench;
mod check_device;
mod columns;
mod compare;
mod completions;
mod curves;
mod demo;
mod device;
mod examples;
mod export;
mod given;
mod import;
mod inspect;
mod losses;
mod outcome;
mod output;
mod plot;
mod progress;
mod report;
mod signals;
mod study;
mod train;
mod train_args;
mod usage;
mod verify;
mod watch;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::Result;

/// Measure, predict and explain how attention grows during language-model pretraining.
#[derive(Debug, Parser)]
#[command(name = "growthpath", version, propagate_version = true, subcommand_required = true)]
#[command(
    after_help = "Start with `growthpath demo`: four small models, their figures and a report in minutes.\n\
                  Examples of every verb: growthpath VERB --help"
)]
pub struct Cli {
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train four small arms (GPT and LLaMA, with and without slowed upper Q/K), analyse them, draw, report
    #[command(args_override_self = true)]
    Demo(demo::Args),
    /// Train one model and record how its attention grows
    #[command(args_override_self = true)]
    Train(Box<train::Args>),
    /// Train several arms over several seeds from a plan file
    Study(study::Args),
    /// Watch a run while it trains: loss, spread of every layer, verdict so far
    Watch(watch::Args),
    /// Say why attention grew in a run: shares, prediction, bound, diagnosis
    Analyze(analyze::Args),
    /// Explain the difference between two runs
    Compare(compare::Args),
    /// Draw figures from saved runs
    Plot(plot::Args),
    /// Write a self-contained HTML report of saved runs
    Report(report::Args),
    /// Spectral view of attention in checkpoints: ours, or those of the architectures that transformers has
    Inspect(inspect::Args),
    /// Check a run's integrity and every identity that its rows must satisfy
    Verify(verify::Args),
    /// Say what every column of a run's tables is
    Columns(columns::Args),
    /// Write a table of a run as CSV or JSON lines, or runs as one Parquet dataset
    Export(export::Args),
    /// Take a run whose Parquet files another program wrote
    Import(import::Args),
    /// Measure what telemetry, recording and probes cost on this machine
    #[command(args_override_self = true)]
    Bench(Box<bench::Args>),
    /// Hold every kernel on this machine's GPU against its CPU twin
    CheckDevice(check_device::Args),
    /// Print shell completions, or the manual page
    Completions(completions::Args),
}

fn dispatch(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Demo(a) => demo::run(&a),
        Command::Train(a) => train::run(&a),
        Command::Study(a) => study::run(&a),
        Command::Watch(a) => watch::run(&a),
        Command::Analyze(a) => analyze::run(&a),
        Command::Compare(a) => compare::run(&a),
        Command::Plot(a) => plot::run(&a),
        Command::Report(a) => report::run(&a),
        Command::Inspect(a) => inspect::run(&a),
        Command::Verify(a) => verify::run(&a),
        Command::Columns(a) => columns::run(&a),
        Command::Export(a) => export::run(&a),
        Command::Import(a) => import::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::CheckDevice(a) => check_device::run(&a),
        Command::Completions(a) => completions::run(&a, command()),
    }
}

/// Do what `args` (without the program's name) ask for, as the program would, and return what it would print.
///
/// # Errors
/// As the verb; an argument that cannot be parsed.
pub fn captured(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<String> {
    let all: Vec<std::ffi::OsString> = std::iter::once("growthpath".into()).chain(args).collect();
    let parsed = command().try_get_matches_from(&all).and_then(|m| Cli::from_arg_matches(&m));
    let cli = parsed.map_err(|e| crate::Error::usage(usage::sentence(&e, &usage::help_of(all))))?;
    output::captured(|| dispatch(cli))
}

/// The configuration that a list of training flags stands for, but for the vocabulary, which the tokenizer decides.
///
/// # Errors
/// A flag that is unknown or cannot be used.
pub fn training_configuration(flags: &[String]) -> Result<crate::train::TrainConfig> {
    study::parse_flags(flags)?.resolve()
}

/// Parse the command line, do it, and turn the outcome into an exit code.
pub fn main() -> ExitCode {
    match command().try_get_matches().and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => outcome::of(|| dispatch(cli)),
        Err(e) if !e.use_stderr() => {
            // Help and version are not errors; a closed pipe behind them is nobody's fault.
            let _ = e.print();
            ExitCode::SUCCESS
        }
        Err(e) => outcome::of(|| {
            Err(crate::Error::usage(usage::sentence(&e, &usage::help_of(std::env::args_os().skip(1)))))
        }),
    }
}

/// The command line as it is parsed: with examples, and with negative numbers taken for values, so that each is refused
/// in words of its own.
fn command() -> clap::Command {
    let mut command = examples::with_examples(Cli::command());
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |c| c.allow_negative_numbers(true));
    }
    command
}

/// Two run numbers, `A:B`.
fn pair(text: &str) -> std::result::Result<(usize, usize), String> {
    let numbers = text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match numbers {
        Some((a, b)) if a != b => Ok((a, b)),
        _ => Err(format!("`{text}` is not two different run numbers such as 1:2")),
    }
}

/// Steps `A..B`, `A..` or `..B`.
fn window(text: &str) -> std::result::Result<std::ops::Range<u32>, String> {
    let parse = |s: &str, empty: u32| if s.is_empty() { Ok(empty) } else { s.parse().map_err(|_| ()) };
    let wrong = || format!("`{text}` is not a range of steps such as 100..300");
    let (a, b) = text.split_once("..").ok_or_else(wrong)?;
    let (a, b) = (parse(a, 0).map_err(|()| wrong())?, parse(b, u32::MAX).map_err(|()| wrong())?);
    if a < b { Ok(a..b) } else { Err(format!("`{text}` is empty: the first step must be below the second")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn windows_parse() {
        assert_eq!(window("3..9"), Ok(3..9));
        assert_eq!(window("..9"), Ok(0..9));
        assert_eq!(window("3.."), Ok(3..u32::MAX));
        for bad in ["", "3", "9..3", "a..b", "3..3", "-1..4"] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
