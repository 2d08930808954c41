//! Writing a figure: SVG text and PNG bytes from the same model.

use std::path::Path;

use plotters::prelude::*;

use crate::canvas::{Canvas, Kind, backend};
use crate::error::FigureError;
use crate::model::Figure;
use crate::render::Layout;
use crate::style::PNG_SCALE;
use crate::text;

/// Device units a CSS pixel in SVG: coordinates are whole numbers there, eighths of a pixel are fine enough.
const SVG_UNITS: u32 = 8;
/// Drawn pixels a PNG pixel, each way: averaging them smooths every edge alike. [`average`] is for two.
const OVERSAMPLE: u32 = 2;

impl Figure {
    /// The figure as a standalone SVG document; text stays text.
    ///
    /// # Errors
    /// [`FigureError::Font`] or [`FigureError::Backend`].
    pub fn to_svg_string(&self) -> Result<String, FigureError> {
        text::register()?;
        let layout = Layout::of(self);
        let (width, height) = layout.size();
        let mut body = String::new();
        {
            let area = SVGBackend::with_string(&mut body, (width * SVG_UNITS, height * SVG_UNITS))
                .into_drawing_area();
            layout.draw(&Canvas::new(&area, f64::from(SVG_UNITS), Kind::Svg))?;
            area.present().map_err(backend)?;
        }
        // The writer knows one size only; the picture's own units are finer than its size in CSS pixels.
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
             stroke-linejoin=\"round\">\n<title>{}</title>\n",
            width * SVG_UNITS,
            height * SVG_UNITS,
            escape(&self.title),
        );
        match body.find(">\n") {
            Some(end) => Ok(head + &body[end + 2..]),
            None => Err(FigureError::Backend("the SVG writer left no root element".into())),
        }
    }

    /// The figure as PNG bytes at two pixels a CSS pixel (192 pixels an inch).
    ///
    /// # Errors
    /// [`FigureError::Font`], [`FigureError::Backend`] or [`FigureError::Encode`].
    pub fn to_png_bytes(&self) -> Result<Vec<u8>, FigureError> {
        text::register()?;
        let layout = Layout::of(self);
        let (width, height) = layout.size();
        let factor = PNG_SCALE * OVERSAMPLE;
        let (w, h) = (width * factor, height * factor);
        let mut fine = vec![255u8; w as usize * h as usize * 3];
        {
            let area = BitMapBackend::with_buffer(&mut fine, (w, h)).into_drawing_area();
            layout.draw(&Canvas::new(&area, f64::from(factor), Kind::Bitmap))?;
            area.present().map_err(backend)?;
        }
        encode(&average(&fine, w as usize), width * PNG_SCALE, height * PNG_SCALE)
    }

    /// Writes the figure as SVG.
    ///
    /// # Errors
    /// As [`Figure::to_svg_string`], or [`FigureError::Write`] naming the path.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<(), FigureError> {
        write(path.as_ref(), self.to_svg_string()?.as_bytes())
    }

    /// Writes the figure as PNG.
    ///
    /// # Errors
    /// As [`Figure::to_png_bytes`], or [`FigureError::Write`] naming the path.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), FigureError> {
        write(path.as_ref(), &self.to_png_bytes()?)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FigureError> {
    std::fs::write(path, bytes).map_err(|source| FigureError::Write { path: path.into(), source })
}

/// Averages 2x2 blocks of an RGB image of row length `width`; 255 stays 255.
fn average(fine: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let mut out = Vec::with_capacity(fine.len() / 4);
    for rows in fine.chunks_exact(row * 2) {
        let (upper, lower) = rows.split_at(row);
        for (a, b) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
            for c in 0..3 {
                let sum = u16::from(a[c]) + u16::from(a[c + 3]) + u16::from(b[c]) + u16::from(b[c + 3]);
                out.push(((sum + 2) / 4) as u8);
            }
        }
    }
    out
}

fn encode(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, FigureError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Default);
    encoder.set_filter(png::FilterType::Up);
    // 96 CSS pixels an inch, 0.0254 metres an inch.
    let per_metre = (f64::from(PNG_SCALE) * 96.0 / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: png::Unit::Meter,
    }));
    encoder.write_header()?.write_image_data(rgb)?;
    Ok(bytes)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averaging_keeps_flat_colours_and_rounds_edges() {
        let flat = [7u8, 200, 255].repeat(8);
        assert_eq!(average(&flat, 4), [7u8, 200, 255].repeat(2));
        // One dark pixel of four: (0 + 3 * 255) / 4 = 191.25.
        let mut edge = vec![255u8; 12];
        edge[..3].fill(0);
        assert_eq!(average(&edge, 2), [191, 191, 191]);
    }

    #[test]
    fn titles_are_escaped() {
        let figure = Figure::new("a < b & c > d");
        let svg = figure.to_svg_string().unwrap();
        assert!(svg.contains("<title>a &lt; b &amp; c &gt; d</title>"), "{svg}");
    }
}
