//! `spread-heatmap`: attention spread by layer and step, runs side by side on one colour scale.

use super::common::{columns_for, divider, divider_ink, grey_legend, step_axis, step_cells};
use super::diagnosis::times;
use crate::colour::ColourMap;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, ColourScale, Drawing, Item, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{INK, PAPER};

/// Layer (0 at the bottom) against step, coloured by spread, with the hold's release and the times of commitment and
/// maturity.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Spread of the attention logits by layer");
    drawing.subtitle = format!(
        "Mean over each layer’s heads; {}. Dashed: lower | upper half; c: upper half committed; m: lower half mature; r: slowed weights released.",
        m.steps_shown()
    );
    drawing.columns = columns_for(m.runs.len(), 3);
    let layers = m.runs.iter().map(|r| r.series.layers).max().unwrap_or(0);
    drawing.panel_height = (layers as f64 * 12.0).clamp(84.0, 240.0);
    drawing.share_y = m.runs.iter().all(|r| r.series.layers == layers);
    drawing.colours = Some(ColourScale {
        label: "spread a (logits)".into(),
        map: ColourMap::Sequential,
        scale: Scale::Log,
        range: None,
        span: 1.0,
        discrete: None,
    });
    for run in &m.runs {
        let spread = &run.series.spread;
        let (order, x_edges) = step_cells(&spread.steps);
        let names = (0..run.series.layers).map(|l| l.to_string()).collect();
        let mut panel = Panel::new(&run.name, step_axis(m), Axis::categories("layer", names));
        panel.items.push(Item::Heatmap {
            x_edges,
            y_edges: (0..=spread.layers.len()).map(|l| l as f64 - 0.5).collect(),
            values: spread
                .layers
                .iter()
                .map(|row| order.iter().map(|&i| row.get(i).copied().unwrap_or(f64::NAN)).collect())
                .collect(),
            print: None,
        });
        if run.series.layers > 1 {
            let y = divider(run.series.layers);
            for stroke in [Stroke::solid(PAPER, 1.6), divider_ink()] {
                panel.items.push(Item::HLine { y, label: String::new(), stroke });
            }
        }
        panel.items.extend(marks(run));
        drawing.panels.push(panel);
    }
    drawing.legend = grey_legend(&drawing.panels, "not recorded", "not finite");
    vec![drawing]
}

fn marks(run: &RunMaterial) -> Vec<Item> {
    let mut at: Vec<(&str, f64)> = Vec::new();
    if let Some(d) = &run.diagnosis {
        let (committed, mature) = times(d);
        at.extend(committed.map(|b| ("c", b.1)));
        at.extend(mature.map(|b| ("m", b.1)));
    }
    at.extend(run.series.hold.map(|h| ("r", h.release.into())));
    let window = run.series.window;
    at.into_iter()
        .filter(|(_, x)| (f64::from(window.start)..=f64::from(window.end)).contains(x))
        .flat_map(|(label, x)| {
            // Paper beside the ink, so that it shows on dark cells too.
            [("", Stroke::solid(PAPER, 2.0)), (label, Stroke::solid(INK, 1.0))]
                .map(|(label, stroke)| Item::VLine { x, label: label.into(), stroke })
        })
        .collect()
}
