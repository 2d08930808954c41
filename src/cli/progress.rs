//! A progress bar on standard error for people, a line now and then where nobody watches.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::{Event, StepReport};

/// What a device that is full means for probes.
const NO_MEMORY: &str = "the device has too little memory for probes beside training: the host works them out while training goes on (the \
     same rows, to rounding); a smaller --batch, --probe-sequences or --probe-length makes room for them";

/// Shows a run's progress.
pub struct Progress {
    bar: ProgressBar,
    watched: bool,
    steps: u32,
    label: String,
    last: Option<StepReport>,
    spread: Option<[f64; 2]>,
}

/// Whether progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Bars or lines.
    Progress,
    /// Nothing: `--quiet`.
    Nothing,
}

impl Show {
    /// What `--quiet` asks for.
    pub fn unless(quiet: bool) -> Self {
        if quiet { Self::Nothing } else { Self::Progress }
    }
}

/// Whether somebody looks at the bars.
pub fn watched(show: Show) -> bool {
    std::io::stderr().is_terminal() && show == Show::Progress
}

impl Progress {
    /// For a run of `steps` steps of which `done` are done.
    pub fn new(label: &str, steps: u32, done: u32, show: Show) -> Self {
        let target = if watched(show) { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self::on_bar(ProgressBar::with_draw_target(Some(u64::from(steps)), target), label, steps, done, show)
    }

    /// The same as a line among others.
    pub fn among(others: &MultiProgress, label: &str, steps: u32, done: u32, show: Show) -> Self {
        let bar = others.insert(0, ProgressBar::new(u64::from(steps)));
        Self::on_bar(bar, label, steps, done, show)
    }

    fn on_bar(bar: ProgressBar, label: &str, steps: u32, done: u32, show: Show) -> Self {
        let style = ProgressStyle::with_template(
            "{prefix:22} {bar:20} {pos:>5}/{len} {msg} [{elapsed_precise} < {eta_precise}]",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let label = growthpath_trace::shown_label(label);
        bar.set_prefix(label.clone());
        bar.set_position(u64::from(done));
        bar.reset_eta();
        let watched = watched(show) || show == Show::Nothing;
        Self { bar, watched, steps, label, last: None, spread: None }
    }

    /// Take note of what the loop says.
    pub fn on(&mut self, event: Event) {
        match event {
            Event::Step(s) => {
                self.spread = s.spread.or(self.spread);
                self.bar.set_position(u64::from(s.done));
                self.bar.set_message(format!(
                    "loss {:.4}{}  {:.1}k tok/s",
                    s.loss,
                    attention(self.spread),
                    s.tokens_per_second / 1e3
                ));
                self.last = Some(s);
            }
            Event::Eval(done, valid) if !self.watched => {
                let train = self.last.map_or(String::new(), |s| {
                    let spread = attention(self.spread);
                    let speed = s.tokens_per_second / 1e3;
                    format!("  loss {:.4}{spread}  lr {:.2e}  {speed:.1}k tok/s", s.loss, s.lr)
                });
                let (label, steps) = (&self.label, self.steps);
                // Nobody to tell when standard error is closed.
                let _ = writeln!(std::io::stderr(), "{label}: step {done}/{steps}  valid {valid:.4}{train}");
            }
            Event::Eval(..) => {}
            Event::NoDeviceMemoryForProbes => {
                self.bar.suspend(|| note(&format!("{}: {NO_MEMORY}", self.label)))
            }
        }
    }

    /// Leave the last state on the screen.
    pub fn finish(&self) {
        self.bar.abandon();
        if !self.bar.is_hidden() {
            // The cursor stays behind the bar: what follows starts on a line of its own.
            note("");
        }
    }

    /// Take the line away: another one will tell.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// `  spread 0.41 lower, 0.73 upper`: how far attention is from uniform in both halves.
fn attention(spread: Option<[f64; 2]>) -> String {
    spread.map_or_else(String::new, |[lower, upper]| format!("  spread {lower:.3} lower, {upper:.3} upper"))
}

/// Say something on standard error beside the bars.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", growthpath_trace::shown_lines(text));
}
