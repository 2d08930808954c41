//! `prediction`: predicted against measured parts of the growth, interval by interval and head by head (4.2).

use growthpath_analysis::read::{Pairs, PredictionPairs};

use super::common::{line, reference};
use crate::colour::ColourMap;
use crate::material::Material;
use crate::model::{Axis, ColourScale, Drawing, Item, LegendEntry, Marker, Panel};
use crate::scale::{Range, Scale};

/// Below this many pairs points are drawn one by one.
const FEW: usize = 400;

type Part = (&'static str, fn(&PredictionPairs) -> &Pairs);

const PARTS: [Part; 3] =
    [("query weights", |p| &p.query), ("key weights", |p| &p.key), ("features", |p| &p.features)];

/// One row a run: query weights, key weights, features, each with the identity line and its correlation.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Growth predicted from weights and moments, against measured");
    drawing.subtitle = format!(
        "Parts of the log growth (ln), a point an interval and head; axes logarithmic away from 0; r over all of them; {}.",
        m.steps_shown()
    );
    drawing.columns = 3;
    drawing.min_panel = 54.0;
    drawing.share_x = true;
    drawing.share_y = true;
    drawing.panel_height = if m.runs.len() > 2 { 96.0 } else { 120.0 };
    drawing.legend.push(LegendEntry::line("predicted = measured", reference()));
    let all: Vec<Vec<(f64, f64)>> =
        m.runs.iter().flat_map(|r| PARTS.iter().map(|part| finite(part.1(&r.series.prediction)))).collect();
    let values = || all.iter().flatten().flat_map(|p| [p.0, p.1]);
    let linear = tenth_percentile(values().map(f64::abs).filter(|v| *v > 0.0).collect());
    let scale = Scale::SymLog { linear };
    let range = Range::of(values(), scale, 0.04);
    if all.iter().any(|p| p.len() >= FEW) {
        drawing.colours = Some(ColourScale {
            label: "pairs per cell".into(),
            map: ColourMap::Sequential,
            scale: Scale::Log,
            range: None,
            span: 1.0,
            discrete: None,
        });
    }
    let of_runs = m.runs.iter().zip(m.styles());
    let of_parts = of_runs.flat_map(|(run, style)| PARTS.iter().map(move |part| (run, style, part)));
    for ((run, style, (name, pick)), points) in of_parts.zip(all) {
        let axis = |label: &str| Axis { range: range.map(|r| (r.low, r.high)), ..Axis::new(label, scale) };
        let measured = format!("{}: measured", run.name);
        let mut panel = Panel::new(*name, axis("predicted"), axis(&measured));
        let r = pick(&run.series.prediction).correlation;
        panel.note = if r.is_finite() { format!("r = {r:.4}") } else { String::new() };
        if points.is_empty() {
            continue;
        }
        panel.items.push(if points.len() < FEW {
            Item::Scatter { points, marker: Marker::Circle, colour: style.colour, radius: 1.8 }
        } else {
            Item::Hexbin { points, radius: 2.8 }
        });
        if let Some(r) = range {
            panel.items.push(line(vec![(r.low, r.low), (r.high, r.high)], reference()));
        }
        drawing.panels.push(panel);
    }
    vec![drawing]
}

fn finite(pairs: &Pairs) -> Vec<(f64, f64)> {
    let both = pairs.predicted.iter().copied().zip(pairs.measured.iter().copied());
    both.filter(|(p, m)| p.is_finite() && m.is_finite()).collect()
}

/// Where the axes turn from linear to logarithmic.
fn tenth_percentile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 10).copied().unwrap_or(1.0)
}
