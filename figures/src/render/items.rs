//! Panel contents.

use plotters::prelude::DrawingBackend;

use super::colour_bar::BarLayout;
use super::placed::Placed;
use super::{cells, hexagons};
use crate::canvas::{Anchor, Canvas, Font, Rect, clip};
use crate::colour::Colour;
use crate::error::FigureError;
use crate::model::{Bar, Fill, Item, Stroke};
use crate::style::{self, TICK};
use crate::text;

/// Lower and upper edge of a band at one x.
type Edges = ((f64, f64), (f64, f64));

/// Opacity of bands.
const BAND: f64 = 0.18;
/// Height of a lane at the foot of a panel.
const LANE: f64 = 5.0;

/// Everything in a panel's frame.
pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    colours: Option<&BarLayout<'_>>,
) -> Result<(), FigureError> {
    // Spans and bands first: none may veil the line of another arm.
    spans(canvas, p, |fill| if let Fill::Strip(wash, _) = fill { Some(Fill::Wash(wash)) } else { None })?;
    spans(canvas, p, |fill| (!matches!(fill, Fill::Strip(..)) && !lane_over_bars(p, fill)).then_some(fill))?;
    for item in &p.panel.items {
        if let Item::Line { band, stroke, .. } = item {
            draw_band(canvas, p, band, stroke.colour)?;
        }
    }
    for (index, item) in p.panel.items.iter().enumerate() {
        match item {
            Item::Line { points, stroke, .. } => {
                canvas.open_arm(stroke.colour, Some(stroke.dash))?;
                draw_line(canvas, p, points, *stroke)?;
                canvas.close_arm()?;
            }
            Item::Scatter { points, marker, colour, radius } => {
                canvas.open_arm(*colour, None)?;
                for at in points.iter().filter_map(|q| p.pixel(*q)).filter(|q| p.frame.contains(*q)) {
                    canvas.marker(at, *marker, *colour, *radius)?;
                }
                canvas.close_arm()?;
            }
            Item::Hexbin { radius, .. } => {
                draw_hexagons(canvas, p, index, radius.clamp(1.0, 100.0), colours)?
            }
            Item::Heatmap { x_edges, y_edges, values, print } => {
                cells::draw(canvas, p, (x_edges, y_edges), values, *print, colours)?;
            }
            Item::Bars { bars, lying } => draw_bars(canvas, p, bars, *lying)?,
            Item::Whiskers { points, stroke } => draw_whiskers(canvas, p, points, *stroke)?,
            Item::Span { .. } => {}
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
    // What another wash or a bar would hide goes over both.
    spans(canvas, p, |fill| (matches!(fill, Fill::Strip(..)) || lane_over_bars(p, fill)).then_some(fill))?;
    draw_line_labels(canvas, p)
}

/// Bars stand on the foot of the panel, where the lanes are.
fn lane_over_bars(p: &Placed<'_>, fill: Fill) -> bool {
    matches!(fill, Fill::HatchLane(..)) && p.panel.items.iter().any(|i| matches!(i, Item::Bars { .. }))
}

/// Draws the spans for which there is something to draw now.
fn spans<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    now: impl Fn(Fill) -> Option<Fill>,
) -> Result<(), FigureError> {
    for item in &p.panel.items {
        if let Item::Span { from, to, fill, .. } = item
            && let Some(fill) = now(*fill)
        {
            draw_span(canvas, p, (*from, *to), fill)?;
        }
    }
    Ok(())
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

fn draw_span<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    (from, to): (f64, f64),
    fill: Fill,
) -> Result<(), FigureError> {
    let place = |x: f64| {
        let t = p.ranges.x.position(x, p.panel.x.scale)?.clamp(0.0, 1.0);
        Some(p.frame.left + t * p.frame.width())
    };
    let Some((left, right)) = place(from).zip(place(to)).filter(|(a, b)| a < b) else { return Ok(()) };
    let whole = Rect { left, right, ..p.frame };
    match fill {
        Fill::Wash(colour) => canvas.rect(whole, colour),
        Fill::Strip(_, colour) => canvas.rect(Rect { bottom: whole.top + style::STRIP, ..whole }, colour),
        Fill::Hatch(colour) => canvas.hatch(whole, colour),
        Fill::HatchLane(colour, lane) => {
            let bottom = p.frame.bottom - lane as f64 * LANE;
            let lane = Rect { top: (bottom - LANE + 1.0).max(p.frame.top), bottom, ..whole };
            if lane_over_bars(p, fill) {
                canvas.rect(lane, style::PAPER)?;
            }
            canvas.hatch(lane, colour)
        }
    }
}

fn draw_whiskers<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    points: &[(f64, f64, f64)],
    stroke: Stroke,
) -> Result<(), FigureError> {
    const CAP: f64 = 2.0;
    for &(x, low, high) in points {
        let Some((a, b)) = p.pixel((x, low)).zip(p.pixel((x, high))) else { continue };
        let inside = |y: f64| y.clamp(p.frame.top, p.frame.bottom);
        let (x, low, high) = (a.0, inside(a.1), inside(b.1));
        if x < p.frame.left - 0.5 || x > p.frame.right + 0.5 {
            continue;
        }
        canvas.polyline(&[(x, low), (x, high)], stroke)?;
        canvas.polyline(&[(x - CAP, low), (x + CAP, low)], stroke)?;
        canvas.polyline(&[(x - CAP, high), (x + CAP, high)], stroke)?;
    }
    Ok(())
}

fn draw_bars<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    p: &Placed<'_>,
    bars: &[Bar],
    lying: bool,
) -> Result<(), FigureError> {
    let f = p.frame;
    let turned = |across: f64, along: f64| if lying { (along, across) } else { (across, along) };
    for bar in bars {
        let corners = p
            .pixel(turned(bar.x - bar.width / 2.0, bar.from))
            .zip(p.pixel(turned(bar.x + bar.width / 2.0, bar.to)));
        let Some((a, b)) = corners else { continue };
        let (xa, xb) = (a.0.clamp(f.left, f.right), b.0.clamp(f.left, f.right));
        let (ya, yb) = (a.1.clamp(f.top, f.bottom), b.1.clamp(f.top, f.bottom));
        let r = Rect { left: xa.min(xb), top: ya.min(yb), right: xa.max(xb), bottom: ya.max(yb) };
        canvas.open_arm(bar.colour, None)?;
        canvas.rect(r, bar.colour)?;
        canvas.close_arm()?;
        let font = Font::new(TICK, style::INK);
        if lying {
            // Beyond the bar's end, or on its other side where the frame ends.
            let room = text::width(&bar.label, TICK, text::Weight::Regular) + 4.0;
            let rightwards = (bar.to >= bar.from && r.right + room <= f.right) || r.left - room < f.left;
            let (x, anchor) =
                if rightwards { (r.right + 3.0, Anchor::Left) } else { (r.left - 3.0, Anchor::Right) };
            canvas.text(&bar.label, (x, (r.top + r.bottom) / 2.0 + 0.36 * TICK), font, anchor)?;
        } else {
            let baseline = if bar.to >= bar.from { r.top - 3.0 } else { r.bottom + TICK };
            canvas.text(&bar.label, ((r.left + r.right) / 2.0, baseline), font, Anchor::Centre)?;
        }
    }
    // The zero line goes over the bars.
    let ink = Stroke::solid(style::INK, style::HAIRLINE);
    if lying {
        if let Some(t) = p.ranges.x.position(0.0, p.panel.x.scale).filter(|t| (0.0..=1.0).contains(t)) {
            let x = f.left + t * f.width();
            canvas.polyline(&[(x, f.top), (x, f.bottom)], ink)?;
        }
    } else if let Some(y) = line_height(p, 0.0) {
        canvas.polyline(&[(f.left, y), (f.right, y)], ink)?;
    }
    Ok(())
}
