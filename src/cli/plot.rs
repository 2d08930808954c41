//! `growthpath plot`.

use std::path::PathBuf;

use growthpath_figures::names;
use growthpath_trace::Run;

use super::output;
use crate::error::{Error, Result};
use crate::report::{Material, pictures, save};

/// Arguments of `growthpath plot`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directories; the first is the reference of comparisons
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Name of a figure, or all; `list` prints the names
    #[arg(long, default_value = "all")]
    figure: String,
    /// Directory for the PNG and SVG files
    #[arg(long, default_value = "figures")]
    out: PathBuf,
}

/// Pairs of indices into runs shown together: reference first.
pub type Pairs = Vec<(usize, usize)>;

/// Open runs, and pair the first with every other.
pub fn open(paths: &[PathBuf]) -> Result<(Vec<Run>, Pairs)> {
    let runs = paths.iter().map(|p| Ok(Run::open(p)?)).collect::<Result<Vec<_>>>()?;
    let pairs = (1..runs.len()).map(|j| (0, j)).collect();
    Ok((runs, pairs))
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.figure == "list" {
        let rows: Vec<Vec<String>> =
            names().iter().map(|n| vec![n.name.into(), n.description.into()]).collect();
        return output::print(&output::table(&["figure", "shows"], &rows));
    }
    let only = match args.figure.as_str() {
        "all" => None,
        name if names().iter().any(|n| n.name == name) => Some(name),
        other => {
            let known: Vec<&str> = names().iter().map(|n| n.name).collect();
            return Err(Error::usage(format!("unknown figure `{other}`; known: all, {}", known.join(", "))));
        }
    };
    let (runs, pairs) = open(&args.runs)?;
    let drawn = pictures(&Material::read(&runs, &pairs)?, only);
    save(&drawn, &args.out)?;
    let list: Vec<String> =
        drawn.iter().map(|p| format!("{}\n", args.out.join(format!("{}.png", p.stem)).display())).collect();
    output::print(&list.concat())
}
