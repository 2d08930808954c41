//! Frames, grid lines, tick and axis labels, panel titles.

use plotters::prelude::DrawingBackend;

use super::placed::Placed;
use crate::canvas::{Anchor, Canvas, Font};
use crate::error::FigureError;
use crate::model::{Item, Stroke};
use crate::style::{self, HAIRLINE, LABEL, LEADING, TICK, TICK_LENGTH};
use crate::text;

/// Grid lines at the major ticks, under the data.
pub(super) fn draw_grid<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
) -> Result<(), FigureError> {
    if is_boxed(p) {
        return Ok(());
    }
    let (f, ink) = (p.frame, Stroke::solid(style::GRID, HAIRLINE));
    if p.panel.x.grid {
        for (x, _) in &p.x.major {
            canvas.polyline(&[(*x, f.top), (*x, f.bottom)], ink)?;
        }
    }
    if p.panel.y.grid {
        for (y, _) in &p.y.major {
            canvas.polyline(&[(f.left, *y), (f.right, *y)], ink)?;
        }
    }
    Ok(())
}

/// Areas are framed on all sides, lines and bars only at the axes.
fn is_boxed(p: &Placed<'_>) -> bool {
    p.panel.items.iter().any(|i| matches!(i, Item::Heatmap { .. } | Item::Hexbin { .. }))
}

/// Spines, ticks, tick labels, axis labels, title and note.
pub(super) fn draw_frame<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
) -> Result<(), FigureError> {
    let (f, ink) = (p.frame, Stroke::solid(style::INK, HAIRLINE));
    let small = Font::new(TICK, style::INK);
    canvas.polyline(&[(f.left, f.top), (f.left, f.bottom)], ink)?;
    canvas.polyline(&[(f.left, f.bottom), (f.right, f.bottom)], ink)?;
    if is_boxed(p) {
        canvas.polyline(&[(f.right, f.top), (f.right, f.bottom)], ink)?;
        canvas.polyline(&[(f.left, f.top), (f.right, f.top)], ink)?;
    }
    for (x, label) in &p.x.major {
        canvas.polyline(&[(*x, f.bottom), (*x, f.bottom + TICK_LENGTH)], ink)?;
        if p.show_x {
            canvas.text(label, (*x, f.bottom + TICK_LENGTH + 1.02 * TICK), small, Anchor::Centre)?;
        }
    }
    for x in &p.x.minor {
        canvas.polyline(&[(*x, f.bottom), (*x, f.bottom + TICK_LENGTH / 2.0)], ink)?;
    }
    for (y, label) in &p.y.major {
        canvas.polyline(&[(f.left - TICK_LENGTH, *y), (f.left, *y)], ink)?;
        if p.show_y {
            canvas.text(label, (f.left - TICK_LENGTH - 2.5, y + 0.36 * TICK), small, Anchor::Right)?;
        }
    }
    for y in &p.y.minor {
        canvas.polyline(&[(f.left - TICK_LENGTH / 2.0, *y), (f.left, *y)], ink)?;
    }
    let label = Font::new(LABEL, style::INK);
    let (mid_x, mid_y) = ((f.left + f.right) / 2.0, (f.top + f.bottom) / 2.0);
    if p.show_x {
        let baseline = f.bottom + TICK_LENGTH + TICK * LEADING + LABEL;
        canvas.text(&p.panel.x.label, (mid_x, baseline), label, Anchor::Centre)?;
    }
    if p.show_y {
        let fitted = text::shorten(&p.panel.y.label, LABEL, text::Weight::Regular, f.height() + 40.0);
        canvas.text_up(&fitted, (f.left - p.y_label_offset, mid_y), label)?;
    }
    draw_head(canvas, p)
}

fn draw_head<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, p: &Placed<'_>) -> Result<(), FigureError> {
    let f = p.frame;
    for (x, row, label, item) in &p.line_labels {
        let colour = match &p.panel.items[*item] {
            Item::VLine { stroke, .. } => stroke.colour,
            _ => style::FAINT_INK,
        };
        let baseline = f.top - 4.0 - *row as f64 * TICK * LEADING;
        canvas.text(label, (*x, baseline), Font::new(TICK, colour), Anchor::Centre)?;
    }
    let lowest = f.top - 5.0 - p.label_rows as f64 * TICK * LEADING;
    let n = p.head.len();
    for (i, (title, note)) in p.head.iter().enumerate() {
        let y = lowest - (n - 1 - i) as f64 * LABEL * LEADING;
        canvas.text(title, (f.left, y), Font::bold(LABEL, style::INK), Anchor::Left)?;
        let (x, anchor) = if title.is_empty() { (f.left, Anchor::Left) } else { (f.right, Anchor::Right) };
        canvas.text(note, (x, y), Font::new(TICK, style::FAINT_INK), anchor)?;
    }
    Ok(())
}
