//! `growthpath watch`: a run on the terminal while it trains.

mod screen;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use growthpath_analysis::diagnosis::{Thresholds, diagnosis};
use growthpath_analysis::read::series;
use growthpath_trace::{Run, Status, StepRow, Table};

use self::screen::View;
use super::output;
use crate::error::{Error, Result};
use crate::live::{Growth, Tail, cut_off, cut_off_words, no_rows_words, silence};

/// Arguments of `growthpath watch`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run directory; the run may still be training
    run: PathBuf,
    /// Show the state once and stop
    #[arg(long)]
    once: bool,
    /// Look for new rows every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, conflicts_with = "once")]
    every: f64,
}

/// Points of a curve on the screen.
const POINTS: usize = 48;

/// Reading takes at most this part of the time.
const SHARE: u32 = 10;

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if !(args.every.is_finite() && (0.05..=86_400.0).contains(&args.every)) {
        return Err(Error::usage(format!(
            "--every must be between 0.05 seconds and a day, got {}",
            args.every
        )));
    }
    let term = console::Term::stdout();
    let mut shown = Shown { lines: 0, ended: false, screen: term.is_term() && !args.once };
    let mut tail = Tail::new(&args.run, Duration::from_secs_f64(args.every));
    loop {
        let started = Instant::now();
        match tail.look()? {
            Growth::Grown(run) => match view(&run) {
                Ok(Some(view)) if args.once => {
                    let end = if view.cut_off { cut_off_words(&run) + "\n" } else { String::new() };
                    return output::print(&(screen::frame(&view, width(&term)) + &end));
                }
                Ok(None) if args.once => return output::print(&(no_rows_words(&run)? + "\n")),
                Ok(Some(view)) => shown.show(&view, width(&term))?,
                Ok(None) => {}
                Err(e) if args.once => return Err(e),
                Err(e) => drop(tail.later(e)?),
            },
            // How it ended may have been said after its last rows.
            Growth::Ended(_) if shown.ended => return Ok(()),
            Growth::Ended(run) => return view(&run)?.map_or(Ok(()), |v| shown.show(&v, width(&term))),
            Growth::CutOff(run) => {
                if let Some(view) = view(&run)?.filter(|_| !shown.ended) {
                    shown.show(&view, width(&term))?;
                }
                return output::print(&(cut_off_words(&run) + "\n"));
            }
            Growth::Silent(run, _) => {
                if let Some(view) = view(&run)? {
                    shown.show(&view, width(&term))?;
                }
            }
            Growth::Same => {}
        }
        std::thread::sleep(started.elapsed() * SHARE);
        tail.wait();
    }
}

fn width(term: &console::Term) -> usize {
    // The width that a file or a pipe is given.
    const PLAIN: u16 = 80;
    usize::from(term.size_checked().map_or(PLAIN, |(_, columns)| columns)).clamp(40, 160)
}

/// What stands on the screen.
struct Shown {
    lines: usize,
    /// Whether it says that the run has ended.
    ended: bool,
    screen: bool,
}

impl Shown {
    /// In place on a terminal, a line each time elsewhere.
    fn show(&mut self, view: &View, width: usize) -> Result<()> {
        self.ended = view.info.status != Status::Running || view.cut_off;
        if !self.screen {
            return output::print(&screen::line(view));
        }
        let frame = screen::frame(view, width);
        let mut out = std::io::stdout().lock();
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        self.lines = frame.lines().count();
        write!(out, "{up}{frame}").and_then(|()| out.flush()).map_err(Error::io("standard output"))
    }
}

/// Everything shown of a run; none before its first rows.
fn view(run: &Run) -> Result<Option<View>> {
    let Some((_, last)) = run.step_span(Table::Steps) else { return Ok(None) };
    let recent = run.read::<StepRow>(last.saturating_sub(50)..)?;
    let Some(newest) = recent.last().copied() else { return Ok(None) };
    let seconds: f64 = recent.iter().map(|r| f64::from(r.step_ms) / 1e3).sum();
    let verdict = match diagnosis(run, &Thresholds::default()) {
        Ok(d) => d.headline(),
        Err(e) => format!("none: {e}"),
    };
    Ok(Some(View {
        info: run.info().clone(),
        newest,
        step_seconds: seconds / recent.len() as f64,
        evaluation: run.evals()?.last().copied(),
        cut_off: cut_off(run)?.is_some(),
        silence: silence(run)?,
        series: series(run, POINTS)?,
        verdict,
    }))
}
