//! What has a place on the page. All lengths are CSS pixels, y downwards.

use super::hexagons::Hexagon;
use super::ranges::Ranges;
use super::ruler::Ruler;
use crate::canvas::{Font, Rect};
use crate::model::Panel;

/// A placed line of text.
#[derive(Clone, Debug)]
pub(super) struct TextLine {
    pub text: String,
    pub at: (f64, f64),
    pub font: Font,
}

/// One panel with its geometry.
pub(super) struct Placed<'f> {
    pub panel: &'f Panel,
    pub ranges: Ranges,
    pub has_data: bool,
    /// The data area.
    pub frame: Rect,
    pub x: Ruler,
    pub y: Ruler,
    pub show_x: bool,
    pub show_y: bool,
    /// Distance of the y label's baseline left of the frame.
    pub y_label_offset: f64,
    /// Title lines and note, one baseline each: (left text, right text).
    pub head: Vec<(String, String)>,
    /// Labels of vertical lines: (centre x, row, text, item index).
    pub line_labels: Vec<(f64, usize, String, usize)>,
    /// Rows of such labels in this row of panels: titles stand above all of them.
    pub label_rows: usize,
    /// Counted hexagons of each hexbin item, by item index.
    pub hexagons: Vec<(usize, Vec<Hexagon>)>,
}

impl Placed<'_> {
    /// The place of a data point, `None` if an axis has none for it.
    pub fn pixel(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let px = self.ranges.x.position(x, self.panel.x.scale)?;
        let py = self.ranges.y.position(y, self.panel.y.scale)?;
        Some((self.frame.left + px * self.frame.width(), self.frame.bottom - py * self.frame.height()))
    }
}
