//! `growthpath plot`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use growthpath_figures::{FIGURES, Figure, Material, figure};
use growthpath_trace::{Run, shown_path};

use super::output;
use super::progress::note;
use crate::error::{Error, Result};
use crate::hint::unknown;
use crate::live::with_rows;
use crate::report::{pictures, read, save};

/// How wide figures are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Width {
    /// One column of a page, 84 mm
    Column,
    /// The page's text width, 174 mm
    Page,
}

/// File formats.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Pixels, 288 an inch
    Png,
    /// Vectors
    Svg,
    /// Vectors with embedded fonts
    Pdf,
}

/// Arguments of `growthpath plot`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directories; the first is the reference of comparisons
    #[arg(value_name = "RUN", required_unless_present = "figure")]
    runs: Vec<PathBuf>,
    /// Figures, separated by commas or given again; all, or list to print the names
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all")]
    figure: Vec<String>,
    /// Directory for the files
    #[arg(long, default_value = "figures")]
    out: PathBuf,
    /// Printed width; text is never smaller than 7 points
    #[arg(long, value_enum, default_value = "page")]
    width: Width,
    /// File formats, separated by commas or given again
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["png", "svg"])]
    format: Vec<Format>,
    /// Compare run B with run A, numbered as given from 1; may be given again [default: every run with the first]
    #[arg(long, value_name = "A:B", value_parser = super::pair)]
    pair: Vec<(usize, usize)>,
    /// Steps to show, such as 100..300 (verdicts always speak of the whole run)
    #[arg(long, value_name = "A..B", value_parser = super::window)]
    window: Option<Range<u32>>,
}

/// Pairs of indices into runs shown together: reference first.
pub type Pairs = Vec<(usize, usize)>;

/// Open runs; without pairs asked for (numbered from 1), the first is paired with every other.
pub fn open(paths: &[PathBuf], asked: &[(usize, usize)]) -> Result<(Vec<Run>, Pairs)> {
    let runs = paths.iter().map(|p| whole_run(p)).collect::<Result<Vec<_>>>()?;
    if let Some((a, b)) = asked.iter().find(|(a, b)| [*a, *b].iter().any(|n| *n == 0 || *n > runs.len())) {
        return Err(Error::usage(format!(
            "--pair {a}:{b}: {} runs were named, numbered from 1; the pair is two of these numbers",
            runs.len()
        )));
    }
    let pairs = match asked {
        [] => (1..runs.len()).map(|j| (0, j)).collect(),
        _ => asked.iter().map(|(a, b)| (a - 1, b - 1)).collect(),
    };
    Ok((runs, pairs))
}

/// Open a run that has rows, all of whose parts are what its manifest lists: damage in any table is an error, never an
/// empty section.
pub fn whole_run(path: &Path) -> Result<Run> {
    let run = with_rows(Run::open(path)?)?;
    run.check_parts()?;
    Ok(run)
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.figure.iter().any(|f| f == "list") {
        let lines: Vec<String> = FIGURES.iter().map(|f| format!("{:<16}{}\n", f.name, f.about)).collect();
        return output::print(&lines.concat());
    }
    let wanted = figures(&args.figure)?;
    if args.runs.is_empty() {
        return Err(Error::usage("name at least one run directory: growthpath plot RUN"));
    }
    let (runs, pairs) = open(&args.runs, &args.pair)?;
    let material = read(&runs, &pairs, args.window.clone())?;
    for figure in &wanted {
        say_why_missing(figure, &material);
    }
    let width = match args.width {
        Width::Column => growthpath_figures::Width::Column,
        Width::Page => growthpath_figures::Width::Page,
    };
    let formats: Vec<_> = args
        .format
        .iter()
        .map(|f| match f {
            Format::Png => growthpath_figures::Format::Png,
            Format::Svg => growthpath_figures::Format::Svg,
            Format::Pdf => growthpath_figures::Format::Pdf,
        })
        .collect();
    let paths = save(&pictures(&material, wanted), &args.out, &formats, width)?;
    let list: Vec<String> = paths.iter().map(|p| format!("{}\n", shown_path(p))).collect();
    output::print(&list.concat())
}

/// The figures of these names, each once, in the order asked.
fn figures(names: &[String]) -> Result<Vec<&'static Figure>> {
    let mut wanted: Vec<&'static Figure> = Vec::new();
    for name in names {
        let found = match name.as_str() {
            "all" => FIGURES.iter().collect(),
            name => vec![figure(name).ok_or_else(|| Error::usage(unknown("figure", name, known())))?],
        };
        for figure in found {
            if wanted.iter().all(|w| w.name != figure.name) {
                wanted.push(figure);
            }
        }
    }
    Ok(wanted)
}

/// Every name that `--figure` takes.
fn known() -> impl Iterator<Item = &'static str> + Clone {
    ["all", "list"].into_iter().chain(FIGURES.iter().map(|f| f.name))
}

/// A figure that has nothing to show is said, with the reason where there is one.
fn say_why_missing(figure: &Figure, m: &Material) {
    if !figure.drawings(m).is_empty() {
        return;
    }
    let refused: Vec<&str> =
        m.comparisons.iter().filter_map(|p| p.comparison.as_ref().err()).map(String::as_str).collect();
    let why = match figure.name {
        "shapley" if m.runs.len() < 2 => "it compares runs: name two".to_owned(),
        "shapley" => refused.join("; "),
        _ => "the runs hold nothing for it in these steps".to_owned(),
    };
    note(&format!("{}: not drawn, {why}", figure.name));
}
