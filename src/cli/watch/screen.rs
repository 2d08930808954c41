//! What `watch` shows, as text.

use growthpath_analysis::read::Series;
use growthpath_trace::{EvalRow, RunInfo, Status, StepRow};

use crate::live::Silence;
use crate::tables::{number, wrapped};

/// A run at one moment.
pub struct View {
    /// What it is.
    pub info: RunInfo,
    /// Whether it says that it is being trained, and nobody does.
    pub cut_off: bool,
    /// How long it has not been written, where that is unusual.
    pub silence: Option<Silence>,
    /// Its newest step.
    pub newest: StepRow,
    /// Mean time of the last steps.
    pub step_seconds: f64,
    /// Its newest evaluation.
    pub evaluation: Option<EvalRow>,
    /// Its curves.
    pub series: Series,
    /// Which half came first, as far as it can be told.
    pub verdict: String,
}

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve as blocks between two values; a gap where it is no number.
fn spark(values: &[f64], low: f64, high: f64) -> String {
    let level = |v: f64| {
        let part = if high > low { (v - low) / (high - low) } else { 0.5 };
        LEVELS[((part * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)]
    };
    values.iter().map(|v| if v.is_finite() { level(*v) } else { ' ' }).collect()
}

/// Smallest and largest number; none without any.
fn range<'v>(values: impl IntoIterator<Item = &'v f64>) -> Option<(f64, f64)> {
    let finite = values.into_iter().copied().filter(|v| v.is_finite());
    finite.fold(None, |r, v| Some(r.map_or((v, v), |(low, high): (f64, f64)| (low.min(v), high.max(v)))))
}

fn status(v: &View) -> &'static str {
    match v.info.status {
        Status::Running if v.cut_off => "cut off",
        Status::Running => "running",
        Status::Complete => "complete",
        Status::Diverged => "diverged",
        Status::Interrupted => "interrupted",
    }
}

fn head(v: &View) -> String {
    let done = v.newest.step + 1;
    let planned = v.info.steps_planned;
    let percent = 100.0 * f64::from(done) / f64::from(planned.max(1));
    let left = f64::from(planned.saturating_sub(done)) * v.step_seconds;
    let left = match v.info.status {
        _ if v.cut_off || v.silence.is_some() => String::new(),
        Status::Running if left > 90.0 => format!(", about {:.0} min left", left / 60.0),
        Status::Running => format!(", about {left:.0} s left"),
        _ => String::new(),
    };
    let label = if v.info.label.is_empty() { "run" } else { &v.info.label };
    format!("{label}: step {done} of {planned} ({percent:.0} %), {}{left}", status(v))
}

fn losses(v: &View) -> String {
    let valid =
        v.evaluation.map_or_else(String::new, |e| format!(", validation {:.4} (step {})", e.loss, e.step));
    let held = if v.newest.qk_mult < 1.0 { format!(", slowed x{}", v.newest.qk_mult) } else { String::new() };
    format!("training {:.4}{valid}, learning rate {:.2e}{held}", v.newest.loss, v.newest.lr)
}

/// The newest spread of both halves, geometric means over layers: lower, upper.
fn halves(s: &Series) -> Option<[f64; 2]> {
    let newest: Vec<f64> = s.spread.layers.iter().filter_map(|l| l.last().copied()).collect();
    let mean = |part: &[f64]| (part.iter().map(|v| v.ln()).sum::<f64>() / part.len() as f64).exp();
    let (lower, upper) = newest.split_at(newest.len() / 2);
    (!newest.is_empty()).then(|| [mean(lower), mean(upper)])
}

/// What stands before the verdict of a run that goes on.
fn so_far(v: &View) -> &'static str {
    if v.info.status == Status::Running { "so far: " } else { "" }
}

/// That it has fallen silent.
fn silent(v: &View) -> Option<String> {
    v.silence.filter(|_| !v.cut_off).map(|s| format!("it {}", s.words()))
}

/// One line, for a pipe or a log.
pub fn line(v: &View) -> String {
    let spread = halves(&v.series).map_or_else(String::new, |[lower, upper]| {
        format!("; spread {} lower, {} upper", number(lower), number(upper))
    });
    let silent = silent(v).map_or_else(String::new, |s| format!("; {s}"));
    format!("{}{silent}; {}{spread}; {}{}\n", head(v), losses(v), so_far(v), v.verdict)
}

/// The whole screen, at most `width` columns wide.
pub fn frame(v: &View, width: usize) -> String {
    let mut lines = vec![head(v)];
    lines.extend(silent(v).into_iter().flat_map(|s| wrapped(&s, width)));
    lines.push(losses(v));
    let room = width.saturating_sub(20).max(8);
    let newest = |curve: &[f64]| curve[curve.len().saturating_sub(room)..].to_vec();
    if let Some((low, high)) = range(&v.series.train_loss.values) {
        lines.push(format!("loss      {}", spark(&newest(&v.series.train_loss.values), low, high)));
    }
    lines.extend(layers(&v.series, &newest));
    lines.extend(wrapped(&format!("{}{}", so_far(v), v.verdict), width));
    let cut = |l: String| l.chars().take(width).collect::<String>();
    lines.into_iter().map(|l| cut(l) + "\n").collect()
}

/// Spread of every layer on one logarithmic scale, the top layer first, with a line between the halves.
fn layers(s: &Series, newest: &dyn Fn(&[f64]) -> Vec<f64>) -> Vec<String> {
    let logs: Vec<Vec<f64>> =
        s.spread.layers.iter().map(|l| newest(l).iter().map(|v| v.ln()).collect()).collect();
    let Some((low, high)) = range(logs.iter().flatten()) else { return Vec::new() };
    let mut lines = vec![format!(
        "spread of the logits by layer, log scale from {} to {}",
        number(low.exp()),
        number(high.exp())
    )];
    let upper = logs.len() / 2;
    for (layer, curve) in logs.iter().enumerate().rev() {
        let last = curve.last().map_or(f64::NAN, |v| v.exp());
        let half = match layer {
            l if l + 1 == logs.len() && upper > 0 => " upper",
            l if l + 1 == upper => " lower",
            _ => "",
        };
        lines.push(format!("{layer:>3}{half:7}{} {}", spark(curve, low, high), number(last)));
        if layer == upper && upper > 0 {
            lines.push(format!("          {}", "-".repeat(curve.len())));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_become_blocks() {
        assert_eq!(spark(&[0.0, 0.5, 1.0, f64::NAN], 0.0, 1.0), "▁▅█ ");
        // Nothing moves: in the middle.
        assert_eq!(spark(&[2.0, 2.0], 2.0, 2.0), "▅▅");
        assert_eq!(range(&[f64::NAN]), None);
        assert_eq!(range(&[3.0, 1.0, f64::NAN]), Some((1.0, 3.0)));
    }
}
