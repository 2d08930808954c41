//! `spread-heatmap`: attention spread by layer and step, runs side by side on one colour scale.

use super::common::{StepScale, columns_for, step_axis, step_cells};
use crate::colour::ColourMap;
use crate::model::{Axis, ColourScale, Figure, Item, Panel};
use crate::scale::Scale;

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Arm or run name.
    pub name: String,
    /// Steps of the columns.
    pub steps: Vec<f64>,
    /// `spread[layer][k]`: spread a (logit units, RMS over heads or mean, as the caller says) at `steps[k]`.
    pub spread: Vec<Vec<f64>>,
}

/// What [`spread_heatmap`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Runs, one panel each.
    pub runs: Vec<Run>,
    /// Logarithmic colour scale; cells with spread 0 are then grey.
    pub log_colour: bool,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Layer (0 at the bottom) against step, coloured by spread.
pub fn spread_heatmap(input: &Input) -> Figure {
    let mut figure = Figure::new("Spread of the attention logits by layer");
    figure.columns = columns_for(input.runs.len(), 3);
    let layers = input.runs.iter().map(|r| r.spread.len()).max().unwrap_or(0);
    figure.panel_height = (layers as f64 * 14.0).clamp(110.0, 260.0);
    figure.colours = Some(ColourScale {
        label: "spread a (logit units)".into(),
        map: ColourMap::Sequential,
        scale: if input.log_colour { Scale::Log } else { Scale::Linear },
        range: None,
        span: 1.0,
        discrete: None,
    });
    let all_steps = || input.runs.iter().flat_map(|r| &r.steps);
    let same_depth = input.runs.iter().all(|r| r.spread.len() == layers);
    figure.share_y = same_depth;
    for run in &input.runs {
        let (order, x_edges) = step_cells(&run.steps);
        let names = (0..run.spread.len()).map(|l| l.to_string()).collect();
        let mut panel =
            Panel::new(&run.name, step_axis(input.step_scale, all_steps()), Axis::categories("layer", names));
        panel.items.push(Item::Heatmap {
            x_edges,
            y_edges: (0..=run.spread.len()).map(|l| l as f64 - 0.5).collect(),
            values: run
                .spread
                .iter()
                .map(|row| order.iter().map(|&i| row.get(i).copied().unwrap_or(f64::NAN)).collect())
                .collect(),
            print: false,
        });
        figure.panels.push(panel);
    }
    figure
}
