//! `factors`: the factors of the weight path's growth over steps (5.1).

use super::common::{Quantity, THIN, mark_legend, run_legend};
use crate::material::Material;
use crate::model::{Drawing, LegendEntry, Stroke};
use crate::scale::Scale;
use crate::style::{LINE, REFERENCE};

const ROWS: [Quantity; 4] = [
    Quantity { label: "ηu per step", scale: Scale::Log, pick: |s| &s.factors.step_term, thin: None },
    Quantity { label: "energy e", scale: Scale::Log, pick: |s| &s.factors.residual_energy, thin: None },
    Quantity {
        label: "coherence c",
        scale: Scale::Linear,
        pick: |s| &s.factors.coherence,
        thin: Some(|s| &s.factors.persistent),
    },
    Quantity { label: "scale a", scale: Scale::Log, pick: |s| &s.factors.scale, thin: None },
];

/// One row a factor, lower half left, upper half right; in the coherence row the persistent part is thin.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Factors of the growth by the weights: ηu·e·c/a");
    drawing.subtitle = format!(
        "Each interval in the metric of its start, mean over the heads of each half; {}.",
        m.steps_shown()
    );
    drawing.columns = 2;
    drawing.share_x = true;
    drawing.panel_height = 84.0;
    drawing.panels = ROWS.iter().enumerate().flat_map(|(k, row)| row.panels(m, k == 0)).collect();
    drawing.legend = run_legend(m);
    drawing.legend.extend(mark_legend(&drawing.panels));
    drawing.legend.push(LegendEntry::line("coherence c", Stroke::solid(REFERENCE, LINE)));
    drawing.legend.push(LegendEntry::line("its persistent part c₀", Stroke::solid(REFERENCE, THIN)));
    vec![drawing]
}
