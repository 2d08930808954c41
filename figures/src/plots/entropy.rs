//! `entropy`: normalised attention entropy of the two halves over steps.

use super::common::{Quantity, mark_legend, run_legend};
use crate::material::Material;
use crate::model::Drawing;
use crate::scale::Scale;

const ENTROPY: Quantity =
    Quantity { label: "entropy / ln(row length)", scale: Scale::Linear, pick: |s| &s.entropy, thin: None };

/// Lower half left, upper half right, one line a run.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Attention entropy: 1 is uniform attention");
    drawing.subtitle =
        format!("Entropy over ln(row length), mean over the heads of each half; {}.", m.steps_shown());
    drawing.columns = 2;
    drawing.share_x = true;
    drawing.panel_height = 150.0;
    drawing.panels.extend(ENTROPY.panels(m, true));
    drawing.legend = run_legend(m);
    drawing.legend.extend(mark_legend(&drawing.panels));
    vec![drawing]
}
