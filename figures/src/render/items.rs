//! Panel contents.

use plotters::prelude::DrawingBackend;

use super::hexagons;
use super::layout::Placed;
use super::legend::BarLayout;
use crate::canvas::{Anchor, Canvas, Font, Rect, clip};
use crate::colour::Colour;
use crate::error::FigureError;
use crate::model::{Bar, Item, Stroke};
use crate::style::{self, LEADING, TICK};
use crate::text;
use crate::ticks;

/// Opacity of bands.
const BAND: f64 = 0.18;
/// Narrowest heat-map column; narrower ones are averaged.
const NARROWEST: f64 = 1.5;

pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    colours: Option<&BarLayout<'_>>,
) -> Result<(), FigureError> {
    // All bands first: none may veil the line of another arm.
    for item in &p.panel.items {
        if let Item::Line { band, stroke, .. } = item {
            draw_band(canvas, p, band, stroke.colour)?;
        }
    }
    for (index, item) in p.panel.items.iter().enumerate() {
        match item {
            Item::Line { points, stroke, .. } => draw_line(canvas, p, points, *stroke)?,
            Item::Scatter { points, marker, colour, radius } => {
                for at in points.iter().filter_map(|q| p.pixel(*q)).filter(|q| p.frame.contains(*q)) {
                    canvas.marker(at, *marker, *colour, *radius)?;
                }
            }
            Item::Hexbin { radius, .. } => {
                draw_hexagons(canvas, p, index, radius.clamp(1.0, 100.0), colours)?
            }
            Item::Heatmap { x_edges, y_edges, values, print } => {
                draw_cells(canvas, p, x_edges, y_edges, values, *print, colours)?;
            }
            Item::Bars(bars) => draw_bars(canvas, p, bars)?,
            Item::VLine { x, stroke, .. } => {
                let place = p.ranges.x.position(*x, p.panel.x.scale).filter(|t| (0.0..=1.0).contains(t));
                if let Some(t) = place {
                    let x = p.frame.left + t * p.frame.width();
                    canvas.polyline(&[(x, p.frame.top), (x, p.frame.bottom)], *stroke)?;
                }
            }
            Item::HLine { y, stroke, .. } => {
                if let Some(y) = line_height(p, *y) {
                    canvas.polyline(&[(p.frame.left, y), (p.frame.right, y)], *stroke)?;
                }
            }
        }
    }
    draw_line_labels(canvas, p)
}

fn line_height(p: &Placed<'_>, y: f64) -> Option<f64> {
    let t = p.ranges.y.position(y, p.panel.y.scale).filter(|t| (0.0..=1.0).contains(t))?;
    Some(p.frame.bottom - t * p.frame.height())
}

/// Labels of horizontal lines at the right of the frame, pushed apart where they would touch.
fn draw_line_labels<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, p: &Placed<'_>) -> Result<(), FigureError> {
    let mut labels: Vec<(f64, &str, Colour)> = p
        .panel
        .items
        .iter()
        .filter_map(|item| match item {
            Item::HLine { y, label, stroke } if !label.is_empty() => {
                Some((line_height(p, *y)?, label.as_str(), stroke.colour))
            }
            _ => None,
        })
        .collect();
    labels.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut last = f64::INFINITY;
    for (y, label, colour) in labels {
        let y = y.min(last - TICK * 1.15);
        last = y;
        canvas.text(label, (p.frame.right + 4.0, y + 0.36 * TICK), Font::new(TICK, colour), Anchor::Left)?;
    }
    Ok(())
}

/// Unbroken stretches of points that both axes can place.
fn stretches(p: &Placed<'_>, points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    let mut out = vec![Vec::new()];
    for q in points {
        match p.pixel(*q) {
            Some(at) => out.last_mut().into_iter().for_each(|run| run.push(at)),
            None if out.last().is_some_and(|run| !run.is_empty()) => out.push(Vec::new()),
            None => {}
        }
    }
    out.retain(|run| !run.is_empty());
    out
}

/// Keeps the first, lowest, highest and last point of every half pixel of width: long series look the same with a
/// bounded number of points. Series that turn back in x are left alone.
fn decimate(run: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if run.len() < 600 || run.windows(2).any(|w| w[1].0 < w[0].0) {
        return run;
    }
    let mut out: Vec<(f64, f64)> = Vec::new();
    for cell in run.chunk_by(|a, b| (a.0 * 2.0).floor() == (b.0 * 2.0).floor()) {
        let by_y = |a: &usize, b: &usize| cell[*a].1.total_cmp(&cell[*b].1);
        let low = (0..cell.len()).min_by(by_y).unwrap_or(0);
        let high = (0..cell.len()).max_by(by_y).unwrap_or(0);
        let mut keep = [0, low, high, cell.len() - 1];
        keep.sort_unstable();
        out.extend(keep.into_iter().map(|k| cell[k]));
    }
    out.dedup();
    out
}

fn draw_line<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    points: &[(f64, f64)],
    stroke: Stroke,
) -> Result<(), FigureError> {
    for run in stretches(p, points) {
        if let [only] = run[..] {
            // A lone point has no line to show it.
            if p.frame.contains(only) {
                canvas.marker(only, crate::model::Marker::Circle, stroke.colour, stroke.width * 1.3)?;
            }
            continue;
        }
        let mut piece: Vec<(f64, f64)> = Vec::new();
        for pair in decimate(run).windows(2) {
            match clip(pair[0], pair[1], p.frame) {
                Some((a, b)) => {
                    if piece.last() != Some(&a) {
                        canvas.polyline(&piece, stroke)?;
                        piece = vec![a];
                    }
                    piece.push(b);
                }
                None => {
                    canvas.polyline(&piece, stroke)?;
                    piece.clear();
                }
            }
        }
        canvas.polyline(&piece, stroke)?;
    }
    Ok(())
}

fn draw_band<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    band: &[(f64, f64, f64)],
    colour: Colour,
) -> Result<(), FigureError> {
    let inside =
        |(x, y): (f64, f64)| (x.clamp(p.frame.left, p.frame.right), y.clamp(p.frame.top, p.frame.bottom));
    let edges: Vec<Option<((f64, f64), (f64, f64))>> = band
        .iter()
        .map(|&(x, low, high)| Some((inside(p.pixel((x, low))?), inside(p.pixel((x, high))?))))
        .collect();
    for run in edges.split(Option::is_none) {
        let mut outline: Vec<(f64, f64)> = decimate(run.iter().flatten().map(|e| e.0).collect());
        outline.extend(decimate(run.iter().flatten().map(|e| e.1).collect()).into_iter().rev());
        canvas.polygon(&outline, colour, BAND)?;
    }
    Ok(())
}

fn draw_hexagons<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    index: usize,
    radius: f64,
    colours: Option<&BarLayout<'_>>,
) -> Result<(), FigureError> {
    let cells = p.hexagons.iter().filter(|h| h.0 == index).flat_map(|h| &h.1);
    for cell in cells {
        let colour = colours.and_then(|c| c.colour(cell.count as f64)).unwrap_or(style::FAINT_INK);
        // A little larger than its cell, so that no paper shows between neighbours.
        let corners = hexagons::corners(cell.at, radius + 0.35)
            .map(|(x, y)| (x.clamp(p.frame.left, p.frame.right), y.clamp(p.frame.top, p.frame.bottom)));
        canvas.polygon(&corners, colour, 1.0)?;
    }
    Ok(())
}

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

fn draw_cells<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    x_edges: &[f64],
    y_edges: &[f64],
    values: &[Vec<f64>],
    print: bool,
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
            let colour = mean(row, source.clone(), bar).and_then(|v| bar.colour(v)).unwrap_or(style::MISSING);
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
        if print {
            print_cells(canvas, row, &columns, (top, bottom), bar)?;
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
    bar: &BarLayout<'_>,
) -> Result<(), FigureError> {
    let tallest = ((bottom - top) / LEADING).min(TICK - 0.5);
    for (left, right, source) in columns {
        let Some(&value) = row.get(source.start).filter(|_| source.len() == 1) else { continue };
        let Some(fill) = bar.colour(value) else { continue };
        let rounded = if value.abs() < 0.005 { 0.0 } else { value };
        let label = if value.abs() < 10.0 {
            format!("{rounded:.2}").replace('-', "−")
        } else {
            ticks::number(value)
        };
        let size = tallest.min((right - left - 3.0) / text::width(&label, 1.0, false));
        // Smaller print is not legible on paper.
        if size < 7.0 {
            continue;
        }
        let ink = if fill.lightness() < 0.62 { style::PAPER } else { style::INK };
        let at = ((left + right) / 2.0, (top + bottom) / 2.0 + 0.36 * size);
        canvas.text(&label, at, Font::new(size, ink), Anchor::Centre)?;
    }
    Ok(())
}

fn draw_bars<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    bars: &[Bar],
) -> Result<(), FigureError> {
    for bar in bars {
        let corners =
            p.pixel((bar.x - bar.width / 2.0, bar.from)).zip(p.pixel((bar.x + bar.width / 2.0, bar.to)));
        let Some((a, b)) = corners else { continue };
        let (left, right) = (a.0.clamp(p.frame.left, p.frame.right), b.0.clamp(p.frame.left, p.frame.right));
        let (y0, y1) = (a.1.clamp(p.frame.top, p.frame.bottom), b.1.clamp(p.frame.top, p.frame.bottom));
        canvas.rect(Rect { left, top: y0.min(y1), right, bottom: y0.max(y1) }, bar.colour)?;
        let baseline = if bar.to >= bar.from { y1 - 3.0 } else { y1 + TICK };
        canvas.text(
            &bar.label,
            ((left + right) / 2.0, baseline),
            Font::new(TICK - 1.0, style::INK),
            Anchor::Centre,
        )?;
    }
    // The zero line goes over the bars.
    if let Some(y) = line_height(p, 0.0) {
        canvas
            .polyline(&[(p.frame.left, y), (p.frame.right, y)], Stroke::solid(style::INK, style::HAIRLINE))?;
    }
    Ok(())
}
