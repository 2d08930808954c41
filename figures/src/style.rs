//! Everything that decides how figures look: sizes, fonts, inks. Colours and dashes of arms are in `arms`.

use crate::colour::{Colour, ColourMap};

/// How wide a figure is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Width {
    /// One column of a two-column page: 84 mm.
    Column,
    /// The whole text width of a page: 174 mm.
    #[default]
    Page,
}

impl Width {
    /// In millimetres.
    pub const fn millimetres(self) -> f64 {
        match self {
            Self::Column => 84.0,
            Self::Page => 174.0,
        }
    }

    /// In CSS pixels, 96 an inch.
    pub const fn pixels(self) -> f64 {
        self.millimetres() * 96.0 / 25.4
    }
}

/// PNG pixels a CSS pixel: 288 an inch.
pub const PNG_SCALE: u32 = 3;
/// Margin around the whole figure.
pub const MARGIN: f64 = 4.0;
/// Smallest font size (em, CSS pixels) that is printed: 7 points.
pub const SMALLEST_TEXT: f64 = 7.0 * 96.0 / 72.0;
/// Font size of the figure title.
pub const TITLE: f64 = 11.5;
/// Font size of panel titles and axis labels.
pub const LABEL: f64 = 10.0;
/// Font size of tick labels, legends and notes.
pub const TICK: f64 = 9.4;
/// Line height as a multiple of the font size.
pub const LEADING: f64 = 1.3;
/// Width of a data line.
pub const LINE: f64 = 1.4;
/// Width of axes and tick marks.
pub const HAIRLINE: f64 = 0.75;
/// Length of a tick mark.
pub const TICK_LENGTH: f64 = 3.5;

/// Height of the strip over a wash.
pub const STRIP: f64 = 3.0;

/// The family name: the bundled font first, then what an SVG viewer may have.
pub const FONT: &str = "DejaVu Sans, Verdana, sans-serif";

/// Text and axes.
pub const INK: Colour = Colour::hex(0x222222);
/// Notes and secondary text.
pub const FAINT_INK: Colour = Colour::hex(0x5A5A5A);
/// Grid lines.
pub const GRID: Colour = Colour::hex(0xE6E6E6);
/// Paper.
pub const PAPER: Colour = Colour::hex(0xFFFFFF);
/// Cells without a value.
pub const MISSING: Colour = Colour::hex(0xEDEDED);
/// Cells of runs that diverged.
pub const DIVERGED: Colour = Colour::hex(0xB4B4B4);
/// Reference lines: thresholds, floors, identity, bounds.
pub const REFERENCE: Colour = Colour::hex(0x555555);

/// Colours of the parts of growth and of its factors, the same in every figure; their lightness differs too.
pub mod parts {
    use super::Colour;
    /// Query weights.
    pub const QUERY: Colour = Colour::hex(0x2A2A72);
    /// Key weights.
    pub const KEY: Colour = Colour::hex(0x5AB4DC);
    /// Features.
    pub const FEATURES: Colour = Colour::hex(0xC8553D);
    /// Step size eta.
    pub const STEP_SIZE: Colour = Colour::hex(0x2A2A72);
    /// Update geometry u.
    pub const UPDATE: Colour = Colour::hex(0x5AB4DC);
    /// Residual energy e.
    pub const ENERGY: Colour = Colour::hex(0x1B7A5A);
    /// Coherence c0.
    pub const COHERENCE: Colour = Colour::hex(0xE3B23C);
    /// Starting spread.
    pub const START: Colour = Colour::hex(0x9A9A9A);
}

/// Line colour of layer `layer` of `layers`: the sequential map without its palest end, which is lost on paper.
pub fn layer_colour(layer: usize, layers: usize) -> Colour {
    let t = if layers > 1 { layer as f64 / (layers - 1) as f64 } else { 0.0 };
    ColourMap::Sequential.at(t * LAYER_SPAN)
}

/// The part of the sequential map that layers use.
pub const LAYER_SPAN: f64 = 0.86;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_smaller_than_seven_points() {
        for size in [TITLE, LABEL, TICK] {
            assert!(size >= SMALLEST_TEXT, "{size} is below {SMALLEST_TEXT}");
        }
    }

    #[test]
    fn layer_colours_darken_downwards() {
        let l: Vec<f64> = (0..12).map(|i| layer_colour(i, 12).lightness()).collect();
        assert!(l.windows(2).all(|w| w[1] > w[0]));
        assert!(l[11] < 0.85);
    }
}
