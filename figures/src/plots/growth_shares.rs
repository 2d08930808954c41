//! `growth-shares`: cumulative growth of each layer, split exactly into four paths (3.3).

use super::common::columns_for;
use crate::colour::Colour;
use crate::model::{Axis, Figure, Item, LegendEntry, Marker, Panel, stacked_bars};
use crate::scale::Scale;
use crate::style::INK;

/// One run; every vector has one entry a layer, in ln units.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Arm or run name.
    pub name: String,
    /// Weight path: sum of m g_D.
    pub weight: Vec<f64>,
    /// Weight curvature: sum of m g_D2.
    pub curvature: Vec<f64>,
    /// Feature path: sum of m g_F.
    pub feature: Vec<f64>,
    /// Rotation: sum of m rho^2 / 2.
    pub rotation: Vec<f64>,
}

/// What [`growth_shares`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Runs, one panel each.
    pub runs: Vec<Run>,
}

const PATHS: [(&str, Colour); 4] = [
    ("weight path", Colour::hex(0x332288)),
    ("weight curvature", Colour::hex(0x7CC4E8)),
    ("feature path", Colour::hex(0xCC6677)),
    ("rotation", Colour::hex(0xDDCC77)),
];

/// Signed stacked bars a layer, with a marker at the total.
pub fn growth_shares(input: &Input) -> Figure {
    let mut figure = Figure::new("Where attention growth comes from");
    figure.columns = columns_for(input.runs.len(), 3);
    figure.share_y = true;
    figure.panel_height = 180.0;
    figure.legend = PATHS.iter().map(|(name, colour)| LegendEntry::patch(*name, *colour)).collect();
    figure.legend.push(LegendEntry::marker("total growth", Marker::HollowDiamond, INK));
    for run in &input.runs {
        let parts = [&run.weight, &run.curvature, &run.feature, &run.rotation];
        let layers = parts.iter().map(|p| p.len()).max().unwrap_or(0);
        let names = (0..layers).map(|l| l.to_string()).collect();
        let mut panel = Panel::new(
            &run.name,
            Axis::categories("layer", names),
            Axis::new("cumulative growth Γ (ln)", Scale::Linear),
        );
        let series: Vec<(Colour, &[f64])> =
            PATHS.iter().zip(parts).map(|(p, v)| (p.1, v.as_slice())).collect();
        panel.items.push(Item::Bars(stacked_bars(&series, 0.8)));
        let totals = (0..layers)
            .map(|l| (l as f64, parts.iter().map(|p| p.get(l).copied().unwrap_or(f64::NAN)).sum()))
            .collect();
        panel.items.push(Item::Scatter {
            points: totals,
            marker: Marker::HollowDiamond,
            colour: INK,
            radius: 3.6,
        });
        figure.panels.push(panel);
    }
    figure
}
