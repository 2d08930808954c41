//! Everything that decides how figures look: sizes, fonts, inks, and the fixed colour and dash of every arm.

use crate::colour::{Colour, ColourMap};
use crate::model::{Dash, Stroke};

/// Figure width in CSS pixels: 7 inches at 96 pixels an inch.
pub const WIDTH: f64 = 672.0;
/// PNG pixels a CSS pixel.
pub const PNG_SCALE: u32 = 2;
/// Margin around the whole figure.
pub const MARGIN: f64 = 8.0;
/// Font size (em, CSS pixels) of the figure title.
pub const TITLE: f64 = 13.0;
/// Font size of panel titles and axis labels.
pub const LABEL: f64 = 11.0;
/// Font size of tick labels, legends and notes.
pub const TICK: f64 = 10.0;
/// Line height as a multiple of the font size.
pub const LEADING: f64 = 1.3;
/// Width of a data line.
pub const LINE: f64 = 1.4;
/// Width of axes and tick marks.
pub const HAIRLINE: f64 = 0.75;
/// Length of a tick mark.
pub const TICK_LENGTH: f64 = 3.5;

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
/// Reference lines: thresholds, floors, identity, bounds.
pub const REFERENCE: Colour = Colour::hex(0x555555);

/// The eight colours of Okabe and Ito, told apart under every common colour blindness.
pub mod okabe_ito {
    use super::Colour;
    /// Black.
    pub const BLACK: Colour = Colour::hex(0x000000);
    /// Orange.
    pub const ORANGE: Colour = Colour::hex(0xE69F00);
    /// Sky blue.
    pub const SKY: Colour = Colour::hex(0x56B4E9);
    /// Bluish green.
    pub const GREEN: Colour = Colour::hex(0x009E73);
    /// Yellow; too pale for lines on paper, used for areas only.
    pub const YELLOW: Colour = Colour::hex(0xF0E442);
    /// Blue.
    pub const BLUE: Colour = Colour::hex(0x0072B2);
    /// Vermilion.
    pub const VERMILION: Colour = Colour::hex(0xD55E00);
    /// Reddish purple.
    pub const PURPLE: Colour = Colour::hex(0xCC79A7);
}

use okabe_ito::{BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION};

/// Colour and dash of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmStyle {
    /// Line, bar or marker colour.
    pub colour: Colour,
    /// Dash, where the figure does not use the dash for something else.
    pub dash: Dash,
}

impl ArmStyle {
    /// A data line in this style.
    pub fn stroke(self) -> Stroke {
        Stroke { colour: self.colour, width: LINE, dash: self.dash }
    }
}

const KNOWN: [(&str, Colour, Dash); 10] = [
    ("gpt", BLUE, Dash::Solid),
    ("gpt+slow-qk", SKY, Dash::Dashed),
    ("llama", VERMILION, Dash::Solid),
    ("llama+slow-qk", ORANGE, Dash::Dashed),
    ("gpt+geglu", GREEN, Dash::Solid),
    ("gpt+swiglu", PURPLE, Dash::Solid),
    ("gpt+rmsnorm", BLACK, Dash::Dotted),
    ("gpt-nobias", Colour::hex(0x8A8A8A), Dash::Solid),
    ("gpt+rope", Colour::hex(0x9A8B00), Dash::DashDot),
    ("llama-ungated", Colour::hex(0x7A3B1D), Dash::DashDot),
];

/// Colours for arms that are not known, taken in order; the dash changes at every round.
const SPARE: [Colour; 8] = [
    Colour::hex(0x332288),
    Colour::hex(0x44AA99),
    Colour::hex(0x882255),
    Colour::hex(0x999933),
    Colour::hex(0xAA4499),
    Colour::hex(0x117733),
    Colour::hex(0x6699CC),
    Colour::hex(0xCC6677),
];
const ROUNDS: [Dash; 4] = [Dash::Solid, Dash::Dashed, Dash::DashDot, Dash::Dotted];

/// The arm that a series name belongs to: the name up to the first space, `/`, `#`, `@` or `:` (`gpt #2` is `gpt`).
pub fn arm_key(name: &str) -> &str {
    let name = name.trim();
    let end = name.find([' ', '/', '#', '@', ':']).unwrap_or(name.len());
    &name[..end]
}

/// The fixed style of a known arm, `None` for others.
pub fn known_arm(name: &str) -> Option<ArmStyle> {
    let key = arm_key(name);
    KNOWN.iter().find(|k| k.0 == key).map(|&(_, colour, dash)| ArmStyle { colour, dash })
}

/// Styles for `names`, in order. Known arms keep their own; each further distinct arm takes the next spare colour.
pub fn arm_styles<S: AsRef<str>>(names: &[S]) -> Vec<ArmStyle> {
    let mut others: Vec<&str> = Vec::new();
    names
        .iter()
        .map(|name| {
            let name = name.as_ref();
            known_arm(name).unwrap_or_else(|| {
                let key = arm_key(name);
                let index = others.iter().position(|&o| o == key).unwrap_or_else(|| {
                    others.push(key);
                    others.len() - 1
                });
                ArmStyle {
                    colour: SPARE[index % SPARE.len()],
                    dash: ROUNDS[(index / SPARE.len()) % ROUNDS.len()],
                }
            })
        })
        .collect()
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
    fn known_arms_are_fixed_distinct_and_legible() {
        for (i, (name, colour, dash)) in KNOWN.iter().enumerate() {
            let alone = arm_styles(&[*name])[0];
            let crowd = arm_styles(&["zzz", "other", name, "gpt"])[2];
            assert_eq!(alone, crowd);
            assert_eq!((alone.colour, alone.dash), (*colour, *dash));
            assert!(colour.lightness() < 0.78, "{name} is too pale for a line on paper");
            for other in &KNOWN[..i] {
                assert_ne!(other.1, *colour, "{name} and {} share a colour", other.0);
            }
        }
        assert_eq!(known_arm("gpt").unwrap().colour, BLUE);
        assert_eq!(known_arm("llama+slow-qk").unwrap().colour, ORANGE);
    }

    #[test]
    fn seeds_share_their_arm_and_strangers_come_in_order() {
        assert_eq!(known_arm("gpt #3"), known_arm("gpt"));
        assert_eq!(known_arm("gpt+rope/seed-1"), known_arm("gpt+rope"));
        assert_eq!(known_arm("gptx"), None);
        let names: Vec<String> = (0..20).map(|i| format!("new{i}")).collect();
        let styles = arm_styles(&names);
        assert_eq!(styles, arm_styles(&names));
        for i in 0..20 {
            for j in 0..i {
                assert_ne!(styles[i], styles[j], "{i} {j}");
            }
        }
        let repeated = arm_styles(&["a", "b", "a #2"]);
        assert_eq!(repeated[0], repeated[2]);
    }

    #[test]
    fn layer_colours_darken_downwards() {
        let l: Vec<f64> = (0..12).map(|i| layer_colour(i, 12).lightness()).collect();
        assert!(l.windows(2).all(|w| w[1] > w[0]));
        assert!(l[11] < 0.85);
    }
}
