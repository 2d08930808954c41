//! `growth-bound`: cumulative growth factor, measured and predicted, under the pathwise bound (6.2).

use super::common::{StepScale, step_axis};
use crate::colour::Colour;
use crate::model::{Axis, Dash, Figure, Item, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, LINE, arm_styles};

/// Cumulative growth of one half, in ln units, all at `steps`: exp of it is the growth factor. Natural logarithms,
/// as a cumulative bound soon leaves the range of float64.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Steps.
    pub steps: Vec<f64>,
    /// Measured Gamma.
    pub measured: Vec<f64>,
    /// Predicted growth.
    pub predicted: Vec<f64>,
    /// Logarithm of the bound's product.
    pub bound: Vec<f64>,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Arm or run name; decides the colour.
    pub name: String,
    /// Lower half.
    pub lower: Paths,
    /// Upper half.
    pub upper: Paths,
}

/// What [`growth_bound`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Runs, one row each.
    pub runs: Vec<Run>,
    /// Step axis.
    pub step_scale: StepScale,
}

const BOUND: Colour = Colour::hex(0x6E6E6E);

/// Lower half left, upper half right; the growth factor on a logarithmic axis.
pub fn growth_bound(input: &Input) -> Figure {
    let mut figure = Figure::new("Cumulative growth under its pathwise bound");
    figure.columns = 2;
    figure.share_x = true;
    figure.share_y = true;
    figure.panel_height = if input.runs.len() > 2 { 125.0 } else { 170.0 };
    let predicted = Stroke { colour: INK, width: LINE, dash: Dash::Dotted };
    let bound = Stroke { colour: BOUND, width: LINE, dash: Dash::Dashed };
    let names: Vec<&str> = input.runs.iter().map(|r| r.name.as_str()).collect();
    let styles = arm_styles(&names);
    let steps = || input.runs.iter().flat_map(|r| r.lower.steps.iter().chain(&r.upper.steps));
    for (run, style) in input.runs.iter().zip(&styles) {
        let measured = Stroke::solid(style.colour, 2.2);
        figure.legend.push(LegendEntry::line(format!("measured, {}", run.name), measured));
        for (half, paths) in [("lower half", &run.lower), ("upper half", &run.upper)] {
            let mut panel = Panel::new(
                format!("{}: {half}", run.name),
                step_axis(input.step_scale, steps()),
                Axis::new("growth factor", Scale::Decades),
            );
            for (values, stroke) in
                [(&paths.bound, bound), (&paths.measured, measured), (&paths.predicted, predicted)]
            {
                let decades = values.iter().map(|v| v * std::f64::consts::LOG10_E);
                panel.items.push(Item::Line {
                    points: paths.steps.iter().copied().zip(decades).collect(),
                    stroke,
                    band: Vec::new(),
                });
            }
            figure.panels.push(panel);
        }
    }
    figure.legend.push(LegendEntry::line("predicted", predicted));
    figure.legend.push(LegendEntry::line("bound", bound));
    figure
}
