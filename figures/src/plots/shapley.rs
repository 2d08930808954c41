//! `shapley`: the gap in path growth between two arms, split over the five factors (5.4).

use super::common::columns_for;
use crate::colour::Colour;
use crate::model::{Axis, Bar, Figure, Item, LegendEntry, Panel};
use crate::scale::Scale;
use crate::style::INK;

/// Shapley values of one layer group, ln units; they add up to the group's gap.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Group name, such as "upper half".
    pub name: String,
    /// Step size eta.
    pub step_size: f64,
    /// Update geometry u.
    pub update: f64,
    /// Residual energy e.
    pub energy: f64,
    /// Coherence c.
    pub coherence: f64,
    /// Scale a^.
    pub scale: f64,
}

/// What [`shapley`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The arm that the gap is measured from.
    pub from: String,
    /// The arm that the gap leads to: values are its path growth minus that of `from`.
    pub to: String,
    /// Layer groups, one panel each.
    pub groups: Vec<Group>,
}

const FACTORS: [(&str, &str, Colour); 6] = [
    ("η", "η step size", Colour::hex(0x332288)),
    ("u", "u update geometry", Colour::hex(0x7CC4E8)),
    ("e", "e residual energy", Colour::hex(0xCC6677)),
    ("c", "c coherence", Colour::hex(0xDDCC77)),
    ("â", "â scale", Colour::hex(0x44AA99)),
    ("total", "total gap", INK),
];

/// Bars of the five factors and of the total, one panel a layer group.
pub fn shapley(input: &Input) -> Figure {
    let mut figure =
        Figure::new(format!("Gap in predicted path growth, {} minus {}, by factor", input.to, input.from));
    figure.columns = columns_for(input.groups.len(), 3);
    figure.share_y = true;
    figure.panel_height = 180.0;
    figure.legend = FACTORS.iter().map(|f| LegendEntry::patch(f.1, f.2)).collect();
    for group in &input.groups {
        let names = FACTORS.iter().map(|f| f.0.to_string()).collect();
        let mut panel = Panel::new(
            &group.name,
            Axis::categories("factor", names),
            Axis::new("difference in growth (ln)", Scale::Linear),
        );
        let parts = [group.step_size, group.update, group.energy, group.coherence, group.scale];
        let total = parts.iter().sum();
        let bars: Vec<Bar> = parts
            .into_iter()
            .chain([total])
            .zip(FACTORS)
            .enumerate()
            .filter(|(_, (value, _))| value.is_finite())
            .map(|(i, (value, factor))| Bar {
                x: i as f64,
                width: 0.74,
                from: 0.0,
                to: value,
                colour: factor.2,
                label: if value.abs() < 1e4 {
                    format!("{value:+.2}").replace('-', "−")
                } else {
                    crate::ticks::number(value)
                },
            })
            .collect();
        panel.items.push(Item::Bars(bars));
        figure.panels.push(panel);
    }
    figure
}
