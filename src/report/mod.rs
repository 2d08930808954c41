//! Saved runs to figures and to a self-contained report.

mod answer;
mod embed;
mod html;
mod picture;
mod setup;
mod words;

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use growthpath_figures::{FIGURES, Format, Material, Width};
use growthpath_trace::Run;

use crate::data::corpus::entropy_rate;
use crate::destination::outside_tables;
use crate::error::{Error, Result};

pub use answer::than;
pub use html::summary;
pub use picture::{Picture, pictures, save};

/// Read runs once, cut to a window; `pairs` index into them. The floor is known when all were trained on the built-in
/// language.
///
/// # Errors
/// A run that cannot be read. A pair that cannot be compared is kept with its reason.
pub fn read(runs: &[Run], pairs: &[(usize, usize)], window: Option<Range<u32>>) -> Result<Material> {
    let mut material = Material::read(runs, pairs, window)?;
    let known = !runs.is_empty() && runs.iter().all(on_built_in_bytes);
    material.floor = known.then(|| entropy_rate().nats_per_byte);
    let bound = |r: &Run| r.info().extra.get("loss_without_looking_back").and_then(|v| v.as_f64());
    let bounds: Vec<Option<f64>> = runs.iter().map(bound).collect();
    material.blind = match bounds.first() {
        Some(first) if bounds.iter().all(|b| b == first) => *first,
        _ => None,
    };
    Ok(material)
}

fn on_built_in_bytes(run: &Run) -> bool {
    let is = |key: &str, value: &str| run.info().config.pointer(key).and_then(|v| v.as_str()) == Some(value);
    is("/data/source", "built-in") && is("/tokenizer", "bytes")
}

/// Draw every figure into `dir`, as PNG and SVG.
///
/// # Errors
/// A folder that cannot be written.
pub fn draw_all(m: &Material, dir: &Path) -> Result<()> {
    save(&pictures(m, FIGURES), dir, &[Format::Png, Format::Svg], Width::Page).map(|_| ())
}

/// Draw what is about all seeds of a study's runs into `dir`: curves over seeds, and settings of slowed runs.
///
/// # Errors
/// A run that cannot be read, a folder that cannot be written.
pub fn draw_seeds(runs: &[Run], dir: &Path) -> Result<()> {
    let mut material = read(runs, &[], None)?;
    let mut all = pictures(&material, growthpath_figures::figure("sensitivity"));
    // A run that diverged has no curve over the steps of the others.
    material.runs.retain(|r| r.diverged.is_none());
    all.extend(pictures(&material, growthpath_figures::figure("seeds")));
    save(&all, dir, &[Format::Png, Format::Svg], Width::Page).map(|_| ())
}

/// Write the report.
///
/// # Errors
/// A file that cannot be written.
pub fn write(m: &Material, path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::format(path, "is a folder; name the HTML file in it"));
    }
    outside_tables(path)?;
    if beginning(path).is_ok_and(|old| !old.is_empty() && !is_report(&old)) {
        return Err(Error::format(path, "exists and is no report; choose another --out, or remove it"));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let text = html::page(m, now)?;
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        growthpath_trace::disk::create_dirs(dir)?;
    }
    Ok(growthpath_trace::disk::write_output(path, text.as_bytes())?)
}

/// The first bytes of a file; none of what is no file, such as `/dev/stdout`: a device may have bytes without end.
fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    if std::fs::metadata(path)?.is_file() {
        std::fs::File::open(path)?.take(400).read_to_end(&mut start)?;
    }
    Ok(start)
}

/// Whether a file begins as the reports that this program writes.
fn is_report(start: &[u8]) -> bool {
    let start = String::from_utf8_lossy(start);
    start.starts_with("<!doctype html>") && start.contains("<title>growthpath")
}
