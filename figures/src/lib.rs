//! Paper-style figures of attention growth.
//!
//! Each figure is a function from plain numbers to a [`Figure`]: a small model of panels, axes and marks that knows
//! nothing of pixels. Any `Figure` can then be written as SVG (text stays text) or as PNG (two pixels a CSS pixel, 7
//! inches wide), and both look the same, with a bundled font.
//!
//! ```
//! use growthpath_figures::{common::Series, loss};
//!
//! let train = Series::new(vec![0.0, 1.0, 2.0], vec![5.5, 4.9, 4.6]);
//! let arm = loss::Arm { name: "gpt".into(), train, validation: Series::default() };
//! let figure = loss::loss(&loss::Input { arms: vec![arm], ..Default::default() });
//! assert!(figure.to_svg_string()?.contains("Training and validation loss"));
//! # Ok::<(), growthpath_figures::FigureError>(())
//! ```
//!
//! No input fails: points that are NaN or infinite are skipped, a panel without data says so, and axes cope with
//! single values and with ranges up to 1e300.

mod bars;
mod canvas;
pub mod colour;
mod error;
pub mod model;
mod output;
mod plots;
mod render;
pub mod scale;
pub mod style;
mod text;
pub mod ticks;

pub use error::FigureError;
pub use model::Figure;
pub use plots::{
    common, diagnosis, energy_shares, entropy, factors, growth_bound, growth_shares, loss, rate_scatter,
    shapley, spread_heatmap, tightness, write_energy,
};

/// A figure's command-line name and what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FigureName {
    /// Kebab-case name.
    pub name: &'static str,
    /// One line.
    pub description: &'static str,
}

/// All figures, in the order a report shows them.
pub fn names() -> &'static [FigureName] {
    const fn figure(name: &'static str, description: &'static str) -> FigureName {
        FigureName { name, description }
    }
    const NAMES: [FigureName; 12] = [
        figure("loss", "training and validation loss of the arms, with the entropy rate where it is known"),
        figure("spread-heatmap", "spread of the attention logits by layer and step, runs side by side"),
        figure("entropy", "normalised attention entropy of the upper and lower half over steps"),
        figure("diagnosis", "when the upper half committed and when the lower half settled"),
        figure("write-energy", "energy of every residual write by layer and site over steps"),
        figure("growth-shares", "cumulative growth of each layer split into its four paths"),
        figure("factors", "step size, residual energy, coherence and scale of the growth rate over steps"),
        figure("shapley", "the growth gap between two arms split over the five factors"),
        figure(
            "energy-shares",
            "share of every upstream write in the energy each layer's attention grows on",
        ),
        figure("rate-scatter", "predicted against measured growth rate, head by head"),
        figure("growth-bound", "cumulative growth factor, measured and predicted, under its bound"),
        figure("tightness", "measured logit step over its bound over steps"),
    ];
    &NAMES
}
