//! Figures as pictures with names.

use std::path::{Path, PathBuf};

use growthpath_figures::{Drawing, Figure, Format, Material, Width};

use crate::destination::outside_tables;
use crate::error::{Error, Result};

/// A drawing with the stem of its file names.
pub struct Picture {
    /// Kebab-case name, with a number where there is one drawing a run or pair.
    pub stem: String,
    /// What it shows.
    pub about: &'static str,
    /// The drawing.
    pub drawing: Drawing,
}

/// Draw figures; one with nothing to show gives no picture.
pub fn pictures<'f>(m: &Material, figures: impl IntoIterator<Item = &'f Figure>) -> Vec<Picture> {
    let mut out = Vec::new();
    for figure in figures {
        for (i, drawing) in figure.drawings(m).into_iter().enumerate() {
            let stem = if i == 0 { figure.name.to_string() } else { format!("{}-{}", figure.name, i + 1) };
            out.push(Picture { stem, about: figure.about, drawing });
        }
    }
    out
}

/// Save pictures in every format given; returns the paths.
///
/// # Errors
/// A folder that cannot be written.
pub fn save(pictures: &[Picture], dir: &Path, formats: &[Format], width: Width) -> Result<Vec<PathBuf>> {
    if dir.exists() && !dir.is_dir() {
        return Err(Error::format(dir, "is a file; figures go into a folder"));
    }
    outside_tables(dir)?;
    growthpath_trace::disk::create_dirs(dir)?;
    let mut paths = Vec::new();
    for p in pictures {
        for format in formats {
            let path = dir.join(format!("{}.{}", p.stem, format.extension()));
            p.drawing.save(&path, *format, width)?;
            paths.push(path);
        }
    }
    Ok(paths)
}
