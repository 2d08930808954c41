//! The figure model: what is to be drawn, without a word about how. Units of length are CSS pixels.

pub use crate::bars::{Bar, stacked_bars};
use crate::colour::{Colour, ColourMap};
use crate::scale::Scale;

/// What is drawn: panels in rows and columns under a title and a legend, perhaps with one shared colour bar.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Sentence above everything; wrapped, never clipped.
    pub title: String,
    /// Smaller line under the title, empty for none.
    pub subtitle: String,
    /// Panels, row by row.
    pub panels: Vec<Panel>,
    /// Panels in a row, at least 1; fewer where they would be narrower than `min_panel`.
    pub columns: usize,
    /// Narrowest data area of a panel, CSS pixels.
    pub min_panel: f64,
    /// Height of each panel's data area, CSS pixels.
    pub panel_height: f64,
    /// Legend entries; drawn above the panels, so that no data are covered.
    pub legend: Vec<LegendEntry>,
    /// The colour scale shared by all heat maps and hexagons, drawn as a bar at the right.
    pub colours: Option<ColourScale>,
    /// All panels share the x range; only the lowest panel of a column is labelled.
    pub share_x: bool,
    /// All panels share the y range; only the first panel of a row is labelled.
    pub share_y: bool,
}

impl Drawing {
    /// A drawing without panels.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            panels: Vec::new(),
            columns: 1,
            min_panel: 80.0,
            panel_height: 170.0,
            legend: Vec::new(),
            colours: None,
            share_x: false,
            share_y: false,
        }
    }
}

/// One set of axes.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Bold title above the axes, empty for none.
    pub title: String,
    /// Plain text at the right of the title (a correlation, a count), empty for none.
    pub note: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Contents, drawn in order.
    pub items: Vec<Item>,
}

impl Panel {
    /// An empty panel.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), note: String::new(), x, y, items: Vec::new() }
    }
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Label with its unit.
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
    /// Fixed range; `None` takes it from the data.
    pub range: Option<(f64, f64)>,
    /// No padding between the data and the frame.
    pub tight: bool,
    /// Names for the positions 0, 1, ..., in place of numbers.
    pub categories: Option<Vec<String>>,
    /// Grid lines at the ticks.
    pub grid: bool,
}

impl Axis {
    /// A numeric axis whose range comes from the data.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale, range: None, tight: false, categories: None, grid: true }
    }

    /// An axis of named positions 0..n.
    pub fn categories(label: impl Into<String>, names: Vec<String>) -> Self {
        let n = names.len().max(1) as f64;
        Self {
            label: label.into(),
            scale: Scale::Linear,
            range: Some((-0.5, n - 0.5)),
            tight: true,
            categories: Some(names),
            grid: false,
        }
    }

    /// The same axis without padding.
    pub fn tight(mut self) -> Self {
        self.tight = true;
        self
    }
}

/// How a line is dashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dash {
    /// Unbroken.
    Solid,
    /// Short dashes.
    Dashed,
    /// Dots.
    Dotted,
    /// Dash, dot.
    DashDot,
}

impl Dash {
    /// Lengths on, off, on, off, ... in CSS pixels; empty when solid.
    pub fn pattern(self) -> &'static [f64] {
        match self {
            Dash::Solid => &[],
            Dash::Dashed => &[5.0, 2.6],
            Dash::Dotted => &[1.5, 2.0],
            Dash::DashDot => &[6.0, 2.2, 1.5, 2.2],
        }
    }
}

/// A line's ink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Colour.
    pub colour: Colour,
    /// Width, CSS pixels.
    pub width: f64,
    /// Dash.
    pub dash: Dash,
}

impl Stroke {
    /// A solid line.
    pub fn solid(colour: Colour, width: f64) -> Self {
        Self { colour, width, dash: Dash::Solid }
    }
}

/// Marker shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Marker {
    /// Filled circle.
    Circle,
    /// White diamond with a dark rim.
    HollowDiamond,
}

/// What a panel can hold. Points with a NaN or infinite coordinate are skipped and break lines.
#[derive(Clone, Debug)]
pub enum Item {
    /// A line through `points`, perhaps with a shaded `band` of (x, low, high).
    Line {
        /// (x, y) in data units.
        points: Vec<(f64, f64)>,
        /// Ink.
        stroke: Stroke,
        /// (x, low, high) in data units; empty for none.
        band: Vec<(f64, f64, f64)>,
    },
    /// Markers.
    Scatter {
        /// (x, y) in data units.
        points: Vec<(f64, f64)>,
        /// Shape.
        marker: Marker,
        /// Colour.
        colour: Colour,
        /// Radius, CSS pixels.
        radius: f64,
    },
    /// Point density in hexagons; coloured by [`Drawing::colours`].
    Hexbin {
        /// (x, y) in data units.
        points: Vec<(f64, f64)>,
        /// Hexagon radius, CSS pixels.
        radius: f64,
    },
    /// A grid of cells; coloured by [`Drawing::colours`].
    Heatmap {
        /// Column borders, ascending, n + 1 of them.
        x_edges: Vec<f64>,
        /// Row borders, ascending, m + 1 of them.
        y_edges: Vec<f64>,
        /// `values[row][column]`, m rows of n; NaN leaves the cell pale grey, an infinite value dark grey.
        values: Vec<Vec<f64>>,
        /// Print each value in its cell, with so many decimals.
        print: Option<usize>,
    },
    /// Bars: upright ones at places along x, or lying ones at places along y.
    Bars {
        /// The bars.
        bars: Vec<Bar>,
        /// Whether they lie: `from` and `to` are then on the x axis.
        lying: bool,
    },
    /// Vertical error bars.
    Whiskers {
        /// (x, low, high) in data units.
        points: Vec<(f64, f64, f64)>,
        /// Ink.
        stroke: Stroke,
    },
    /// A stretch of the x axis, marked behind the data; it never widens the axis.
    Span {
        /// Left end in data units.
        from: f64,
        /// Right end in data units.
        to: f64,
        /// How it is marked.
        fill: Fill,
        /// Label above the axes, empty for none.
        label: String,
    },
    /// A vertical marker line, labelled above the axes.
    VLine {
        /// Position in data units.
        x: f64,
        /// Label, empty for none.
        label: String,
        /// Ink.
        stroke: Stroke,
    },
    /// A horizontal marker line, labelled at the right of the axes.
    HLine {
        /// Position in data units.
        y: f64,
        /// Label, empty for none.
        label: String,
        /// Ink.
        stroke: Stroke,
    },
}

/// How a [`Item::Span`] is marked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// A pale wash over the panel's whole height.
    Wash(Colour),
    /// A pale wash under a strip of another colour at the head of the panel, which no other wash hides.
    Strip(Colour, Colour),
    /// Diagonal lines over the panel's whole height.
    Hatch(Colour),
    /// Diagonal lines in a narrow lane at the foot of the panel; lanes are counted from the foot.
    HatchLane(Colour, usize),
}

/// A shared colour scale.
#[derive(Clone, Debug)]
pub struct ColourScale {
    /// Label of the bar, with unit.
    pub label: String,
    /// The map.
    pub map: ColourMap,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Fixed range; `None` takes it from the cells (symmetric about 0 for the diverging map).
    pub range: Option<(f64, f64)>,
    /// Part of the map in use, 1 for all of it.
    pub span: f64,
    /// The bar counts whole numbers 0..n (layers): one flat patch each.
    pub discrete: Option<usize>,
}

/// One legend entry.
#[derive(Clone, Debug)]
pub struct LegendEntry {
    /// Text.
    pub label: String,
    /// Sample.
    pub key: LegendKey,
}

impl LegendEntry {
    /// An entry with a line sample.
    pub fn line(label: impl Into<String>, stroke: Stroke) -> Self {
        Self { label: label.into(), key: LegendKey::Line(stroke) }
    }

    /// An entry with a colour patch.
    pub fn patch(label: impl Into<String>, colour: Colour) -> Self {
        Self { label: label.into(), key: LegendKey::Patch(colour) }
    }

    /// An entry with a patch of `wash` under a strip.
    pub fn strip(label: impl Into<String>, wash: Colour, strip: Colour) -> Self {
        Self { label: label.into(), key: LegendKey::Strip(wash, strip) }
    }

    /// An entry with a hatched patch.
    pub fn hatch(label: impl Into<String>, colour: Colour) -> Self {
        Self { label: label.into(), key: LegendKey::Hatch(colour) }
    }

    /// An entry with a marker.
    pub fn marker(label: impl Into<String>, marker: Marker, colour: Colour) -> Self {
        Self { label: label.into(), key: LegendKey::Marker(marker, colour) }
    }
}

/// A legend sample.
#[derive(Clone, Copy, Debug)]
pub enum LegendKey {
    /// A stretch of line.
    Line(Stroke),
    /// A filled square.
    Patch(Colour),
    /// A hatched square.
    Hatch(Colour),
    /// A square of the first colour under a strip of the second.
    Strip(Colour, Colour),
    /// A marker.
    Marker(Marker, Colour),
}
