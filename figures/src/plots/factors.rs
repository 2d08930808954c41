//! `factors`: the factors of the weight path's growth over steps (5.1).

use super::common::{Quantity, line, mark_legend, run_legend, side};
use crate::material::Material;
use crate::model::{Dash, Drawing, LegendEntry, Stroke};
use crate::scale::Scale;
use crate::style::{LINE, REFERENCE};

/// Width of the persistent part's line.
const THIN: f64 = 0.7;

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
    drawing.legend = run_legend(m);
    drawing.legend.extend(mark_legend(m, true));
    let neutral = |width| Stroke { colour: REFERENCE, width, dash: Dash::Solid };
    drawing.legend.push(LegendEntry::line("coherence c", neutral(LINE)));
    drawing.legend.push(LegendEntry::line("its persistent part c₀", neutral(THIN)));
    let rows = [
        Quantity { label: "ηu per step", scale: Scale::Log, pick: |s| &s.factors.step_term },
        Quantity { label: "energy e", scale: Scale::Log, pick: |s| &s.factors.residual_energy },
        Quantity { label: "coherence c", scale: Scale::Linear, pick: |s| &s.factors.coherence },
        Quantity { label: "scale a", scale: Scale::Log, pick: |s| &s.factors.scale },
    ];
    for (k, quantity) in rows.iter().enumerate() {
        let mut panels = quantity.panels(m, k == 0);
        if k == 2 {
            for (panel, upper) in panels.iter_mut().zip([false, true]) {
                for (run, style) in m.runs.iter().zip(m.styles()) {
                    let persistent = side(&run.series.factors.persistent, upper);
                    panel.items.push(line(persistent, style.stroke_of(THIN)));
                }
                // Both coherences lie between -1 and 1.
                panel.y.range = None;
            }
        }
        drawing.panels.extend(panels);
    }
    vec![drawing]
}
