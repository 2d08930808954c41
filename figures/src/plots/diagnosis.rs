//! `diagnosis`: when the upper half committed and when the lower half settled (section 8).

use growthpath_analysis::diagnosis::{Bracket, Diagnosis};

use super::common::{line, mark_legend, points, reference, side, step_axis, time_marks};
use crate::arms::ArmStyle;
use crate::colour::Colour;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, Drawing, Fill, Item, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::LINE;
use crate::ticks::number;

/// Bracket of the commitment and its edges.
const COMMITTED: (Colour, Colour) = (Colour::hex(0xF6D5C6), Colour::hex(0xB5410A));
/// Bracket of the maturity and its edges.
const MATURE: (Colour, Colour) = (Colour::hex(0xCFE3D3), Colour::hex(0x1E6B3A));

/// Steps between which something happened; none where it did not.
type Ends = Option<(f64, f64)>;

/// States between which the upper half committed, and between which the lower half came to rest.
pub fn times(d: &Diagnosis) -> (Ends, Ends) {
    let ends = |b: Bracket| (f64::from(if b.is_exact() { b.high } else { b.low }), f64::from(b.high));
    (d.commitment.map(ends), d.maturity.map(ends))
}

/// One drawing a run: sharpness and reliance of the upper half, maturity of the lower, with thresholds and the
/// brackets of both times; the title says the verdict.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let styled = m.runs.iter().zip(m.styles());
    styled.filter_map(|(run, style)| Some(one(m, run, style, run.diagnosis.as_ref()?))).collect()
}

fn one(m: &Material, run: &RunMaterial, style: ArmStyle, d: &Diagnosis) -> Drawing {
    let mut drawing = Drawing::new(format!("{}: {}", run.name, d.headline()));
    drawing.subtitle = "Verdict over the whole run. Sharpness: mean over the upper half’s heads; reliance: loss without the upper half’s attention minus loss with it, ± 1 standard error; maturity: mean over the lower half’s layers.".into();
    drawing.share_x = true;
    drawing.panel_height = 74.0;
    let s = &run.series;
    let ink = Stroke::solid(style.colour, LINE);
    let panel = |title: &str, label: &str, scale, items: Vec<Item>, threshold: f64| {
        let mut panel = Panel::new(title, step_axis(m), Axis::new(label, scale));
        panel.items = time_marks(&[run], &[style], None);
        panel.items.extend(brackets(d));
        panel.items.extend(items);
        let label = if threshold == 0.0 { String::new() } else { trimmed(threshold) };
        panel.items.push(Item::HLine { y: threshold, label, stroke: reference() });
        panel
    };
    let r = &s.reliance;
    let whiskers = r.steps.iter().zip(r.values.iter().zip(&r.stderr));
    let reliance = vec![
        Item::Whiskers {
            points: whiskers.map(|(x, (v, e))| (*x, v - e, v + e)).collect(),
            stroke: Stroke::solid(style.colour, 0.8),
        },
        line(points(&r.steps, &r.values), ink),
    ];
    let over = s.maturity.lag.map_or(String::new(), |lag| match lag {
        1 => " over one step".to_owned(),
        lag => format!(" over {lag} steps"),
    });
    let title = format!("lower half: maturity{over}");
    drawing.panels = vec![
        panel(
            "upper half: sharpness",
            "sharpness",
            Scale::Linear,
            vec![line(side(&s.sharpness, true), ink)],
            d.thresholds.sharpness,
        ),
        panel("upper half: reliance", "nat/token", Scale::Linear, reliance, 0.0),
        panel(
            &title,
            "cosine",
            Scale::Linear,
            vec![line(side(&s.maturity.halves, false), ink)],
            d.thresholds.maturity,
        ),
    ];
    let (committed, mature) = times(d);
    drawing
        .legend
        .extend(committed.map(|t| LegendEntry::patch(during("upper half commits", t), COMMITTED.1)));
    drawing.legend.extend(mature.map(|t| LegendEntry::patch(during("lower half matures", t), MATURE.1)));
    drawing.legend.push(LegendEntry::line("threshold", reference()));
    let marks = mark_legend(&drawing.panels);
    drawing.legend.extend(marks);
    drawing
}

fn during(what: &str, (low, high): (f64, f64)) -> String {
    if low < high {
        format!("{what}: steps {low:.0} to {high:.0}")
    } else {
        format!("{what}: step {high:.0}")
    }
}

/// Both brackets as washes with edges.
fn brackets(d: &Diagnosis) -> Vec<Item> {
    let (committed, mature) = times(d);
    let both = [(committed, COMMITTED), (mature, MATURE)];
    let mut items = Vec::new();
    for (time, (wash, edge)) in both {
        let Some((from, to)) = time else { continue };
        items.push(Item::Span { from, to, fill: Fill::Wash(wash), label: String::new() });
        items.extend([from, to].map(|x| Item::VLine {
            x,
            label: String::new(),
            stroke: Stroke::solid(edge, 0.9),
        }));
    }
    items
}

fn trimmed(v: f64) -> String {
    let text = number(v);
    if text.contains('.') && !text.contains('×') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}
