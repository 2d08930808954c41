//! `growthpath plot`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use growthpath_figures::{FIGURES, Figure, Format, Material, Width, figure};
use growthpath_trace::{Run, shown_path};

use super::output;
use super::progress::note;
use super::values::{choice, pair, place, window};
use super::words::same_run;
use crate::error::{Error, Result};
use crate::hint::unknown;
use crate::live::with_rows;
use crate::report::{pictures, read, save};

/// Printed widths by name.
const WIDTHS: [(&str, &str, Width); 2] = [
    ("column", "One column of a page, 84 mm", Width::Column),
    ("page", "The page's text width, 174 mm", Width::Page),
];

/// File formats by name.
const FORMATS: [(&str, &str, Format); 3] = [
    ("png", "Pixels, 288 an inch", Format::Png),
    ("svg", "Vectors", Format::Svg),
    ("pdf", "Vectors with embedded fonts", Format::Pdf),
];

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
    #[arg(long, value_parser = place(), default_value = "figures")]
    out: PathBuf,
    /// Printed width; text is never smaller than 7 points
    #[arg(long, value_parser = choice(WIDTHS), default_value = "page")]
    width: Width,
    /// File formats, separated by commas or given again
    #[arg(long, value_parser = choice(FORMATS), value_delimiter = ',', default_values = ["png", "svg"])]
    format: Vec<Format>,
    /// Compare run B with run A, numbered as given from 1; may be given again [default: every run with the first]
    #[arg(long, value_name = "A:B", value_parser = pair)]
    pair: Vec<(usize, usize)>,
    /// Steps to show, such as 100..300 (verdicts always speak of the whole run)
    #[arg(long, value_name = "A..B", value_parser = window)]
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

/// Say which runs are there twice: they are no two seeds, and their gaps are zero.
pub fn say_twice(runs: &[Run]) {
    for (i, b) in runs.iter().enumerate() {
        if let Some(a) = runs[..i].iter().position(|a| same_run(a, b)) {
            let (first, second) = (shown_path(runs[a].dir()), shown_path(b.dir()));
            note(&format!(
                "note: {second}, number {} of the runs, is the same run as {first}, number {}: every gap between them is zero",
                i + 1,
                a + 1
            ));
        }
    }
}

/// What to say of more than two runs where nobody asked which to compare.
pub fn say_pairs(paths: &[PathBuf], asked: &[(usize, usize)]) {
    if asked.is_empty() && paths.len() > 2 {
        let first = shown_path(&paths[0]);
        note(&format!("comparing every run with the first, {first}; --pair A:B compares run B with run A"));
    }
}

/// Open a run that has rows, all of whose parts are what its manifest lists: damage in any table is an error, never an
/// empty section.
pub fn whole_run(path: &Path) -> Result<Run> {
    let run = with_rows(Run::open(path)?)?;
    run.check_parts()?;
    Ok(run)
}

/// The figure that is about pairs of runs.
const COMPARING: &str = "shapley";

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
    if let Some((a, b)) = args.pair.first().filter(|_| wanted.iter().all(|f| f.name != COMPARING)) {
        return Err(Error::usage(format!(
            "--pair {a}:{b} has no effect here: {COMPARING} alone compares runs; name it with --figure, or leave --pair out"
        )));
    }
    let (runs, pairs) = open(&args.runs, &args.pair)?;
    say_twice(&runs);
    let material = read(&runs, &pairs, args.window.clone())?;
    if wanted.iter().any(|f| f.name == COMPARING) {
        say_pairs(&args.runs, &args.pair);
    }
    let (drawn, missing): (Vec<&Figure>, Vec<&Figure>) =
        wanted.iter().partition(|f| !f.drawings(&material).is_empty());
    if !drawn.is_empty() {
        let given = &args.format;
        let new = |(i, f): (usize, &Format)| (!given[..i].contains(f)).then_some(*f);
        let formats: Vec<Format> = given.iter().enumerate().filter_map(new).collect();
        let paths = save(&pictures(&material, drawn), &args.out, &formats, args.width)?;
        let list: Vec<String> = paths.iter().map(|p| format!("{}\n", shown_path(p))).collect();
        output::print(&list.concat())?;
    }
    not_drawn(args, &missing, &material)
}

/// What is not drawn, and why: said where it was among all figures, an error where it was asked for by name.
fn not_drawn(args: &Args, missing: &[&Figure], m: &Material) -> Result<()> {
    let (named, among_all): (Vec<&&Figure>, Vec<&&Figure>) = missing
        .iter()
        .partition(|f| args.figure.iter().any(|name| figure(name).is_some_and(|n| n.name == f.name)));
    let why = |f: &&Figure| format!("{}: {}", f.name, f.why_not(m));
    if !among_all.is_empty() {
        note(&format!(
            "not drawn:\n{}",
            among_all.iter().map(|f| format!("  {}\n", why(f))).collect::<String>().trim_end()
        ));
    }
    match named.is_empty() {
        true => Ok(()),
        false => Err(Error::Incomplete(format!(
            "not drawn: {}",
            named.iter().map(|f| why(f)).collect::<Vec<_>>().join("; ")
        ))),
    }
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
