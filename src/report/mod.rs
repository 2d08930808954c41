//! Saved runs to figures and to a self-contained report.

mod html;
mod material;
mod pictures;

use std::path::Path;

use growthpath_trace::Run;

use crate::error::{Error, Result};

pub use html::summary;
pub use material::Material;
pub use pictures::{Picture, pictures};

/// Points a curve keeps in a figure.
const POINTS: usize = 400;

/// Draw every figure of the runs into `dir`, as PNG and SVG; `pairs` are compared (second against first).
///
/// # Errors
/// A run that cannot be read, or a folder that cannot be written.
pub fn draw_all(runs: &[Run], pairs: &[(usize, usize)], dir: &Path) -> Result<()> {
    let material = Material::read(runs, pairs)?;
    save(&pictures(&material, None), dir)
}

/// Save pictures as PNG and SVG.
///
/// # Errors
/// A folder that cannot be written.
pub fn save(pictures: &[Picture], dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    for p in pictures {
        p.figure.save_png(dir.join(format!("{}.png", p.stem)))?;
        p.figure.save_svg(dir.join(format!("{}.svg", p.stem)))?;
    }
    Ok(())
}

/// Write the report of the runs.
///
/// # Errors
/// A run that cannot be read, or a file that cannot be written.
pub fn write(runs: &[Run], pairs: &[(usize, usize)], path: &Path) -> Result<()> {
    let material = Material::read(runs, pairs)?;
    let text = html::page(&material)?;
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    std::fs::write(path, text).map_err(Error::io(path))
}
