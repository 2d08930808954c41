//! `energy-shares`: which upstream writes each layer's attention grows on (5.3).

use super::common::{columns_for, divider, divider_ink};
use crate::colour::ColourMap;
use crate::material::Material;
use crate::model::{Axis, ColourScale, Drawing, Item, Panel};
use crate::scale::Scale;

/// Write (embedding at the bottom) against layer; values are printed where cells are large enough.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let shares = || m.runs.iter().map(|r| &r.series.energy_shares);
    let mut drawing = Drawing::new("Which writes each layer’s attention grows on");
    drawing.subtitle = format!(
        "Share of each write in the squared logit change, mean over heads and intervals; {}. Grey: written after the layer has read the stream.",
        m.steps_shown()
    );
    drawing.columns = columns_for(m.runs.len(), 2);
    drawing.min_panel = 150.0;
    let rows = shares().map(|e| e.writes.len()).max().unwrap_or(0);
    drawing.panel_height = (rows as f64 * 12.5).clamp(110.0, 430.0);
    drawing.share_y =
        m.runs.windows(2).all(|w| w[0].series.energy_shares.writes == w[1].series.energy_shares.writes);
    let cells = || shares().flat_map(|e| e.shares.iter().flatten()).copied().filter(|v| v.is_finite());
    // Shares a little below zero must not spend half of the map.
    let signed = cells().any(|v| v < -0.05);
    drawing.colours = Some(ColourScale {
        label: "share of the layer’s energy".into(),
        map: if signed { ColourMap::Diverging } else { ColourMap::Sequential },
        scale: Scale::Linear,
        range: if signed { None } else { Some((0.0, cells().fold(0.0, f64::max))) },
        span: 1.0,
        discrete: None,
    });
    for run in &m.runs {
        let e = &run.series.energy_shares;
        let layers = run.series.layers;
        let names = (0..layers).map(|l| l.to_string()).collect();
        let writes = e.writes.iter().map(|w| w.replace('_', " ")).collect();
        let mut panel =
            Panel::new(&run.name, Axis::categories("layer", names), Axis::categories("write", writes));
        panel.items.push(Item::Heatmap {
            x_edges: (0..=layers).map(|l| l as f64 - 0.5).collect(),
            y_edges: (0..=e.shares.len()).map(|w| w as f64 - 0.5).collect(),
            values: e.shares.clone(),
            print: (layers <= 12).then_some(2),
        });
        if layers > 1 {
            let label = "lower | upper".into();
            panel.items.push(Item::VLine { x: divider(layers), label, stroke: divider_ink() });
        }
        drawing.panels.push(panel);
    }
    vec![drawing]
}
