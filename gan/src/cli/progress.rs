//! A progress bar on standard error for people, a line now and then where nobody watches.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::Event;

/// Shows a run's progress.
pub struct Progress {
    bar: ProgressBar,
    watched: bool,
    quiet: bool,
    label: String,
    steps: u64,
}

impl Progress {
    /// For a run of `steps` steps of which `done` are done.
    pub fn new(label: &str, steps: u64, done: u64, quiet: bool) -> Self {
        let watched = std::io::stderr().is_terminal() && !quiet;
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let template = "{prefix:12} {bar:30} {pos:>6}/{len} {msg} [{elapsed_precise} < {eta_precise}]";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_string());
        bar.set_position(done);
        bar.reset_eta();
        Self { bar, watched, quiet, label: label.to_string(), steps }
    }

    /// Take note of what the loop says.
    pub fn on(&self, event: Event) {
        match event {
            Event::Step(s, seconds) => {
                self.bar.set_position(s.step);
                let text = format!("G {:+.3}  D {:.3}  {seconds:.2} s/step", s.loss_g, s.loss_d);
                self.bar.set_message(text.clone());
                let every = (self.steps / 20).max(1);
                if !self.watched && (s.step.is_multiple_of(every) || s.step == self.steps) {
                    self.note(&format!("{}: step {}/{}  {text}", self.label, s.step, self.steps));
                }
            }
            Event::Evaluated(step, d) => {
                let (kid, error) = (d.kid.value, d.kid.standard_error);
                let text = format!("FD-lite1 {:.2}  KID {kid:.4} +- {error:.4}", d.fd_lite1);
                self.note(&format!("{}: step {step}  {text}", self.label));
            }
        }
    }

    fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        // Nobody to tell when standard error is closed.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }

    /// Leave the last state on the screen.
    pub fn finish(&self) {
        self.bar.abandon();
    }
}
