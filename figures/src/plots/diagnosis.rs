//! `diagnosis`: when the upper half committed and when the lower half settled (section 8).

use super::common::{Series, StepScale, reference, step_axis};
use crate::model::{Axis, Figure, Item, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, LINE, arm_styles, okabe_ito};
use crate::ticks::number;

/// What [`diagnosis`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Arm or run name; decides the colour.
    pub name: String,
    /// Mean sharpness of the upper half: 1 - entropy / ln(row length).
    pub sharpness: Series,
    /// Mean maturity of the lower half, cosine.
    pub maturity: Series,
    /// Threshold on the sharpness.
    pub sharpness_threshold: f64,
    /// Threshold on the maturity.
    pub maturity_threshold: f64,
    /// Commitment time t_c, in steps; `None` if the upper half never committed.
    pub commitment: Option<f64>,
    /// Maturity time t_m, in steps; `None` if the lower half never settled.
    pub settled: Option<f64>,
    /// Steps of the whole run.
    pub total_steps: f64,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Sharpness above, maturity below, with both thresholds and both times; the title says what they mean.
pub fn diagnosis(input: &Input) -> Figure {
    let mut figure = Figure::new(sentence(input));
    if let (Some(c), Some(m)) = (input.commitment, input.settled) {
        let prematurity = (m - c) / input.total_steps;
        if prematurity.is_finite() {
            let value = format!("{prematurity:+.3}").replace('-', "−");
            figure.subtitle = format!(
                "Prematurity (t_m − t_c) / total steps = {value}; positive: committed before settled."
            );
        }
    }
    figure.share_x = true;
    figure.panel_height = 130.0;
    let style = arm_styles(&[&input.name])[0];
    let line = Stroke::solid(style.colour, LINE + 0.3);
    let steps = || input.sharpness.steps.iter().chain(&input.maturity.steps);
    let panels = [
        ("upper half", "sharpness", &input.sharpness, input.sharpness_threshold),
        ("lower half", "maturity (cosine)", &input.maturity, input.maturity_threshold),
    ];
    for (k, (title, label, series, threshold)) in panels.into_iter().enumerate() {
        let mut panel = Panel::new(
            format!("{title}: {label}"),
            step_axis(input.step_scale, steps()),
            Axis::new(label, Scale::Linear),
        );
        panel.items.push(series.line(line));
        if threshold.is_finite() {
            let label = format!("threshold {}", trimmed(threshold));
            panel.items.push(Item::HLine { y: threshold, label, stroke: reference() });
        }
        let times = [
            ("t_c", "committed", input.commitment, okabe_ito::VERMILION),
            ("t_m", "settled", input.settled, INK),
        ];
        for (symbol, verb, time, colour) in times {
            if let Some(x) = time.filter(|t| t.is_finite()) {
                // One label is enough: the line below it carries on.
                let label =
                    if k == 0 { format!("{symbol} {verb}, step {}", whole(x)) } else { String::new() };
                panel.items.push(Item::VLine { x, label, stroke: Stroke::solid(colour, 1.1) });
            }
        }
        figure.panels.push(panel);
    }
    figure
}

fn sentence(input: &Input) -> String {
    let name = &input.name;
    match (input.commitment, input.settled) {
        (Some(c), Some(m)) => {
            let order = if m > c {
                "before"
            } else if m < c {
                "after"
            } else {
                "as"
            };
            let (c, m) = (whole(c), whole(m));
            format!(
                "{name}: the upper half committed at step {c}, {order} the lower half settled at step {m}"
            )
        }
        (Some(c), None) => {
            format!("{name}: the upper half committed at step {}; the lower half never settled", whole(c))
        }
        (None, Some(m)) => {
            format!("{name}: the upper half never committed; the lower half settled at step {}", whole(m))
        }
        (None, None) => format!("{name}: the upper half never committed and the lower half never settled"),
    }
}

fn whole(step: f64) -> String {
    if step.abs() < 1e9 { format!("{step:.0}") } else { number(step) }
}

fn trimmed(v: f64) -> String {
    let text = number(v);
    if text.contains('.') && !text.contains('×') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_says_who_came_first() {
        let mut input = Input { name: "gpt".into(), total_steps: 1000.0, ..Input::default() };
        assert!(sentence(&input).contains("never committed and the lower half never settled"));
        input.commitment = Some(60.0);
        assert!(sentence(&input).contains("committed at step 60; the lower half never settled"));
        input.settled = Some(420.0);
        assert_eq!(
            sentence(&input),
            "gpt: the upper half committed at step 60, before the lower half settled at step 420"
        );
        assert!(diagnosis(&input).subtitle.contains("= +0.360;"));
        input.settled = Some(20.0);
        assert!(sentence(&input).contains("after the lower half settled at step 20"));
        assert!(diagnosis(&input).subtitle.contains("= −0.040;"));
        input.total_steps = 0.0;
        assert!(diagnosis(&input).subtitle.is_empty());
    }
}
