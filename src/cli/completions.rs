//! `growthpath completions`: shell completions and the manual page, from the same flags as the help.

use clap_complete::Shell;

use super::output;
use crate::error::{Error, Result};

/// Arguments of `growthpath completions`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Shell to complete for
    #[arg(value_enum, required_unless_present = "man")]
    shell: Option<Shell>,
    /// Print the manual page (roff) instead
    #[arg(long)]
    man: bool,
}

/// Run the verb.
pub fn run(args: &Args, mut command: clap::Command) -> Result<()> {
    let mut text = Vec::new();
    if args.man {
        clap_mangen::Man::new(command).render(&mut text).map_err(Error::io("manual page"))?;
    } else if let Some(shell) = args.shell {
        clap_complete::generate(shell, &mut command, "growthpath", &mut text);
    }
    output::print(&String::from_utf8_lossy(&text))
}
