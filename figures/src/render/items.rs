//! Panel contents.

use plotters::prelude::DrawingBackend;

use super::layout::Placed;
use super::legend::BarLayout;
use super::{cells, hexagons};
use crate::canvas::{Anchor, Canvas, Font, Rect, clip};
use crate::colour::Colour;
use crate::error::FigureError;
use crate::model::{Bar, Item, Stroke};
use crate::style::{self, TICK};

/// Lower and upper edge of a band at one x.
type Edges = ((f64, f64), (f64, f64));

/// Opacity of bands.
const BAND: f64 = 0.18;
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
                cells::draw(canvas, p, x_edges, y_edges, values, *print, colours)?;
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
    let edges: Vec<Option<Edges>> = band
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
