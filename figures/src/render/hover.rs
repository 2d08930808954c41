//! What a pointer over a drawing is told: the numbers behind its marks, for a page that shows them.

use serde_json::{Value, json};

use super::layout::Layout;
use super::placed::Placed;
use super::ranges::Ranges;
use crate::colour::Colour;
use crate::model::{Axis, Bar, Drawing, Item, LegendEntry, LegendKey, Stroke};
use crate::scale::Scale;
use crate::style::layer_colour;

impl Layout<'_> {
    /// `{size, panels}`, lengths in CSS pixels. A panel has its `frame` [left, top, right, bottom], both axes with how
    /// values become places, and `lines`, `cells` or `bars`. Numbers have four figures; undefined ones are null.
    pub fn hover(&self, drawing: &Drawing) -> Value {
        let (w, h) = self.size();
        let panels: Vec<Value> =
            (self.panels.iter().filter(|p| p.has_data)).map(|p| panel(p, drawing)).collect();
        json!({"size": [w, h], "panels": panels})
    }
}

fn panel(p: &Placed<'_>, drawing: &Drawing) -> Value {
    let f = p.frame;
    let mut out = json!({
        "title": p.panel.title,
        "frame": ([f.left, f.top, f.right, f.bottom].map(tenth)),
        "x": axis(&p.panel.x, p.ranges, true),
        "y": axis(&p.panel.y, p.ranges, false),
    });
    let (mut lines, mut bars, mut grids): (Vec<Value>, Vec<Value>, Vec<Vec<f64>>) = Default::default();
    for item in &p.panel.items {
        match item {
            Item::Line { points, stroke, .. } => {
                let Some(name) = name_of_line(drawing, *stroke).filter(|_| points.len() > 2) else {
                    continue;
                };
                let x: Vec<f64> = points.iter().map(|q| q.0).collect();
                let grid = grids.iter().position(|g| *g == x).unwrap_or_else(|| {
                    grids.push(x);
                    grids.len() - 1
                });
                let y: Vec<Value> = points.iter().map(|q| figures(q.1)).collect();
                lines.push(json!({"name": name, "colour": hex(stroke.colour), "x": grid, "y": y}));
            }
            Item::Bars { bars: all, lying } => {
                bars.extend(all.iter().filter_map(|b| bar(p, drawing, b, *lying)));
            }
            Item::Heatmap { x_edges, y_edges, values, .. } => {
                let place = |edges: &[f64], along_x: bool| -> Vec<Value> {
                    edges
                        .iter()
                        .map(|e| place(p, *e, along_x).map_or(Value::Null, |v| json!(tenth(v))))
                        .collect()
                };
                let label = drawing.colours.as_ref().map_or("", |c| c.label.as_str());
                let rows: Vec<Vec<Value>> =
                    values.iter().map(|r| r.iter().map(|v| figures(*v)).collect()).collect();
                out["cells"] = json!({
                    "x": place(x_edges, true), "y": place(y_edges, false), "values": rows, "label": label,
                });
            }
            _ => {}
        }
    }
    if !lines.is_empty() {
        let grids: Vec<Vec<Value>> = grids.iter().map(|g| g.iter().map(|v| figures(*v)).collect()).collect();
        out["grids"] = json!(grids);
        out["lines"] = json!(lines);
    }
    if !bars.is_empty() {
        out["bars"] = json!(bars);
    }
    out
}

fn axis(axis: &Axis, ranges: Ranges, along_x: bool) -> Value {
    let range = if along_x { ranges.x } else { ranges.y };
    let (scale, linear) = match axis.scale {
        Scale::Linear => ("linear", 1.0),
        Scale::Log => ("log", 1.0),
        Scale::SymLog { linear } => ("symlog", linear),
    };
    json!({
        "label": axis.label, "scale": scale, "linear": linear, "range": [range.low, range.high],
        "names": axis.categories,
    })
}

fn bar(p: &Placed<'_>, drawing: &Drawing, b: &Bar, lying: bool) -> Option<Value> {
    let f = p.frame;
    let turned = |across: f64, along: f64| if lying { (along, across) } else { (across, along) };
    let a = p.pixel(turned(b.x - b.width / 2.0, b.from))?;
    let z = p.pixel(turned(b.x + b.width / 2.0, b.to))?;
    let (x0, x1) = (a.0.clamp(f.left, f.right), z.0.clamp(f.left, f.right));
    let (y0, y1) = (a.1.clamp(f.top, f.bottom), z.1.clamp(f.top, f.bottom));
    let names = if lying { &p.panel.y.categories } else { &p.panel.x.categories };
    let place = names.as_ref().and_then(|n| n.get(b.x.round().max(0.0) as usize)).cloned();
    Some(json!({
        "box": ([x0.min(x1), y0.min(y1), x0.max(x1), y0.max(y1)].map(tenth)),
        "name": name_of_patch(drawing, b.colour), "place": place, "value": figures(b.to - b.from),
    }))
}

fn place(p: &Placed<'_>, value: f64, along_x: bool) -> Option<f64> {
    let f = p.frame;
    if along_x {
        Some(f.left + p.ranges.x.position(value, p.panel.x.scale)?.clamp(0.0, 1.0) * f.width())
    } else {
        Some(f.bottom - p.ranges.y.position(value, p.panel.y.scale)?.clamp(0.0, 1.0) * f.height())
    }
}

fn name_of_line(drawing: &Drawing, stroke: Stroke) -> Option<String> {
    let same = |e: &&LegendEntry| matches!(e.key, LegendKey::Line(s) if s.colour == stroke.colour && s.dash == stroke.dash);
    let layers = drawing.colours.as_ref().and_then(|c| c.discrete).unwrap_or(0);
    let of_layer = || (0..layers).find(|l| layer_colour(*l, layers) == stroke.colour);
    (drawing.legend.iter().find(same).map(|e| e.label.clone()))
        .or_else(|| of_layer().map(|l| format!("layer {l}")))
}

fn name_of_patch(drawing: &Drawing, colour: Colour) -> Option<&str> {
    let same = |e: &&LegendEntry| matches!(e.key, LegendKey::Patch(c) if c == colour);
    drawing.legend.iter().find(same).map(|e| e.label.as_str())
}

/// Four figures; null where there is no number.
fn figures(v: f64) -> Value {
    if !v.is_finite() {
        return Value::Null;
    }
    format!("{v:.3e}").parse::<f64>().map_or(Value::Null, |v| json!(v))
}

fn tenth(v: f64) -> f64 {
    (10.0 * v).round() / 10.0
}

fn hex(c: Colour) -> String {
    format!("#{:02X}{:02X}{:02X}", c.r, c.g, c.b)
}
