//! `growth-depth`: where growth came from over depth, with the scatter over heads (3.1).

use growthpath_analysis::read::HeadSplit;

use super::common::{columns_for, divider, divider_ink};
use crate::colour::Colour;
use crate::material::Material;
use crate::model::{Axis, Dash, Drawing, Item, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, LINE, parts};

type Part = (&'static str, Colour, Dash, fn(&HeadSplit) -> f64);

const PARTS: [Part; 4] = [
    ("query weights", parts::QUERY, Dash::Solid, |h| h.query),
    ("key weights", parts::KEY, Dash::Solid, |h| h.key),
    ("features", parts::FEATURES, Dash::Solid, |h| h.features),
    ("net growth", INK, Dash::Dashed, |h| h.growth),
];

/// One panel a run: each part over the layers, mean over heads, one standard deviation over heads as a band.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Where growth came from, over depth");
    drawing.subtitle = format!(
        "Log growth of the spread and its parts; line: mean over a layer’s heads, band: ± 1 standard deviation over them; {}.",
        m.steps_shown()
    );
    drawing.columns = columns_for(m.runs.len(), 4);
    drawing.min_panel = 96.0;
    drawing.share_y = true;
    drawing.panel_height = 140.0;
    drawing.legend = (PARTS.iter())
        .map(|(name, colour, dash, _)| {
            LegendEntry::line(*name, Stroke { colour: *colour, width: LINE, dash: *dash })
        })
        .collect();
    for run in &m.runs {
        let layers = &run.series.splits;
        let names = (0..layers.len()).map(|l| l.to_string()).collect();
        let mut panel =
            Panel::new(&run.name, Axis::categories("layer", names), Axis::new("growth (ln)", Scale::Linear));
        panel.items.push(Item::HLine { y: 0.0, label: String::new(), stroke: Stroke::solid(INK, 0.6) });
        for (_, colour, dash, pick) in PARTS {
            let over_heads: Vec<(f64, f64)> = layers.iter().map(|heads| spread_of(heads, pick)).collect();
            let at = |l: usize| l as f64;
            panel.items.push(Item::Line {
                points: over_heads.iter().enumerate().map(|(l, s)| (at(l), s.0)).collect(),
                stroke: Stroke { colour, width: LINE, dash },
                band: over_heads.iter().enumerate().map(|(l, s)| (at(l), s.0 - s.1, s.0 + s.1)).collect(),
            });
        }
        if layers.len() > 1 {
            let label = "lower | upper".into();
            panel.items.push(Item::VLine { x: divider(layers.len()), label, stroke: divider_ink() });
        }
        // Without a measured head there is nothing to draw, the zero line alone is no data.
        if !layers.is_empty() {
            drawing.panels.push(panel);
        }
    }
    vec![drawing]
}

/// Mean and standard deviation over the heads that are defined; a deviation of 0 for a single one.
fn spread_of(heads: &[HeadSplit], pick: fn(&HeadSplit) -> f64) -> (f64, f64) {
    let values: Vec<f64> = heads.iter().map(pick).filter(|v| v.is_finite()).collect();
    let n = values.len() as f64;
    let mean = values.iter().map(|v| v / n).sum::<f64>();
    let deviation = match values.len() {
        0 | 1 => 0.0,
        _ => (values.iter().map(|v| (v - mean).powi(2) / (n - 1.0)).sum::<f64>()).sqrt(),
    };
    (if values.is_empty() { f64::NAN } else { mean }, deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_over_heads() {
        let head = |growth| HeadSplit { growth, ..HeadSplit::default() };
        let (mean, deviation) = spread_of(&[head(1.0), head(3.0), head(f64::NAN)], |h| h.growth);
        assert_eq!(mean, 2.0);
        assert!((deviation - 2.0f64.sqrt()).abs() < 1e-12);
        assert_eq!(spread_of(&[head(4.0)], |h| h.growth), (4.0, 0.0));
        assert!(spread_of(&[], |h| h.growth).0.is_nan());
    }
}
