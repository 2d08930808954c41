//! Flags of `growthpath train` as a plan or a demo gives them.

use clap::Parser;

use crate::cli::train_args::TrainArgs;
use crate::cli::usage;
use crate::error::{Error, Result};

/// Training flags alone, for parsing a plan's.
#[derive(Debug, Parser)]
#[command(name = "flags", no_binary_name = true, args_override_self = true, allow_negative_numbers = true)]
struct Flags {
    #[command(flatten)]
    train: TrainArgs,
}

/// Where what a flag of `growthpath train` says is said of a study; none for the flags that a plan may hold.
fn of_the_study(flag: &str) -> Option<&'static str> {
    let name = flag.split('=').next().unwrap_or(flag);
    match name {
        "--out" => Some("each run has its own folder in the study's --out"),
        "--label" => Some("an arm is called by its `name`"),
        "--quiet" | "-q" | "--resume" | "--threads" | "--device" => {
            Some("give it to growthpath study itself, before any `--`")
        }
        "--checkpoint-minutes" | "--profile" => Some("it is growthpath train's alone"),
        _ => None,
    }
}

/// The configuration that a list of training flags stands for.
pub fn parse_flags(flags: &[String]) -> Result<TrainArgs> {
    if let Some((flag, why)) = flags.iter().find_map(|f| Some((f, of_the_study(f)?))) {
        return Err(Error::usage(format!("{flag} is no flag of a plan: {why}")));
    }
    let parsed = Flags::try_parse_from(flags)
        .map_err(|e| Error::usage(usage::sentence(&e, "growthpath train --help")))?;
    Ok(parsed.train)
}
