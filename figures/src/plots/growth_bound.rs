//! `growth-bound`: growth by the weights under its bound (6.3), and how much of coherent growth that is.

use growthpath_analysis::read::{GrowthCurves, HalfCurves};

use super::common::{HALVES, line, mark_legend, side, step_axis, time_marks};
use crate::material::Material;
use crate::model::{Axis, Dash, Drawing, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, LINE, REFERENCE};

/// One row a run, lower half left, upper half right; cumulated over the intervals.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new(sentence(m));
    drawing.subtitle = format!(
        "Cumulated over intervals, mean over the heads of each half. Share of coherent growth: growth by the weights over its bound (6.3); {}.",
        m.steps_shown()
    );
    drawing.columns = 2;
    drawing.share_x = true;
    drawing.share_y = true;
    drawing.panel_height = if m.runs.len() > 2 { 92.0 } else { 130.0 };
    let bound = Stroke { colour: REFERENCE, width: LINE, dash: Dash::Dashed };
    let weights = |colour| Stroke::solid(colour, 2.0);
    let total = Stroke::solid(INK, 0.9);
    let predicted = Stroke::solid(INK.lighten(0.7), 3.4);
    for (run, style) in m.runs.iter().zip(m.styles()) {
        let g = &run.series.growth;
        for (half, upper) in HALVES {
            let title = format!("{}: {half}", run.name);
            let mut panel = Panel::new(title, step_axis(m), Axis::new("growth (ln)", Scale::Linear));
            let share = share(&g.weights, &g.bound, upper);
            panel.note = if share.is_finite() { format!("share {}", percent(share)) } else { String::new() };
            panel.items = time_marks(&[run], &[style], Some(upper));
            panel.items.push(line(side(&g.bound, upper), bound));
            panel.items.push(line(side(&g.predicted, upper), predicted));
            panel.items.push(line(side(&g.measured, upper), total));
            panel.items.push(line(side(&g.weights, upper), weights(style.colour)));
            drawing.panels.push(panel);
        }
    }
    let coloured = "growth by the weights (in the run’s colour)";
    drawing.legend.push(LegendEntry::line(coloured, weights(REFERENCE)));
    drawing.legend.push(LegendEntry::line("its bound", bound));
    drawing.legend.push(LegendEntry::line("all growth, measured", total));
    drawing.legend.push(LegendEntry::line("all growth, predicted", predicted));
    let marks = mark_legend(&drawing.panels);
    drawing.legend.extend(marks);
    vec![drawing]
}

/// Share of coherent growth: the last of the cumulated growth over the last of the cumulated bound.
fn share(weights: &HalfCurves, bound: &HalfCurves, upper: bool) -> f64 {
    let last = |c: &HalfCurves| side(c, upper).last().map_or(f64::NAN, |p| p.1);
    last(weights) / last(bound)
}

fn percent(share: f64) -> String {
    format!("{} %", growthpath_trace::fixed(100.0 * share, 0)).replace('-', "−")
}

/// How coherent the upper half's growth was.
fn sentence(m: &Material) -> String {
    let of = |g: &GrowthCurves| share(&g.weights, &g.bound, true);
    let mut shares: Vec<f64> =
        m.runs.iter().map(|r| of(&r.series.growth)).filter(|s| s.is_finite() && s.abs() < 10.0).collect();
    shares.sort_by(f64::total_cmp);
    match shares[..] {
        [] => "Growth by the weights under its bound".into(),
        [only] => format!("Upper half: the weights reached {} of coherent growth", percent(only)),
        [least, .., most] if percent(least) == percent(most) => {
            format!("Upper half: the weights reached {} of coherent growth", percent(least))
        }
        [least, .., most] => {
            format!(
                "Upper half: the weights reached {} to {} of coherent growth",
                percent(least),
                percent(most)
            )
        }
    }
}
