//! `energy-shares`: which upstream writes each layer's attention grows on (5.3).

use super::common::columns_for;
use crate::colour::ColourMap;
use crate::model::{Axis, ColourScale, Figure, Item, Panel};
use crate::scale::Scale;

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Arm or run name.
    pub name: String,
    /// Names of the writes in the order they are made: embedding, attn_0, ffn_0, ...
    pub writes: Vec<String>,
    /// `shares[write][layer]`: share of the write in the logit-step energy r^2 of the layer's attention; shares of a
    /// layer add up to 1 and may be negative. NaN where the write comes after the layer.
    pub shares: Vec<Vec<f64>>,
}

/// What [`energy_shares`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Runs, one panel each.
    pub runs: Vec<Run>,
}

/// Write (embedding at the bottom) against layer; values are printed where cells are large enough.
pub fn energy_shares(input: &Input) -> Figure {
    let mut figure = Figure::new("Which writes each layer’s attention grows on");
    figure.subtitle = "Grey: written after the layer has read the stream.".into();
    figure.columns = columns_for(input.runs.len(), 2);
    let rows = input.runs.iter().map(|r| r.writes.len().max(r.shares.len())).max().unwrap_or(0);
    figure.panel_height = (rows as f64 * 13.5).clamp(110.0, 430.0);
    figure.share_y = input.runs.windows(2).all(|w| w[0].writes == w[1].writes);
    let cells =
        || input.runs.iter().flat_map(|r| r.shares.iter().flatten()).copied().filter(|v| v.is_finite());
    // Rounding alone must not turn the map.
    let signed = cells().any(|v| v < -1e-3);
    figure.colours = Some(ColourScale {
        label: "share of the layer’s logit-step energy".into(),
        map: if signed { ColourMap::Diverging } else { ColourMap::Sequential },
        scale: Scale::Linear,
        range: if signed { None } else { Some((0.0, cells().fold(0.0, f64::max))) },
        span: 1.0,
        discrete: None,
    });
    for run in &input.runs {
        let layers = run.shares.iter().map(Vec::len).max().unwrap_or(0);
        let names = (0..layers).map(|l| l.to_string()).collect();
        let writes = run.writes.iter().map(|w| w.replace('_', " ")).collect();
        let mut panel =
            Panel::new(&run.name, Axis::categories("layer", names), Axis::categories("write", writes));
        panel.items.push(Item::Heatmap {
            x_edges: (0..=layers).map(|l| l as f64 - 0.5).collect(),
            y_edges: (0..=run.shares.len()).map(|w| w as f64 - 0.5).collect(),
            values: run.shares.clone(),
            print: layers <= 12,
        });
        figure.panels.push(panel);
    }
    figure
}
