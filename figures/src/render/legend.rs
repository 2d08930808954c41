//! Legends above the panels.

use plotters::prelude::DrawingBackend;

use crate::canvas::{Anchor, Canvas, Font, Rect};
use crate::error::FigureError;
use crate::model::{LegendEntry, LegendKey};
use crate::style::{self, MARGIN, STRIP, TICK};
use crate::text;

const KEY: f64 = 24.0;
const PATCH: f64 = 10.0;
const GAP: f64 = 16.0;

/// A legend entry with the left end of its baseline.
pub(super) struct LegendPlace<'f> {
    entry: &'f LegendEntry,
    label: String,
    at: (f64, f64),
}

fn key_width(key: LegendKey) -> f64 {
    match key {
        LegendKey::Line(_) => KEY,
        LegendKey::Patch(_) | LegendKey::Hatch(_) | LegendKey::Strip(..) | LegendKey::Marker(..) => PATCH,
    }
}

/// Flows entries into rows from `top` on a page of the given width; returns them and the y below.
pub(super) fn place(entries: &[LegendEntry], top: f64, page: f64) -> (Vec<LegendPlace<'_>>, f64) {
    let row = TICK * 1.5;
    let (mut x, mut y) = (MARGIN, top);
    let mut out = Vec::new();
    for entry in entries {
        let key = key_width(entry.key) + 5.0;
        let label = text::shorten(&entry.label, TICK, text::Weight::Regular, page - 2.0 * MARGIN - key);
        let width = key + text::width(&label, TICK, text::Weight::Regular);
        if x > MARGIN && x + width > page - MARGIN {
            x = MARGIN;
            y += row;
        }
        out.push(LegendPlace { entry, label, at: (x, y + TICK * 1.1) });
        x += width + GAP;
    }
    let below = if entries.is_empty() { top } else { y + row };
    (out, below)
}

pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    places: &[LegendPlace<'_>],
) -> Result<(), FigureError> {
    for p in places {
        let (x, y) = p.at;
        let middle = y - 0.36 * TICK;
        match p.entry.key {
            LegendKey::Line(stroke) => canvas.polyline(&[(x, middle), (x + KEY, middle)], stroke)?,
            LegendKey::Patch(colour) => canvas.rect(patch(x, middle), colour)?,
            LegendKey::Hatch(colour) => canvas.hatch(patch(x, middle), colour)?,
            LegendKey::Strip(wash, strip) => {
                let whole = patch(x, middle);
                canvas.rect(whole, wash)?;
                canvas.rect(Rect { bottom: whole.top + STRIP, ..whole }, strip)?;
            }
            LegendKey::Marker(marker, colour) => {
                canvas.marker((x + PATCH / 2.0, middle), marker, colour, 4.0)?
            }
        }
        let start = (x + key_width(p.entry.key) + 5.0, y);
        canvas.text(&p.label, start, Font::new(TICK, style::INK), Anchor::Left)?;
    }
    Ok(())
}

fn patch(left: f64, middle: f64) -> Rect {
    let half = PATCH / 2.0;
    Rect { left, top: middle - half, right: left + PATCH, bottom: middle + half }
}
