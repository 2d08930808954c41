//! Which range each axis of each panel shows.

use crate::model::{Axis, Drawing, Item, Panel};
use crate::scale::{Range, Scale};

/// Padding between the data and the frame, as a fraction of the axis.
const PADDING: f64 = 0.04;
/// Padding where bars carry labels beyond their ends.
const LABEL_PADDING: f64 = 0.1;
/// The same for lying bars, whose labels run along the axis.
const LYING_LABEL_PADDING: f64 = 0.16;

/// Whether a panel holds anything that its axes can place.
pub(crate) fn has_data(panel: &Panel) -> bool {
    extent(panel).has_data
}

/// The points of one panel that its axes can place, and its marker positions.
struct Extent {
    x: Vec<f64>,
    y: Vec<f64>,
    has_data: bool,
}

/// Resolved ranges of one panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges {
    pub x: Range,
    pub y: Range,
    pub has_data: bool,
}

/// Ranges for every panel, shared where the figure says so. A panel without data gets a plain range.
pub(super) fn resolve(figure: &Drawing) -> Vec<Ranges> {
    let extents: Vec<Extent> = figure.panels.iter().map(extent).collect();
    let all = |pick: fn(&Extent) -> &Vec<f64>| -> Vec<f64> {
        extents.iter().filter(|e| e.has_data).flat_map(|e| pick(e).iter().copied()).collect()
    };
    let labelled = |along_x: bool| {
        figure.panels.iter().flat_map(|p| &p.items).any(|item| match item {
            Item::Bars { bars, lying } => *lying == along_x && bars.iter().any(|b| !b.label.is_empty()),
            _ => false,
        })
    };
    let padding = |along_x: bool| match labelled(along_x) {
        true if along_x => LYING_LABEL_PADDING,
        true => LABEL_PADDING,
        false => PADDING,
    };
    let shared_x = figure.share_x.then(|| all(|e| &e.x));
    let shared_y = figure.share_y.then(|| all(|e| &e.y));
    figure
        .panels
        .iter()
        .zip(&extents)
        .map(|(panel, e)| Ranges {
            x: axis_range(&panel.x, shared_x.as_ref().unwrap_or(&e.x), padding(true)),
            y: axis_range(&panel.y, shared_y.as_ref().unwrap_or(&e.y), padding(false)),
            has_data: e.has_data,
        })
        .collect()
}

fn axis_range(axis: &Axis, values: &[f64], padding: f64) -> Range {
    let plain = match axis.scale {
        Scale::Log => Range { low: 0.1, high: 10.0 },
        _ => Range { low: 0.0, high: 1.0 },
    };
    if let Some((low, high)) = axis.range {
        let usable = axis.scale.place(low).zip(axis.scale.place(high)).is_some_and(|(a, b)| a < b);
        return if usable { Range { low, high } } else { plain };
    }
    Range::of(values.iter().copied(), axis.scale, if axis.tight { 0.0 } else { padding }).unwrap_or(plain)
}

fn extent(panel: &Panel) -> Extent {
    let mut e = Extent { x: Vec::new(), y: Vec::new(), has_data: false };
    let (sx, sy) = (panel.x.scale, panel.y.scale);
    for item in &panel.items {
        match item {
            Item::Line { points, band, .. } => {
                e.points(points, sx, sy);
                for &(x, low, high) in band {
                    e.points(&[(x, low), (x, high)], sx, sy);
                }
            }
            Item::Scatter { points, .. } | Item::Hexbin { points, .. } => e.points(points, sx, sy),
            Item::Heatmap { x_edges, y_edges, values, .. } => {
                if values.iter().flatten().any(|v| v.is_finite()) {
                    e.has_data = true;
                    e.x.extend(x_edges.iter().copied().filter(|v| sx.place(*v).is_some()));
                    e.y.extend(y_edges.iter().copied().filter(|v| sy.place(*v).is_some()));
                }
            }
            Item::Bars { bars, lying } => {
                for b in bars {
                    let (left, right) = (b.x - b.width / 2.0, b.x + b.width / 2.0);
                    let turned = |p: (f64, f64)| if *lying { (p.1, p.0) } else { p };
                    e.points(&[turned((left, b.from)), turned((right, b.to))], sx, sy);
                }
            }
            Item::Whiskers { points, .. } => {
                for &(x, low, high) in points {
                    e.points(&[(x, low), (x, high)], sx, sy);
                }
            }
            Item::Span { .. } => {}
            Item::VLine { x, .. } => e.x.extend(sx.place(*x).map(|_| *x)),
            Item::HLine { y, .. } => e.y.extend(sy.place(*y).map(|_| *y)),
        }
    }
    e
}

impl Extent {
    fn points(&mut self, points: &[(f64, f64)], sx: Scale, sy: Scale) {
        for &(x, y) in points {
            if sx.place(x).is_some() && sy.place(y).is_some() {
                self.has_data = true;
                self.x.push(x);
                self.y.push(y);
            }
        }
    }
}
