//! The command line: one file a verb.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or a value on it cannot be used.

mod bench;
mod demo;
mod evaluate;
mod generate;
mod options;
mod output;
mod progress;
mod train;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::Meter;
use crate::error::Error;

/// Projected GAN with a standard or a depthwise-separable generator: train, sample, evaluate, measure.
#[derive(Debug, Parser)]
#[command(name = "faster-projected-gan", version, subcommand_required = true)]
#[command(
    after_help = "Start with `faster-projected-gan demo`: both generators, trained for minutes, side by side."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a small standard and a small separable generator, draw, report
    Demo(demo::Args),
    /// Train one generator on a folder of images
    #[command(args_override_self = true)]
    Train(train::Args),
    /// Make images with a trained generator
    Generate(generate::Args),
    /// Parameters, multiply-accumulates, step time and peak memory of the four generators
    Bench(bench::Args),
    /// FD-lite1 and KID between generated images and a folder of real ones
    Evaluate(evaluate::Args),
}

/// Parse the command line, do it, and turn the outcome into an exit code. `meter` reads the program's allocator.
pub fn main(meter: Meter) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are not errors; a closed pipe behind them is nobody's fault.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Demo(a) => demo::run(&a),
        Command::Train(a) => train::run(&a),
        Command::Generate(a) => generate::run(&a),
        Command::Bench(a) => bench::run(&a, meter),
        Command::Evaluate(a) => evaluate::run(&a),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "faster-projected-gan: error: {e}");
            ExitCode::from(if matches!(e, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}
