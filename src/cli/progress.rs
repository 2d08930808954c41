//! A progress bar on standard error for people, a line now and then where nobody watches.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::Event;

/// Shows a run's progress.
pub struct Progress {
    bar: ProgressBar,
    watched: bool,
    steps: u32,
    label: String,
    last: Option<crate::train::StepReport>,
}

impl Progress {
    /// For a run of `steps` steps of which `done` are done.
    pub fn new(label: &str, steps: u32, done: u32, quiet: bool) -> Self {
        let watched = std::io::stderr().is_terminal() && !quiet;
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(u64::from(steps)), target);
        let style = ProgressStyle::with_template(
            "{prefix:18} {bar:30} {pos:>5}/{len} {msg} [{elapsed_precise} < {eta_precise}]",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let label = growthpath_trace::shown_label(label);
        bar.set_prefix(label.clone());
        bar.set_position(u64::from(done));
        bar.reset_eta();
        Self { bar, watched: watched || quiet, steps, label, last: None }
    }

    /// Take note of what the loop says.
    pub fn on(&mut self, event: Event) {
        match event {
            Event::Step(s) => {
                self.bar.set_position(u64::from(s.done));
                self.bar.set_message(format!("loss {:.4}  {:.1}k tok/s", s.loss, s.tokens_per_second / 1e3));
                self.last = Some(s);
            }
            Event::Eval(done, valid) if !self.watched => {
                let train = self.last.map_or(String::new(), |s| {
                    format!("  loss {:.4}  lr {:.2e}  {:.1}k tok/s", s.loss, s.lr, s.tokens_per_second / 1e3)
                });
                let (label, steps) = (&self.label, self.steps);
                // Nobody to tell when standard error is closed.
                let _ = writeln!(std::io::stderr(), "{label}: step {done}/{steps}  valid {valid:.4}{train}");
            }
            Event::Eval(..) => {}
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
}

/// Say something on standard error beside the bars.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", growthpath_trace::shown_lines(text));
}
