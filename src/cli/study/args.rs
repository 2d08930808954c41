//! Arguments of `growthpath study`.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::device::DeviceArg;
use crate::cli::values::place;

/// What trains a study's runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// This machine, now.
    Local,
    /// A Slurm cluster: job arrays and a collecting step are written, with the script that submits them.
    Slurm,
}

/// Arguments of `growthpath study`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The plan (TOML): shared `flags`, `seeds`, `arms`, pairs to `compare`; `--example` prints one
    #[arg(required_unless_present = "example")]
    pub plan: Option<PathBuf>,
    /// Directory for the runs, tables, figures and the report [default: the plan's name without .toml]
    #[arg(long, value_parser = place())]
    pub out: Option<PathBuf>,
    /// Go on with a study that was stopped; finished runs are kept
    #[arg(long)]
    pub resume: bool,
    /// Print an annotated plan that runs as it is, and stop
    #[arg(long, exclusive = true)]
    pub example: bool,
    /// Runs trained at a time, each in a process of its own with its share of the threads
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "only")]
    pub jobs: usize,
    /// Train here, or write what a cluster needs to
    #[arg(long, value_enum, default_value = "local")]
    pub launcher: Launcher,
    /// Options for sbatch with --launcher slurm, e.g. `--sbatch=--partition=cpu --sbatch=--time=2:00:00`
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Train this one run of the study, e.g. gpt-seed1, as a task of a job array does
    #[arg(long, value_name = "ARM-seedN", conflicts_with_all = ["collect", "launcher"])]
    pub only: Option<String>,
    /// Train nothing: tables, figures and report of the runs that are there
    #[arg(long, conflicts_with_all = ["launcher", "jobs", "resume", "threads", "device"])]
    pub collect: bool,
    /// Threads in all, shared among --jobs; with --launcher slurm, of each run [default: all cores; slurm: 1]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where to train
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceArg,
    /// Print the results as JSON
    #[arg(long, conflicts_with = "only")]
    pub json: bool,
    /// No progress display
    #[arg(long, short)]
    pub quiet: bool,
    /// Progress as JSON lines on standard output, for the study that started this run
    #[arg(long, hide = true, requires = "only")]
    pub progress_lines: bool,
    /// Flags of `growthpath train` that decide what is trained, added to the plan's shared ones, after `--`
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}
