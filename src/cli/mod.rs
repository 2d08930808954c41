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
mod values;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }
}
