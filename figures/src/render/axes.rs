//! Tick layout, frames, grid lines, axis labels and panel titles.

use plotters::prelude::DrawingBackend;

use super::layout::Placed;
use crate::canvas::{Anchor, Canvas, Font};
use crate::error::FigureError;
use crate::model::{Axis, Item, Stroke};
use crate::scale::Range;
use crate::style::{self, HAIRLINE, LABEL, LEADING, TICK, TICK_LENGTH};
use crate::text;
use crate::ticks::{self, Ticks};

/// Ticks along one axis: places in CSS pixels (x rightwards, y downwards from the frame's top once shifted).
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    /// (place, label); a label is empty where it would touch its neighbour.
    pub major: Vec<(f64, String)>,
    pub minor: Vec<f64>,
}

impl Ruler {
    /// Width of the widest label.
    pub fn widest(&self) -> f64 {
        self.major.iter().map(|m| text::width(&m.1, TICK, false)).fold(0.0, f64::max)
    }

    /// Moves all places by `offset`.
    pub fn shift(&mut self, offset: f64) {
        self.major.iter_mut().for_each(|m| m.0 += offset);
        self.minor.iter_mut().for_each(|m| *m += offset);
    }
}

/// Ticks of a vertical axis of the given height, measured from the top.
pub(super) fn vertical(axis: &Axis, range: Range, height: f64, has_data: bool) -> Ruler {
    if !has_data {
        return Ruler { major: Vec::new(), minor: Vec::new() };
    }
    let place = |v: f64| range.position(v, axis.scale).map(|p| height * (1.0 - p));
    if let Some(names) = &axis.categories {
        return thinned(names, place, |_| TICK * 1.15, 0.0);
    }
    let t = ticks::ticks(range, axis.scale, ((height / 26.0) as usize).clamp(3, 9));
    let mut ruler = rule(&t, place);
    drop_touching(&mut ruler.major, |_| TICK * 1.2, 0.0);
    ruler
}

/// Ticks of a horizontal axis from `left`, as many as fit.
pub(super) fn horizontal(axis: &Axis, range: Range, left: f64, width: f64, has_data: bool) -> Ruler {
    if !has_data {
        return Ruler { major: Vec::new(), minor: Vec::new() };
    }
    let place = |v: f64| range.position(v, axis.scale).map(|p| left + p * width);
    let size = |label: &str| text::width(label, TICK, false);
    if let Some(names) = &axis.categories {
        return thinned(names, place, size, 5.0);
    }
    let most = ((width / 42.0) as usize).clamp(3, 10);
    for n in (2..=most).rev() {
        let ruler = rule(&ticks::ticks(range, axis.scale, n), place);
        if !touching(&ruler.major, size, 7.0) {
            return ruler;
        }
    }
    let mut ruler = rule(&ticks::ticks(range, axis.scale, most), place);
    drop_touching(&mut ruler.major, size, 7.0);
    ruler
}

fn rule(t: &Ticks, place: impl Fn(f64) -> Option<f64>) -> Ruler {
    Ruler {
        major: t.major.iter().zip(&t.labels).filter_map(|(v, l)| Some((place(*v)?, l.clone()))).collect(),
        minor: t.minor.iter().filter_map(|v| place(*v)).collect(),
    }
}

/// Every k-th name, with the smallest k that keeps them apart.
fn thinned(
    names: &[String],
    place: impl Fn(f64) -> Option<f64>,
    size: impl Fn(&str) -> f64 + Copy,
    gap: f64,
) -> Ruler {
    let mut every = 1;
    loop {
        let major: Vec<(f64, String)> = names
            .iter()
            .enumerate()
            .step_by(every)
            .filter_map(|(i, name)| Some((place(i as f64)?, name.clone())))
            .collect();
        if every >= names.len() || !touching(&major, size, gap) {
            return Ruler { major, minor: Vec::new() };
        }
        every += 1;
    }
}

fn touching(major: &[(f64, String)], size: impl Fn(&str) -> f64, gap: f64) -> bool {
    major.windows(2).any(|w| (w[1].0 - w[0].0).abs() < (size(&w[0].1) + size(&w[1].1)) / 2.0 + gap)
}

/// Empties the labels that touch the last kept one; the tick marks stay.
fn drop_touching(major: &mut [(f64, String)], size: impl Fn(&str) -> f64, gap: f64) {
    let mut last: Option<(f64, f64)> = None;
    for (place, label) in major {
        let half = size(label) / 2.0;
        match last {
            Some((p, h)) if (*place - p).abs() < h + half + gap => label.clear(),
            _ => last = Some((*place, half)),
        }
    }
}

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
        let fitted = text::shorten(&p.panel.y.label, LABEL, false, f.height() + 40.0);
        canvas.text_up(&fitted, (f.left - p.y_label_offset, mid_y), label)?;
    }
    draw_head(canvas, p)
}

fn draw_head<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, p: &Placed<'_>) -> Result<(), FigureError> {
    let f = p.frame;
    let rows = p.line_labels.iter().map(|l| l.1 + 1).max().unwrap_or(0);
    for (x, row, label, item) in &p.line_labels {
        let colour = match &p.panel.items[*item] {
            Item::VLine { stroke, .. } => stroke.colour,
            _ => style::INK,
        };
        let baseline = f.top - 4.0 - *row as f64 * TICK * LEADING;
        canvas.text(label, (*x, baseline), Font::new(TICK, colour), Anchor::Centre)?;
    }
    let lowest = f.top - 5.0 - rows as f64 * TICK * LEADING;
    let n = p.head.len();
    for (i, (title, note)) in p.head.iter().enumerate() {
        let y = lowest - (n - 1 - i) as f64 * LABEL * LEADING;
        canvas.text(title, (f.left, y), Font::bold(LABEL, style::INK), Anchor::Left)?;
        let (x, anchor) = if title.is_empty() { (f.left, Anchor::Left) } else { (f.right, Anchor::Right) };
        canvas.text(note, (x, y), Font::new(TICK, style::FAINT_INK), anchor)?;
    }
    Ok(())
}
