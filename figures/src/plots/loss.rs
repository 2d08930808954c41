//! `loss`: training and validation loss, runs together.

use super::common::{line, mark_legend, points, reference, rolling_mean, run_legend, step_axis, time_marks};
use crate::material::Material;
use crate::model::{Axis, Dash, Drawing, Item, LegendEntry, Marker, Panel, Stroke};
use crate::scale::{Range, Scale};
use crate::style::REFERENCE;
use crate::ticks::number;

/// Leading part of the steps that the loss axis need not show: the first fall dwarfs everything after it.
const SKIP: f64 = 0.05;

/// Smoothed training loss over the faint raw one; validation as markers.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Training and validation loss");
    drawing.subtitle = format!("Shown: {}.", m.steps_shown());
    drawing.panel_height = 200.0;
    let longest = m.runs.iter().map(|r| r.series.train_loss.values.len()).max().unwrap_or(0);
    // The mean is centred, so its window is odd.
    let window = 2 * (longest / 100) + 1;
    let mut panel = Panel::new("", step_axis(m), Axis::new("loss (nat/token)", Scale::Linear));
    let styles = m.styles();
    panel.items = time_marks(&m.runs.iter().collect::<Vec<_>>(), &styles, None);
    for (run, style) in m.runs.iter().zip(&styles) {
        let faint = Stroke { colour: style.colour.lighten(0.6), width: 0.8, dash: Dash::Solid };
        let train = &run.series.train_loss;
        panel.items.push(line(points(&train.steps, &train.values), faint));
    }
    for (run, style) in m.runs.iter().zip(&styles) {
        let train = &run.series.train_loss;
        let smooth = rolling_mean(&train.values, window);
        panel.items.push(line(points(&train.steps, &smooth), style.stroke()));
    }
    for (run, style) in m.runs.iter().zip(&styles) {
        panel.items.push(Item::Scatter {
            points: points(&run.series.eval_loss.steps, &run.series.eval_loss.values),
            marker: Marker::Circle,
            colour: style.colour,
            radius: 2.4,
        });
    }
    if let Some(floor) = m.floor.filter(|f| f.is_finite()) {
        let label = format!("floor {}", number(floor));
        panel.items.push(Item::HLine { y: floor, label, stroke: reference() });
        drawing.subtitle += " Floor: entropy rate of the source.";
    }
    let blind = m.blind.filter(|b| b.is_finite()).map(|y| {
        let stroke = Stroke { dash: Dash::Dotted, ..reference() };
        panel.items.push(Item::HLine { y, label: number(y), stroke });
        LegendEntry::line("best loss without looking back", stroke)
    });
    if let Some((from, range)) = zoom(m) {
        panel.y.range = Some((range.low, range.high));
        drawing.subtitle += &format!(" Loss axis chosen from step {from:.0} on.");
    }
    drawing.legend = run_legend(m);
    drawing.legend.extend(blind);
    let smoothed = Stroke::solid(REFERENCE, 1.4);
    if window > 1 {
        drawing.legend.push(LegendEntry::line(format!("training, mean over {window} points"), smoothed));
        drawing.legend.push(LegendEntry::line("raw", Stroke::solid(REFERENCE.lighten(0.6), 0.8)));
    } else {
        drawing.legend.push(LegendEntry::line("training", smoothed));
    }
    drawing.legend.push(LegendEntry::marker("validation", Marker::Circle, REFERENCE));
    drawing.panels.push(panel);
    let marks = mark_legend(&drawing.panels);
    drawing.legend.extend(marks);
    vec![drawing]
}

/// The first step that the loss axis must show, and the loss range from there on; `None` to show everything.
fn zoom(m: &Material) -> Option<(f64, Range)> {
    let all = || {
        m.runs.iter().flat_map(|r| {
            let (train, eval) = (&r.series.train_loss, &r.series.eval_loss);
            points(&train.steps, &train.values).into_iter().chain(points(&eval.steps, &eval.values))
        })
    };
    let (first, last) = all()
        .filter(|p| p.0.is_finite() && p.1.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p.0), hi.max(p.0)));
    let from = first + SKIP * (last - first);
    let shown = all().filter(|p| p.0 >= from).map(|p| p.1).chain(m.floor).chain(m.blind);
    // Without a step that may be left out there is nothing to choose.
    let skipped = all().any(|p| p.0 < from && p.1.is_finite());
    if skipped { Some((from, Range::of(shown, Scale::Linear, 0.04)?)) } else { None }
}
