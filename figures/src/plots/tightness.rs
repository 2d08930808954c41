//! `tightness`: how close the logit change comes to its bounds (6.1), (6.2).

use super::common::{Quantity, THIN, mark_legend, run_legend};
use crate::material::Material;
use crate::model::{Drawing, Item, LegendEntry, Stroke};
use crate::scale::Scale;
use crate::style::{INK, REFERENCE};

const TIGHT: Quantity = Quantity {
    label: "over tight bound",
    scale: Scale::Linear,
    pick: |s| &s.tightness.tight,
    thin: Some(|s| &s.tightness.tight_max),
};
const CHEAP: Quantity =
    Quantity { label: "over cheap bound", scale: Scale::Log, pick: |s| &s.tightness.cheap, thin: None };

/// Tight bound above, cheap bound below; lower half left, upper half right.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Logit change by the weights over its bounds");
    drawing.subtitle = format!(
        "1 would reach the bound. Median over the heads of each half; above: over the bound from the keys’ scatter (6.2); below: over s·E·ω (6.1); {}.",
        m.steps_shown()
    );
    drawing.columns = 2;
    drawing.share_x = true;
    drawing.panel_height = 110.0;
    drawing.legend = run_legend(m);
    drawing.legend.push(LegendEntry::line("largest head", Stroke::solid(REFERENCE, THIN)));
    for mut panel in TIGHT.panels(m, true) {
        panel.items.push(Item::HLine { y: 1.0, label: String::new(), stroke: Stroke::solid(INK, 1.1) });
        panel.y.range = Some((0.0, 1.05));
        drawing.panels.push(panel);
    }
    drawing.panels.extend(CHEAP.panels(m, false));
    let marks = mark_legend(&drawing.panels);
    drawing.legend.extend(marks);
    vec![drawing]
}
