//! Drawing primitives in CSS pixels on a plotters back end for vectors: filled polygons, dashed strokes, text on a baseline.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::colour::Colour;
use crate::error::FigureError;
use crate::groups::{CLOSE, opening};
use crate::model::{Dash, Marker, Stroke};
use crate::style;
use crate::text::Weight;

/// A rectangle in CSS pixels, y downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// Half a pixel of tolerance, so that points on the frame are inside.
    pub fn contains(&self, (x, y): (f64, f64)) -> bool {
        x >= self.left - 0.5 && x <= self.right + 0.5 && y >= self.top - 0.5 && y <= self.bottom + 0.5
    }
}

/// Horizontal anchor of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Centre,
    Right,
}

/// A back end with a scale: `scale` device units a CSS pixel.
pub(crate) struct Canvas<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    scale: f64,
}

impl<'a, DB: DrawingBackend> Canvas<'a, DB> {
    pub fn new(area: &'a DrawingArea<DB, Shift>, scale: f64) -> Self {
        Self { area, scale }
    }

    fn device(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn draw<E>(&self, element: &E) -> Result<(), FigureError>
    where
        for<'b> &'b E: plotters::element::PointCollection<'b, (i32, i32)>,
        E: plotters::element::Drawable<DB>,
    {
        self.area.draw(element).map_err(backend)
    }

    /// Fills a rectangle.
    pub fn rect(&self, r: Rect, colour: Colour) -> Result<(), FigureError> {
        let (a, b) = (self.device((r.left, r.top)), self.device((r.right, r.bottom)));
        self.draw(&Rectangle::new([a, b], rgb(colour).filled()))
    }

    /// Fills a rectangle with diagonal lines.
    pub fn hatch(&self, r: Rect, colour: Colour) -> Result<(), FigureError> {
        const GAP: f64 = 3.0;
        let ink = Stroke::solid(colour, 0.6);
        // Lines x - y = constant, at fixed places, so that neighbouring rectangles join.
        let first = ((r.left - r.bottom) / GAP).ceil() as i64;
        let last = ((r.right - r.top) / GAP).floor() as i64;
        for k in first..=last {
            let c = k as f64 * GAP;
            if let Some((a, b)) = clip((r.top + c, r.top), (r.bottom + c, r.bottom), r) {
                self.polyline(&[a, b], ink)?;
            }
        }
        Ok(())
    }

    /// Fills a polygon; `opacity` 1 is opaque.
    pub fn polygon(&self, points: &[(f64, f64)], colour: Colour, opacity: f64) -> Result<(), FigureError> {
        if points.len() < 3 {
            return Ok(());
        }
        let points: Vec<_> = points.iter().map(|p| self.device(*p)).collect();
        self.draw(&Polygon::new(points, rgb(colour).mix(opacity)))
    }

    /// Strokes a line through `points`.
    pub fn polyline(&self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), FigureError> {
        let pattern = stroke.dash.pattern();
        if pattern.is_empty() {
            return self.solid(points, stroke);
        }
        for piece in dashes(points, pattern) {
            self.solid(&piece, stroke)?;
        }
        Ok(())
    }

    fn solid(&self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), FigureError> {
        let mut device: Vec<(i32, i32)> = points.iter().map(|p| self.device(*p)).collect();
        device.dedup();
        if device.len() < 2 {
            return Ok(());
        }
        let width = (stroke.width * self.scale).round().max(1.0);
        let colour = rgb(stroke.colour);
        self.draw(&PathElement::new(device, colour.stroke_width(width as u32)))
    }

    /// Begins what belongs to an arm: its colour, and its dash where the mark has one.
    pub fn open_arm(&self, colour: Colour, dash: Option<Dash>) -> Result<(), FigureError> {
        self.sign(&opening(colour, dash))
    }

    /// Ends it.
    pub fn close_arm(&self) -> Result<(), FigureError> {
        self.sign(CLOSE)
    }

    /// A text that the writer of the document replaces.
    fn sign(&self, text: &str) -> Result<(), FigureError> {
        let style = TextStyle::from((style::FONT, 1.0).into_font());
        self.area.draw_text(text, &style, (0, 0)).map_err(backend)
    }

    /// Draws one marker of the given radius.
    pub fn marker(
        &self,
        at: (f64, f64),
        marker: Marker,
        colour: Colour,
        radius: f64,
    ) -> Result<(), FigureError> {
        let diamond = |r: f64| [(at.0, at.1 - r), (at.0 + r, at.1), (at.0, at.1 + r), (at.0 - r, at.1)];
        match marker {
            Marker::Circle => {
                let r = (radius * self.scale).round().max(1.0) as i32;
                self.draw(&Circle::new(self.device(at), r, rgb(colour).filled()))
            }
            Marker::HollowDiamond => {
                self.polygon(&diamond(radius * 1.25), colour, 1.0)?;
                self.polygon(&diamond(radius * 0.72), style::PAPER, 1.0)
            }
        }
    }

    /// Writes one line of text with its baseline at `at`.
    pub fn text(&self, text: &str, at: (f64, f64), font: Font, anchor: Anchor) -> Result<(), FigureError> {
        self.place_text(text, at, font, anchor, FontTransform::None)
    }

    /// Writes upwards, the baseline on the line x = `at.0`, centred at `at.1`.
    pub fn text_up(&self, text: &str, at: (f64, f64), font: Font) -> Result<(), FigureError> {
        self.place_text(text, at, font, Anchor::Centre, FontTransform::Rotate270)
    }

    fn place_text(
        &self,
        text: &str,
        at: (f64, f64),
        font: Font,
        anchor: Anchor,
        turn: FontTransform,
    ) -> Result<(), FigureError> {
        if text.is_empty() {
            return Ok(());
        }
        // The SVG writer anchors at a "top" 0.76 em above the baseline, and its em is size / 1.24.
        let (size, rise) = (font.em * 1.24, 0.76 * font.em);
        let top = match turn {
            FontTransform::Rotate270 => (at.0 - rise, at.1),
            _ => (at.0, at.1 - rise),
        };
        let pos = Pos::new(
            match anchor {
                Anchor::Left => HPos::Left,
                Anchor::Centre => HPos::Center,
                Anchor::Right => HPos::Right,
            },
            VPos::Top,
        );
        let colour = rgb(font.colour);
        let style = TextStyle::from(
            (style::FONT, size * self.scale, font.weight.style()).into_font().transform(turn),
        )
        .color(&colour)
        .pos(pos);
        self.area.draw_text(text, &style, self.device(top)).map_err(backend)
    }
}

/// Size, weight and colour of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Font {
    pub em: f64,
    pub weight: Weight,
    pub colour: Colour,
}

impl Font {
    pub fn new(em: f64, colour: Colour) -> Self {
        Self { em, weight: Weight::Regular, colour }
    }

    pub fn bold(em: f64, colour: Colour) -> Self {
        Self { em, weight: Weight::Bold, colour }
    }
}

fn rgb(c: Colour) -> RGBColor {
    RGBColor(c.r, c.g, c.b)
}

pub(crate) fn backend<E: std::fmt::Display>(e: E) -> FigureError {
    FigureError::Backend(e.to_string())
}

/// Cuts a line into the "on" pieces of a dash pattern.
fn dashes(points: &[(f64, f64)], pattern: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    let (mut index, mut left) = (0, pattern[0]);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        let mut length = (to.0 - from.0).hypot(to.1 - from.1);
        while length > left {
            let f = left / length;
            from = (from.0 + (to.0 - from.0) * f, from.1 + (to.1 - from.1) * f);
            length -= left;
            if index % 2 == 0 {
                piece.push(from);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![from];
            }
            index = (index + 1) % pattern.len();
            left = pattern[index];
        }
        left -= length;
        if index % 2 == 0 {
            piece.push(to);
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

/// The part of the segment a-b inside `r`, or `None`.
pub(crate) fn clip(a: (f64, f64), b: (f64, f64), r: Rect) -> Option<((f64, f64), (f64, f64))> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut t0, mut t1) = (0.0f64, 1.0f64);
    for (p, q) in [(-dx, a.0 - r.left), (dx, r.right - a.0), (-dy, a.1 - r.top), (dy, r.bottom - a.1)] {
        if p == 0.0 {
            if q < 0.0 {
                return None;
            }
        } else if p < 0.0 {
            t0 = t0.max(q / p);
        } else {
            t1 = t1.min(q / p);
        }
    }
    (t0 <= t1).then_some(((a.0 + t0 * dx, a.1 + t0 * dy), (a.0 + t1 * dx, a.1 + t1 * dy)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Rect = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 8.0 };

    #[test]
    fn clipping_cuts_at_the_frame() {
        assert_eq!(clip((-5.0, 4.0), (15.0, 4.0), FRAME), Some(((0.0, 4.0), (10.0, 4.0))));
        assert_eq!(clip((1.0, 1.0), (2.0, 2.0), FRAME), Some(((1.0, 1.0), (2.0, 2.0))));
        assert_eq!(clip((-1.0, 9.0), (11.0, 9.0), FRAME), None);
        assert_eq!(clip((-3.0, 2.0), (2.0, -3.0), FRAME), None);
    }

    proptest! {
        #[test]
        fn dashes_cover_the_share_of_the_pattern(
            points in proptest::collection::vec((0.0..300.0f64, 0.0..300.0f64), 2..20),
        ) {
            let total: f64 = points.windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).sum();
            let pattern = [5.0, 2.5];
            let on: f64 = dashes(&points, &pattern)
                .iter()
                .flat_map(|d| d.windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).collect::<Vec<_>>())
                .sum();
            // Whole periods are exactly two thirds on; the last, unfinished one is on for at most 5.
            let whole = (total / 7.5).floor();
            prop_assert!(on >= whole * 5.0 - 1e-6 && on <= whole * 5.0 + 5.0 + 1e-6, "{on} of {total}");
        }

        #[test]
        fn clipped_segments_stay_inside_and_on_the_line(
            a in (-20.0..30.0f64, -20.0..30.0f64), b in (-20.0..30.0f64, -20.0..30.0f64), t in 0.0..1.0f64,
        ) {
            let at = |t: f64| (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
            let inside = |p: (f64, f64)| p.0 >= 0.0 && p.0 <= 10.0 && p.1 >= 0.0 && p.1 <= 8.0;
            match clip(a, b, FRAME) {
                None => prop_assert!(!inside(at(t))),
                Some((p, q)) => {
                    for e in [p, q] {
                        prop_assert!(FRAME.contains(e));
                        let cross = (e.0 - a.0) * (b.1 - a.1) - (e.1 - a.1) * (b.0 - a.0);
                        prop_assert!(cross.abs() < 1e-6, "{cross}");
                    }
                }
            }
        }
    }
}
