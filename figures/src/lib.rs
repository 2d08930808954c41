//! Paper-style figures of attention growth.
//!
//! [`Material`] holds runs that `analysis` has read and explained; each of the [`FIGURES`] draws from it. What it
//! returns is a [`Drawing`]: a small model of panels, axes and marks that knows nothing of pixels. Any drawing can then
//! be written as SVG (text stays text), PNG or PDF, one or two columns wide ([`Width`]), with a bundled font; no text
//! is smaller than 7 points.
//!
//! ```no_run
//! use growthpath_figures::{FIGURES, Format, Material, Width};
//! use growthpath_trace::Run;
//!
//! let runs = [Run::open("gpt")?, Run::open("llama")?];
//! let material = Material::read(&runs, &[(0, 1)], None)?;
//! for figure in FIGURES {
//!     for (i, drawing) in figure.drawings(&material).iter().enumerate() {
//!         drawing.save(format!("{}-{i}.pdf", figure.name), Format::Pdf, Width::Column)?;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! No numbers fail: points that are NaN or infinite are skipped, panels without data are left out, and axes cope with
//! single values and with ranges up to 1e300.

pub mod arms;
mod bars;
mod canvas;
pub mod colour;
mod error;
mod groups;
mod hold;
mod material;
pub mod model;
pub mod names;
mod output;
mod plots;
mod render;
pub mod scale;
pub mod style;
mod text;
pub mod ticks;

pub use error::FigureError;
pub use material::{Material, Pair, RunMaterial};
pub use model::Drawing;
pub use output::Format;
pub use plots::{FIGURES, Figure, figure};
pub use style::Width;
