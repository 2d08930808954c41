//! `loss`: training and validation loss, arms together.

use super::common::{Series, StepScale, arm_legend, reference, rolling_mean, step_axis};
use crate::model::{Axis, Dash, Figure, Item, LegendEntry, Marker, Panel, Stroke};
use crate::scale::{Range, Scale};
use crate::style::{REFERENCE, arm_styles};
use crate::ticks::number;

/// One arm.
#[derive(Clone, Debug, Default)]
pub struct Arm {
    /// Arm name; decides colour and dash.
    pub name: String,
    /// Training loss a step, nats a token.
    pub train: Series,
    /// Validation loss, nats a token.
    pub validation: Series,
}

/// What [`loss`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Arms, drawn together.
    pub arms: Vec<Arm>,
    /// Entropy rate of the source, nats a token, where it is known.
    pub floor: Option<f64>,
    /// Rolling-mean window in points, made odd; 0 takes a fiftieth of the series.
    pub window: usize,
    /// Leading part of the steps, 0 to 1, that the loss axis need not show: the first fall dwarfs everything after it.
    /// 0 shows all.
    pub skip: f64,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Smoothed training loss over the faint raw one; validation as markers.
pub fn loss(input: &Input) -> Figure {
    let mut figure = Figure::new("Training and validation loss");
    let names: Vec<&str> = input.arms.iter().map(|a| a.name.as_str()).collect();
    let styles = arm_styles(&names);
    figure.panel_height = 250.0;
    let longest = input.arms.iter().map(|a| a.train.values.len()).max().unwrap_or(0);
    let window = if input.window > 0 { input.window } else { longest / 50 };
    // The mean is centred, so its window is odd.
    let window = 2 * (window / 2) + 1;
    let steps = input.arms.iter().flat_map(|a| a.train.steps.iter().chain(&a.validation.steps));
    let mut panel =
        Panel::new("", step_axis(input.step_scale, steps), Axis::new("loss (nats per token)", Scale::Linear));
    for (arm, style) in input.arms.iter().zip(&styles) {
        let faint = Stroke { colour: style.colour.lighten(0.6), width: 0.9, dash: Dash::Solid };
        panel.items.push(arm.train.line(faint));
    }
    for (arm, style) in input.arms.iter().zip(&styles) {
        let smooth =
            Series { values: rolling_mean(&arm.train.values, window), band: None, ..arm.train.clone() };
        panel.items.push(smooth.line(style.stroke()));
    }
    for (arm, style) in input.arms.iter().zip(&styles) {
        panel.items.push(Item::Scatter {
            points: arm.validation.points(),
            marker: Marker::Circle,
            colour: style.colour,
            radius: 2.6,
        });
    }
    if let Some(floor) = input.floor.filter(|f| f.is_finite()) {
        panel.items.push(Item::HLine {
            y: floor,
            label: format!("floor {}", number(floor)),
            stroke: reference(),
        });
        figure.subtitle = "Floor: entropy rate of the source.".into();
    }
    if let Some((from, range)) = zoom(input) {
        panel.y.range = Some((range.low, range.high));
        figure.subtitle =
            format!("{} Loss axis chosen from step {from:.0} on.", figure.subtitle).trim_start().into();
    }
    figure.legend = arm_legend(&names, &styles, true);
    let smoothed = Stroke::solid(REFERENCE, 1.4);
    if window > 1 {
        figure.legend.push(LegendEntry::line(format!("train, mean over {window} points"), smoothed));
        figure.legend.push(LegendEntry::line("raw", Stroke::solid(REFERENCE.lighten(0.6), 0.9)));
    } else {
        figure.legend.push(LegendEntry::line("train", smoothed));
    }
    figure.legend.push(LegendEntry::marker("validation", Marker::Circle, REFERENCE));
    figure.panels.push(panel);
    figure
}

/// The first step that the loss axis must show, and the loss range from there on; `None` to show everything.
fn zoom(input: &Input) -> Option<(f64, Range)> {
    if !(input.skip > 0.0 && input.skip < 1.0) {
        return None;
    }
    let points = || input.arms.iter().flat_map(|a| a.train.points().into_iter().chain(a.validation.points()));
    let (first, last) = points()
        .filter(|p| p.0.is_finite() && p.1.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p.0), hi.max(p.0)));
    let from = first + input.skip * (last - first);
    let shown = points().filter(|p| p.0 >= from).map(|p| p.1).chain(input.floor);
    Some((from, Range::of(shown, Scale::Linear, 0.04)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_keeps_everything_after_the_skipped_steps() {
        let steps: Vec<f64> = (0..=100).map(f64::from).collect();
        let values: Vec<f64> = steps.iter().map(|s| 3.0 + 90.0 / (1.0 + s)).collect();
        let arm =
            Arm { name: "gpt".into(), train: Series::new(steps, values), validation: Series::default() };
        let mut input = Input { arms: vec![arm], floor: Some(2.0), skip: 0.1, ..Input::default() };
        let (from, range) = zoom(&input).unwrap();
        assert_eq!(from, 10.0);
        let highest = 3.0 + 90.0 / 11.0;
        assert!(range.low < 2.0 && range.high > highest && range.high < highest + 1.0, "{range:?}");
        input.skip = 0.0;
        assert_eq!(zoom(&input), None);
        input = Input { skip: 0.5, ..Input::default() };
        assert_eq!(zoom(&input), None);
    }
}
