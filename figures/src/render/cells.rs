//! Heat-map cells.

use plotters::prelude::DrawingBackend;

use super::colour_bar::BarLayout;
use super::placed::Placed;
use crate::canvas::{Anchor, Canvas, Font, Rect};
use crate::colour::Colour;
use crate::error::FigureError;
use crate::style::{self, TICK};
use crate::text;
use crate::ticks;

/// Narrowest heat-map column; narrower ones are averaged.
const NARROWEST: f64 = 1.5;

/// A column of cells to draw: left and right in pixels, and the source columns averaged in it.
fn merged_columns(p: &Placed<'_>, x_edges: &[f64], n: usize) -> Vec<(f64, f64, std::ops::Range<usize>)> {
    let place = |x: f64| {
        let t = p.ranges.x.position(x, p.panel.x.scale)?;
        Some(p.frame.left + t.clamp(0.0, 1.0) * p.frame.width())
    };
    let mut out: Vec<(f64, f64, std::ops::Range<usize>)> = Vec::new();
    for (i, edge) in x_edges.windows(2).take(n).enumerate() {
        let Some((a, b)) = place(edge[0]).zip(place(edge[1])) else { continue };
        match out.last_mut() {
            Some(last) if last.1 - last.0 < NARROWEST && last.2.end == i => {
                last.1 = b;
                last.2.end = i + 1;
            }
            _ => out.push((a, b, i..i + 1)),
        }
    }
    out.retain(|c| c.1 > c.0);
    out
}

/// Cells of a heat map, coloured by the shared scale.
pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    (x_edges, y_edges): (&[f64], &[f64]),
    values: &[Vec<f64>],
    print: Option<usize>,
    colours: Option<&BarLayout<'_>>,
) -> Result<(), FigureError> {
    let Some(bar) = colours else { return Ok(()) };
    let n = values.iter().map(Vec::len).max().unwrap_or(0);
    let columns = merged_columns(p, x_edges, n);
    let place = |y: f64| {
        let t = p.ranges.y.position(y, p.panel.y.scale)?;
        Some(p.frame.bottom - t.clamp(0.0, 1.0) * p.frame.height())
    };
    for (row, edge) in values.iter().zip(y_edges.windows(2)) {
        let Some((bottom, top)) = place(edge[0]).zip(place(edge[1])) else { continue };
        // Rows are drawn upwards: each reaches a little under the next one, which hides the seam.
        let top_drawn = (top - 0.4).max(p.frame.top);
        let mut run: Option<(f64, f64, Colour)> = None;
        for (left, right, source) in &columns {
            let value = mean(row, source.clone(), bar).and_then(|v| bar.colour(v));
            let diverged = row.get(source.start).is_some_and(|v| v.is_infinite());
            let colour = value.unwrap_or(if diverged { style::DIVERGED } else { style::MISSING });
            run = match run {
                Some((start, _, same)) if same == colour => Some((start, *right, same)),
                Some((start, end, before)) => {
                    canvas.rect(Rect { left: start, top: top_drawn, right: end + 0.4, bottom }, before)?;
                    Some((*left, *right, colour))
                }
                None => Some((*left, *right, colour)),
            };
        }
        if let Some((left, right, colour)) = run {
            canvas.rect(Rect { left, top: top_drawn, right, bottom }, colour)?;
        }
        if let Some(decimals) = print {
            print_cells(canvas, row, &columns, (top, bottom), (decimals, bar))?;
        }
    }
    Ok(())
}

/// Mean on the colour scale (so geometric on a logarithmic one) of the finite cells.
fn mean(row: &[f64], source: std::ops::Range<usize>, bar: &BarLayout<'_>) -> Option<f64> {
    let cells = row.get(source.start..source.end.min(row.len())).unwrap_or(&[]);
    if let [only] = cells {
        return bar.scale.scale.place(*only).map(|_| *only);
    }
    let places: Vec<f64> = cells.iter().filter_map(|v| bar.scale.scale.place(*v)).collect();
    let count = places.len() as f64;
    (!places.is_empty()).then(|| bar.scale.scale.value(places.iter().map(|v| v / count).sum::<f64>()))
}

fn print_cells<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    row: &[f64],
    columns: &[(f64, f64, std::ops::Range<usize>)],
    (top, bottom): (f64, f64),
    (decimals, bar): (usize, &BarLayout<'_>),
) -> Result<(), FigureError> {
    let tallest = ((bottom - top) / 1.15).min(TICK);
    for (left, right, source) in columns {
        let Some(&value) = row.get(source.start).filter(|_| source.len() == 1) else { continue };
        let Some(fill) = bar.colour(value) else { continue };
        let label = printed(value, decimals);
        let size = tallest.min((right - left - 2.0) / text::width(&label, 1.0, text::Weight::Regular));
        if size < style::SMALLEST_TEXT {
            continue;
        }
        let ink = if fill.lightness() < 0.62 { style::PAPER } else { style::INK };
        let at = ((left + right) / 2.0, (top + bottom) / 2.0 + 0.36 * size);
        canvas.text(&label, at, Font::new(size, ink), Anchor::Centre)?;
    }
    Ok(())
}

/// A cell's number: no sign on what is rounded to nothing, no zero before the point.
fn printed(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e4 {
        return ticks::number(value);
    }
    let rounded = if value.abs() < 0.5 * 10f64.powi(-(decimals as i32)) { 0.0 } else { value };
    let text = format!("{rounded:.decimals$}").replace('-', "−");
    match text.trim_start_matches('−').strip_prefix("0.") {
        Some(_) => text.replacen("0.", ".", 1),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::printed;

    #[test]
    fn cells_are_short_and_signed() {
        assert_eq!(printed(0.123, 2), ".12");
        assert_eq!(printed(-0.456, 2), "−.46");
        assert_eq!(printed(-0.001, 2), ".00");
        assert_eq!(printed(10.04, 1), "10.0");
        assert_eq!(printed(2.380, 2), "2.38");
        assert_eq!(printed(-0.4, 0), "0");
        assert_eq!(printed(-7.6, 0), "−8");
    }
}
