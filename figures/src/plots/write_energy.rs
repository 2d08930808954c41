//! `write-energy`: energy of every residual write over steps, by layer and site.

use super::common::{StepScale, step_axis};
use crate::colour::ColourMap;
use crate::model::{Axis, ColourScale, Figure, Item, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{LAYER_SPAN, layer_colour};

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Arm or run name.
    pub name: String,
    /// Steps.
    pub steps: Vec<f64>,
    /// `attn[layer][k]`: mean |w|^2 a token of the attention write at `steps[k]`.
    pub attn: Vec<Vec<f64>>,
    /// The same for the FFN write.
    pub ffn: Vec<Vec<f64>>,
}

/// What [`write_energy`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Runs, one row each.
    pub runs: Vec<Run>,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Attention writes left, FFN writes right, one line a layer, logarithmic.
pub fn write_energy(input: &Input) -> Figure {
    let mut figure = Figure::new("Energy written to the residual stream");
    figure.columns = 2;
    figure.share_x = true;
    figure.share_y = true;
    figure.panel_height = if input.runs.len() > 2 { 120.0 } else { 165.0 };
    let layers = input.runs.iter().map(|r| r.attn.len().max(r.ffn.len())).max().unwrap_or(0);
    figure.colours = Some(ColourScale {
        label: "layer".into(),
        map: ColourMap::Sequential,
        scale: Scale::Linear,
        range: None,
        span: LAYER_SPAN,
        discrete: Some(layers.max(1)),
    });
    for run in &input.runs {
        for (site, rows) in [("attention writes", &run.attn), ("FFN writes", &run.ffn)] {
            let steps = input.runs.iter().flat_map(|r| &r.steps);
            let mut panel = Panel::new(
                format!("{}: {site}", run.name),
                step_axis(input.step_scale, steps),
                Axis::new("mean |w|² per token", Scale::Log),
            );
            for (layer, values) in rows.iter().enumerate() {
                panel.items.push(Item::Line {
                    points: run.steps.iter().copied().zip(values.iter().copied()).collect(),
                    stroke: Stroke::solid(layer_colour(layer, layers), 1.2),
                    band: Vec::new(),
                });
            }
            figure.panels.push(panel);
        }
    }
    figure
}
