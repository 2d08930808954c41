//! The colour bar at the right of the panels.

use plotters::prelude::DrawingBackend;

use super::placed::Placed;
use super::ruler::{self, Ruler};
use crate::canvas::{Anchor, Canvas, Font, Rect};
use crate::colour::{Colour, ColourMap};
use crate::error::FigureError;
use crate::model::{Axis, ColourScale, Drawing, Item, Stroke};
use crate::scale::{Range, Scale};
use crate::style::{self, HAIRLINE, LABEL, LEADING, TICK};
use crate::text;

const BAR: f64 = 11.0;
const TALLEST_BAR: f64 = 320.0;

/// The resolved colour scale and the geometry of its bar.
pub(super) struct BarLayout<'f> {
    pub scale: &'f ColourScale,
    pub range: Range,
    frame: Rect,
    ruler: Ruler,
    /// From the bar's right side to the label's baseline.
    label_room: f64,
}

impl BarLayout<'_> {
    /// The colour of a cell value; `None` if the scale has no place for it.
    pub fn colour(&self, value: f64) -> Option<Colour> {
        let p = self.range.position(value, self.scale.scale)?;
        Some(self.scale.map.at(p.clamp(0.0, 1.0) * self.scale.span))
    }
}

/// Room that the bar, its ticks and its label take at the right of the panels.
pub(super) fn width(scale: &ColourScale, figure: &Drawing) -> f64 {
    let range = resolve(scale, cell_values(figure));
    let ruler = bar_ruler(scale, range, figure.panel_height.clamp(60.0, TALLEST_BAR));
    // Hexagons are counted only once the panels have their size: leave room for a few digits.
    let least = if figure.panels.iter().flat_map(|p| &p.items).any(|i| matches!(i, Item::Hexbin { .. })) {
        26.0
    } else {
        6.0
    };
    6.0 + BAR + ruler.widest().max(least) + 8.0 + LABEL * LEADING
}

fn cell_values(figure: &Drawing) -> Vec<f64> {
    figure
        .panels
        .iter()
        .flat_map(|p| &p.items)
        .filter_map(|item| match item {
            Item::Heatmap { values, .. } => Some(values.iter().flatten().copied()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn resolve(scale: &ColourScale, values: Vec<f64>) -> Range {
    if let Some(n) = scale.discrete {
        return Range { low: 0.0, high: n.saturating_sub(1).max(1) as f64 };
    }
    let plain =
        if scale.scale == Scale::Log { Range { low: 0.1, high: 1.0 } } else { Range { low: 0.0, high: 1.0 } };
    if let Some((low, high)) = scale.range {
        let usable = scale.scale.place(low).zip(scale.scale.place(high)).is_some_and(|(a, b)| a < b);
        return if usable { Range { low, high } } else { plain };
    }
    if scale.map == ColourMap::Diverging {
        let most = values.iter().filter_map(|v| scale.scale.place(*v).map(|_| v.abs())).fold(0.0, f64::max);
        return Range::of([-most, most], scale.scale, 0.0).unwrap_or(Range { low: -1.0, high: 1.0 });
    }
    Range::of(values, scale.scale, 0.0).unwrap_or(plain)
}

fn bar_axis(scale: &ColourScale) -> (Axis, Option<usize>) {
    match scale.discrete {
        Some(n) => (Axis::categories("", (0..n).map(|i| i.to_string()).collect()), Some(n)),
        None => (Axis::new("", scale.scale), None),
    }
}

fn bar_ruler(scale: &ColourScale, range: Range, height: f64) -> Ruler {
    let (axis, discrete) = bar_axis(scale);
    let shown = match discrete {
        Some(n) => Range { low: -0.5, high: n.max(1) as f64 - 0.5 },
        None => range,
    };
    ruler::vertical(&axis, shown, height, true)
}

/// Resolves the colour range, from counted hexagons too, and places the bar right of `left` beside the panels.
pub(super) fn place<'f>(
    scale: &'f ColourScale,
    figure: &Drawing,
    panels: &[Placed<'_>],
    left: f64,
    (top, bottom): (f64, f64),
) -> BarLayout<'f> {
    let mut values = cell_values(figure);
    values.extend(panels.iter().flat_map(|p| &p.hexagons).flat_map(|h| &h.1).map(|h| h.count as f64));
    let range = resolve(scale, values);
    let height = (bottom - top).min(TALLEST_BAR);
    let start = (top + bottom - height) / 2.0;
    let frame = Rect { left: left + 6.0, top: start, right: left + 6.0 + BAR, bottom: start + height };
    let mut ruler = bar_ruler(scale, range, height);
    ruler.shift(start);
    let label_room = width(scale, figure) - 8.0 - BAR;
    BarLayout { scale, range, frame, ruler, label_room }
}

pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    bar: &BarLayout<'_>,
) -> Result<(), FigureError> {
    let f = bar.frame;
    let patches = bar.scale.discrete.unwrap_or(128).max(1);
    let step = f.height() / patches as f64;
    for i in 0..patches {
        let t = if patches > 1 { i as f64 / (patches - 1) as f64 } else { 0.0 };
        let bottom = f.bottom - i as f64 * step;
        // Reaching under the next patch hides the seam that smoothing would show.
        let top = (bottom - step - 0.5).max(f.top);
        canvas
            .rect(Rect { left: f.left, top, right: f.right, bottom }, bar.scale.map.at(t * bar.scale.span))?;
    }
    let ink = Stroke::solid(style::INK, HAIRLINE);
    let corners =
        [(f.left, f.top), (f.right, f.top), (f.right, f.bottom), (f.left, f.bottom), (f.left, f.top)];
    canvas.polyline(&corners, ink)?;
    for (y, label) in &bar.ruler.major {
        canvas.polyline(&[(f.right, *y), (f.right + 3.0, *y)], ink)?;
        canvas.text(label, (f.right + 5.0, y + 0.36 * TICK), Font::new(TICK, style::INK), Anchor::Left)?;
    }
    for y in &bar.ruler.minor {
        canvas.polyline(&[(f.right, *y), (f.right + 1.6, *y)], ink)?;
    }
    let label_x = f.right + bar.label_room;
    let fitted = text::shorten(&bar.scale.label, LABEL, text::Weight::Regular, f.height() + 60.0);
    canvas.text_up(&fitted, (label_x, (f.top + f.bottom) / 2.0), Font::new(LABEL, style::INK))
}
