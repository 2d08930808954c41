//! `growth-bound`: growth by the weights under its bound (6.3), and how much of coherent growth that is.

use growthpath_analysis::read::HalfCurves;

use super::common::{HALVES, line, mark_legend, side, step_axis, time_marks};
use crate::colour::Colour;
use crate::material::Material;
use crate::model::{Axis, Dash, Drawing, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, LINE, REFERENCE};

const BOUND: Colour = REFERENCE;

/// One row a run, lower half left, upper half right; cumulated over the intervals.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Growth by the weights stays far under what coherent updates could do");
    drawing.subtitle = format!(
        "Cumulated over intervals, mean over the heads of each half. Share: growth by the weights over its bound; {}.",
        m.steps_shown()
    );
    drawing.columns = 2;
    drawing.share_x = true;
    drawing.share_y = true;
    drawing.panel_height = if m.runs.len() > 2 { 92.0 } else { 130.0 };
    let bound = Stroke { colour: BOUND, width: LINE, dash: Dash::Dashed };
    let weights = |colour| Stroke::solid(colour, 2.0);
    let total = Stroke::solid(INK, 0.9);
    let predicted = Stroke { colour: INK, width: 1.2, dash: Dash::Dotted };
    for (run, style) in m.runs.iter().zip(m.styles()) {
        let g = &run.series.growth;
        for (half, upper) in HALVES {
            let title = format!("{}: {half}", run.name);
            let mut panel = Panel::new(title, step_axis(m), Axis::new("growth (ln)", Scale::Linear));
            panel.note = share(&g.weights, &g.bound, upper);
            panel.items = time_marks(&[run], &[style], Some(upper));
            panel.items.push(line(side(&g.bound, upper), bound));
            panel.items.push(line(side(&g.weights, upper), weights(style.colour)));
            panel.items.push(line(side(&g.measured, upper), total));
            panel.items.push(line(side(&g.predicted, upper), predicted));
            drawing.panels.push(panel);
        }
        drawing
            .legend
            .push(LegendEntry::line(format!("by the weights, {}", run.name), weights(style.colour)));
    }
    drawing.legend.push(LegendEntry::line("its bound", bound));
    drawing.legend.push(LegendEntry::line("all growth, measured", total));
    drawing.legend.push(LegendEntry::line("all growth, predicted", predicted));
    drawing.legend.extend(mark_legend(m, true));
    vec![drawing]
}

/// Share of coherent growth: the last of the cumulated growth over the last of the cumulated bound.
fn share(weights: &HalfCurves, bound: &HalfCurves, upper: bool) -> String {
    let last = |c: &HalfCurves| side(c, upper).last().map_or(f64::NAN, |p| p.1);
    let share = last(weights) / last(bound);
    if share.is_finite() {
        format!("share {:.0} %", 100.0 * share).replace('-', "−")
    } else {
        String::new()
    }
}
