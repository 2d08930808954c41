//! `write-energy`: energy of every residual write over steps, by layer and site.

use super::common::{line, mark_legend, points, step_axis, time_marks};
use crate::colour::ColourMap;
use crate::material::Material;
use crate::model::{Axis, ColourScale, Drawing, Panel, Stroke};
use crate::scale::Scale;
use crate::style::{LAYER_SPAN, layer_colour};

/// Attention writes left, FFN writes right, one line a layer, logarithmic.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new("Energy written to the residual stream");
    drawing.subtitle = format!("Mean |w|² per token of the training batch; {}.", m.steps_shown());
    drawing.columns = 2;
    drawing.share_x = true;
    drawing.share_y = true;
    drawing.panel_height = if m.runs.len() > 2 { 92.0 } else { 130.0 };
    let layers = m.runs.iter().map(|r| r.series.layers).max().unwrap_or(0);
    drawing.colours = Some(ColourScale {
        label: "layer".into(),
        map: ColourMap::Sequential,
        scale: Scale::Linear,
        range: None,
        span: LAYER_SPAN,
        discrete: Some(layers.max(1)),
    });
    for (run, style) in m.runs.iter().zip(m.styles()) {
        let writes = &run.series.writes;
        for (site, rows) in [("attention", &writes.attn), ("FFN", &writes.ffn)] {
            let title = format!("{}: {site}", run.name);
            let mut panel = Panel::new(title, step_axis(m), Axis::new("mean |w|²", Scale::Log));
            panel.items = time_marks(&[run], &[style], None);
            for (layer, values) in rows.iter().enumerate() {
                let ink = Stroke::solid(layer_colour(layer, layers), 1.1);
                panel.items.push(line(points(&writes.steps, values), ink));
            }
            drawing.panels.push(panel);
        }
    }
    drawing.legend = mark_legend(&drawing.panels);
    vec![drawing]
}
