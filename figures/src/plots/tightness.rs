//! `tightness`: how close the measured logit step comes to its bound (6.1).

use super::common::{Series, StepScale, arm_legend, step_axis};
use crate::model::{Axis, Dash, Figure, Item, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, LINE, REFERENCE, arm_styles};

/// Median and maximum over the heads of one half.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// Median of RMS(D) / bound.
    pub median: Series,
    /// Maximum of RMS(D) / bound; never above 1.
    pub max: Series,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Arm or run name; decides the colour.
    pub name: String,
    /// Lower half.
    pub lower: Half,
    /// Upper half.
    pub upper: Half,
}

/// What [`tightness`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Runs, drawn together.
    pub runs: Vec<Run>,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Lower half left, upper half right: median solid, maximum dashed, the bound at 1.
pub fn tightness(input: &Input) -> Figure {
    let mut figure = Figure::new("Measured logit step over its bound");
    figure.columns = 2;
    figure.share_y = true;
    figure.share_x = true;
    figure.panel_height = 190.0;
    let names: Vec<&str> = input.runs.iter().map(|r| r.name.as_str()).collect();
    let styles = arm_styles(&names);
    figure.legend = arm_legend(&names, &styles, false);
    figure.legend.extend([
        LegendEntry::line("median over heads", Stroke { colour: REFERENCE, width: LINE, dash: Dash::Solid }),
        LegendEntry::line("maximum over heads", Stroke { colour: REFERENCE, width: 1.0, dash: Dash::Dashed }),
    ]);
    type Pick = fn(&Run) -> &Half;
    let halves: [(&str, Pick); 2] = [("lower half", |r| &r.lower), ("upper half", |r| &r.upper)];
    let series =
        |r: &Run| [r.lower.median.clone(), r.lower.max.clone(), r.upper.median.clone(), r.upper.max.clone()];
    let steps: Vec<f64> = input.runs.iter().flat_map(series).flat_map(|s| s.steps).collect();
    for (k, (title, pick)) in halves.into_iter().enumerate() {
        let mut panel =
            Panel::new(title, step_axis(input.step_scale, &steps), Axis::new("RMS(D) / bound", Scale::Log));
        for (run, style) in input.runs.iter().zip(&styles) {
            let stroke = |width, dash| Stroke { colour: style.colour, width, dash };
            panel.items.push(pick(run).median.line(stroke(LINE, Dash::Solid)));
            panel.items.push(pick(run).max.line(stroke(1.0, Dash::Dashed)));
        }
        let label = if k == 1 { "bound".to_string() } else { String::new() };
        panel.items.push(Item::HLine { y: 1.0, label, stroke: Stroke::solid(INK, 1.1) });
        figure.panels.push(panel);
    }
    figure
}
