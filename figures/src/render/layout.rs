//! Where everything goes. All lengths are CSS pixels, y downwards.

use super::colour_bar::{self, BarLayout};
use super::hexagons::{self, Hexagon};
use super::legend::{self, LegendPlace};
use super::placed::{Placed, TextLine};
use super::ranges::{self, Ranges};
use super::ruler::{self, Ruler};
use crate::canvas::{Font, Rect};
use crate::model::{Drawing, Item, Panel};
use crate::style::{self, LABEL, LEADING, MARGIN, TICK, TITLE, Width};
use crate::text;

/// A figure, laid out.
pub(crate) struct Layout<'f> {
    pub(super) heading: Vec<TextLine>,
    pub(super) legend: Vec<LegendPlace<'f>>,
    pub(super) panels: Vec<Placed<'f>>,
    pub(super) colours: Option<BarLayout<'f>>,
    width: Width,
    height: f64,
}

const COLUMN_GAP: f64 = 16.0;
const ROW_GAP: f64 = 10.0;
/// Room right of the last panel for half a tick label.
const OVERHANG: f64 = 10.0;

impl<'f> Layout<'f> {
    /// Width and height in CSS pixels.
    pub fn size(&self) -> (f64, f64) {
        (self.width.pixels(), self.height.ceil())
    }

    /// Lays out `figure` at a width.
    pub fn of(figure: &'f Drawing, page: Width) -> Self {
        let width = page.pixels();
        let mut y = MARGIN;
        let mut heading = Vec::new();
        let lines = [
            (&figure.title, Font::bold(TITLE, style::INK)),
            (&figure.subtitle, Font::new(TICK, style::FAINT_INK)),
        ];
        for (sentence, font) in lines {
            for line in text::wrap(sentence, font.em, font.weight, width - 2.0 * MARGIN) {
                y += font.em * LEADING;
                heading.push(TextLine { text: line, at: (MARGIN, y - 0.25 * font.em), font });
            }
        }
        y += 4.0;
        let (legend, below) = legend::place(&figure.legend, y, width);
        y = below + 4.0;

        let ranges = ranges::resolve(figure);
        let bar_width = figure.colours.as_ref().map_or(0.0, |c| colour_bar::width(c, figure));
        let right = width - MARGIN - bar_width;
        let (mut panels, height) = place_panels(figure, &ranges, y, right);
        for placed in &mut panels {
            placed.hexagons = count_hexagons(placed);
        }
        let colours = figure.colours.as_ref().map(|scale| {
            let top = panels.iter().map(|p| p.frame.top).fold(f64::INFINITY, f64::min);
            let bottom = panels.iter().map(|p| p.frame.bottom).fold(0.0, f64::max);
            let span = if top < bottom { (top, bottom) } else { (y, y + 100.0) };
            colour_bar::place(scale, figure, &panels, right, span)
        });
        let height = if panels.is_empty() { y + 110.0 } else { height };
        Self { heading, legend, panels, colours, width: page, height: height + MARGIN }
    }
}

/// Margins of the columns of panels.
struct Columns {
    /// Room for tick labels and for the axis label, left of each column.
    lefts: Vec<(f64, f64)>,
    /// Room right of each column.
    rights: Vec<f64>,
    /// Width of every data area.
    width: f64,
}

/// Whether panel `i` of a figure with so many columns shows its vertical labels.
fn shows_y(figure: &Drawing, columns: usize, i: usize) -> bool {
    !figure.share_y || i.is_multiple_of(columns)
}

/// Whether panel `i` shows its horizontal labels.
fn shows_x(figure: &Drawing, columns: usize, i: usize) -> bool {
    !figure.share_x || i + columns >= figure.panels.len()
}

fn measure(figure: &Drawing, rulers: &[Ruler], columns: usize, right: f64) -> Columns {
    let n = figure.panels.len();
    let show_y = |i: usize| shows_y(figure, columns, i);
    let tick_room = |i: usize| if show_y(i) { rulers[i].widest() + style::TICK_LENGTH + 4.0 } else { 4.0 };
    let label_room =
        |i: usize| if show_y(i) && !figure.panels[i].y.label.is_empty() { LABEL * LEADING } else { 0.0 };
    let of_column = |c: usize, f: &dyn Fn(usize) -> f64| (c..n).step_by(columns).map(f).fold(0.0, f64::max);
    let lefts: Vec<(f64, f64)> =
        (0..columns).map(|c| (of_column(c, &tick_room), of_column(c, &label_room))).collect();
    let least = |c: usize| if c + 1 == columns { OVERHANG } else { 2.0 };
    let rights: Vec<f64> =
        (0..columns).map(|c| of_column(c, &|i| line_label_width(&figure.panels[i])).max(least(c))).collect();
    let taken: f64 = lefts.iter().map(|l| l.0 + l.1).sum::<f64>() + rights.iter().sum::<f64>();
    let free = right - MARGIN - taken - COLUMN_GAP * (columns - 1) as f64;
    Columns { lefts, rights, width: (free / columns as f64).max(30.0) }
}

fn place_panels<'f>(figure: &'f Drawing, ranges: &[Ranges], top: f64, right: f64) -> (Vec<Placed<'f>>, f64) {
    let n = figure.panels.len();
    let height = figure.panel_height.clamp(40.0, 2000.0);
    let rulers: Vec<Ruler> = figure
        .panels
        .iter()
        .zip(ranges)
        .map(|(p, r)| ruler::vertical(&p.y, r.y, height, r.has_data))
        .collect();
    // As many columns as asked for, or as leave the panels wide enough.
    let mut columns = figure.columns.clamp(1, n.max(1));
    let mut sides = measure(figure, &rulers, columns, right);
    while columns > 1 && sides.width < figure.min_panel {
        columns -= 1;
        sides = measure(figure, &rulers, columns, right);
    }
    let rows = n.div_ceil(columns);
    let Columns { lefts, rights, width } = sides;
    let show_y = |i: usize| shows_y(figure, columns, i);
    let show_x = |i: usize| shows_x(figure, columns, i);
    let notes_below = figure.panels.iter().any(|p| !note_fits(p, width));
    let mut panels: Vec<Placed<'f>> = Vec::with_capacity(n);
    let mut y = top;
    for row in 0..rows {
        let members = row * columns..((row + 1) * columns).min(n);
        let mut x = MARGIN;
        let (mut title_room, mut label_room) = (0.0f64, 0.0f64);
        let mut foot_room = 0.0f64;
        let start = panels.len();
        for i in members {
            let (panel, r, c) = (&figure.panels[i], ranges[i], i % columns);
            let left = x + lefts[c].0 + lefts[c].1;
            let frame = Rect { left, top: 0.0, right: left + width, bottom: height };
            x = left + width + rights[c] + COLUMN_GAP;
            let head = head_lines(panel, width, notes_below);
            let line_labels = place_line_labels(panel, r, frame, left - lefts[c].0, left + width + rights[c]);
            let label_rows = line_labels.iter().map(|l| l.1 + 1).max().unwrap_or(0);
            title_room = title_room.max(head.len() as f64 * LABEL * LEADING);
            label_room = label_room.max(label_rows as f64 * TICK * LEADING);
            let feet = TICK * LEADING + style::TICK_LENGTH + 2.0;
            let label = if panel.x.label.is_empty() { 0.0 } else { LABEL * LEADING };
            foot_room = foot_room.max(if show_x(i) { feet + label } else { 4.0 });
            panels.push(Placed {
                panel,
                ranges: r,
                has_data: r.has_data,
                frame,
                x: ruler::horizontal(&panel.x, r.x, frame.left, width, r.has_data),
                y: rulers[i].clone(),
                show_x: show_x(i),
                show_y: show_y(i),
                y_label_offset: lefts[c].0 + 4.0,
                head,
                line_labels,
                label_rows,
                hexagons: Vec::new(),
            });
        }
        y += title_room + label_room + 3.0;
        let label_rows = panels[start..].iter().map(|p| p.label_rows).max().unwrap_or(0);
        for placed in &mut panels[start..] {
            placed.label_rows = label_rows;
            placed.frame.top = y;
            placed.frame.bottom = y + height;
            placed.y.shift(y);
        }
        y += height + foot_room + if row + 1 < rows { ROW_GAP } else { 0.0 };
    }
    (panels, y)
}

/// Whether the note fits beside the title on one line.
fn note_fits(panel: &Panel, width: f64) -> bool {
    panel.note.is_empty()
        || text::width(&panel.title, LABEL, text::Weight::Bold)
            + text::width(&panel.note, TICK, text::Weight::Regular)
            + 10.0
            <= width
}

/// Title lines, with the note at the right of the last one or below.
fn head_lines(panel: &Panel, width: f64, note_below: bool) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = text::wrap(&panel.title, LABEL, text::Weight::Bold, width)
        .into_iter()
        .map(|l| (l, String::new()))
        .collect();
    match lines.last_mut() {
        Some(last) if !note_below => last.1 = panel.note.clone(),
        _ => lines.extend(
            text::wrap(&panel.note, TICK, text::Weight::Regular, width)
                .into_iter()
                .map(|l| (String::new(), l)),
        ),
    }
    lines
}

fn line_label_width(panel: &Panel) -> f64 {
    panel
        .items
        .iter()
        .map(|item| match item {
            Item::HLine { label, .. } if !label.is_empty() => {
                text::width(label, TICK, text::Weight::Regular) + 6.0
            }
            _ => 0.0,
        })
        .fold(0.0, f64::max)
}

/// Puts the labels of vertical lines and of spans above the axes, in as many rows as they need.
fn place_line_labels(
    panel: &Panel,
    r: Ranges,
    frame: Rect,
    left: f64,
    right: f64,
) -> Vec<(f64, usize, String, usize)> {
    let mut labels: Vec<(f64, String, usize)> = panel
        .items
        .iter()
        .enumerate()
        .filter_map(|(i, item)| match item {
            Item::VLine { x, label, .. } if !label.is_empty() => {
                let p = r.x.position(*x, panel.x.scale).filter(|p| (0.0..=1.0).contains(p))?;
                Some((frame.left + p * frame.width(), label.clone(), i))
            }
            Item::Span { from, to, label, .. } if !label.is_empty() => {
                let end = |x: f64| Some(r.x.position(x, panel.x.scale)?.clamp(0.0, 1.0));
                let (a, b) = (end(*from)?, end(*to)?);
                (a < b).then(|| (frame.left + (a + b) / 2.0 * frame.width(), label.clone(), i))
            }
            _ => None,
        })
        .collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ends: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for (x, label, i) in labels {
        let label = text::shorten(&label, TICK, text::Weight::Regular, right - left);
        let half = text::width(&label, TICK, text::Weight::Regular) / 2.0;
        let centre = x.clamp(left + half, (right - half).max(left + half));
        let row = ends.iter().position(|end| *end + 8.0 <= centre - half).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(0.0);
        }
        ends[row] = centre + half;
        placed.push((centre, row, label, i));
    }
    placed
}

fn count_hexagons(placed: &Placed<'_>) -> Vec<(usize, Vec<Hexagon>)> {
    let mut out = Vec::new();
    for (i, item) in placed.panel.items.iter().enumerate() {
        if let Item::Hexbin { points, radius } = item {
            let pixels: Vec<(f64, f64)> = points.iter().filter_map(|p| placed.pixel(*p)).collect();
            out.push((i, hexagons::count(&pixels, placed.frame, radius.clamp(1.0, 100.0))));
        }
    }
    out
}
