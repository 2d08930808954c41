//! Writing a drawing: SVG text, and from it PNG pixels and a PDF page.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use plotters::prelude::*;
use resvg::tiny_skia;
use svg2pdf::usvg;

use crate::canvas::{Canvas, backend};
use crate::error::FigureError;
use crate::groups::ungroup;
use crate::model::Drawing;
use crate::render::Layout;
use crate::style::{PNG_SCALE, Width};
use crate::text;

/// Device units a CSS pixel: coordinates are whole numbers in the SVG writer, sixteenths of a pixel are fine enough.
const UNITS: f64 = 16.0;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Pixels, 288 an inch.
    Png,
    /// Vectors with text as text.
    Svg,
    /// One page of vectors, the fonts embedded.
    Pdf,
}

impl Format {
    /// File-name extension.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Pdf => "pdf",
        }
    }
}

impl Drawing {
    /// The drawing as a standalone SVG document; text stays text.
    ///
    /// # Errors
    /// [`FigureError::Font`] or [`FigureError::Backend`].
    pub fn to_svg(&self, page: Width) -> Result<String, FigureError> {
        text::register()?;
        let layout = Layout::of(self, page);
        let (width, height) = layout.size();
        let (w, h) = ((width * UNITS).round() as u32, (height * UNITS).round() as u32);
        let mut body = String::new();
        {
            let area = SVGBackend::with_string(&mut body, (w, h)).into_drawing_area();
            layout.draw(&Canvas::new(&area, UNITS))?;
            area.present().map_err(backend)?;
        }
        // The writer knows one size only; the picture's own units are finer than its size on paper.
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}mm\" height=\"{:.3}mm\" viewBox=\"0 0 {w} {h}\" \
             stroke-linejoin=\"round\">\n<title>{}</title>\n",
            page.millimetres(),
            height * 25.4 / 96.0,
            escape(&self.title),
        );
        match body.find(">\n") {
            Some(end) => Ok(head + &ungroup(&body[end + 2..])),
            None => Err(FigureError::Backend("the SVG writer left no root element".into())),
        }
    }

    /// The numbers behind the marks, for a page that shows them under the pointer: panels with their frames, axes,
    /// lines, cells and bars, in CSS pixels of [`Drawing::to_svg`].
    ///
    /// # Errors
    /// [`FigureError::Font`].
    pub fn hover(&self, page: Width) -> Result<serde_json::Value, FigureError> {
        text::register()?;
        Ok(Layout::of(self, page).hover(self))
    }

    /// The drawing as PNG bytes, 288 pixels an inch.
    ///
    /// # Errors
    /// As [`Drawing::to_svg`], or [`FigureError::Encode`].
    pub fn to_png(&self, page: Width) -> Result<Vec<u8>, FigureError> {
        let tree = tree(&self.to_svg(page)?)?;
        let scale = PNG_SCALE as f32;
        let size = tree.size();
        let (width, height) = ((size.width() * scale).round() as u32, (size.height() * scale).round() as u32);
        let mut pixels = tiny_skia::Pixmap::new(width, height)
            .ok_or_else(|| FigureError::Backend(format!("no picture of {width} x {height} pixels")))?;
        pixels.fill(tiny_skia::Color::WHITE);
        resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut pixels.as_mut());
        // On white paper every pixel is opaque: red, green and blue are not multiplied by anything.
        let rgb: Vec<u8> = pixels.data().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
        encode(&rgb, width, height)
    }

    /// The drawing as a PDF document of one page; text stays text, in embedded fonts.
    ///
    /// # Errors
    /// As [`Drawing::to_svg`].
    pub fn to_pdf(&self, page: Width) -> Result<Vec<u8>, FigureError> {
        let tree = tree(&self.to_svg(page)?)?;
        svg2pdf::to_pdf(&tree, svg2pdf::ConversionOptions::default(), svg2pdf::PageOptions { dpi: 96.0 })
            .map_err(backend)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// As [`Drawing::to_png`].
    pub fn render(&self, format: Format, page: Width) -> Result<Vec<u8>, FigureError> {
        match format {
            Format::Png => self.to_png(page),
            Format::Svg => self.to_svg(page).map(String::into_bytes),
            Format::Pdf => self.to_pdf(page),
        }
    }

    /// Writes a file.
    ///
    /// # Errors
    /// As [`Drawing::render`], or [`FigureError::Write`] naming the path.
    pub fn save(&self, path: impl AsRef<Path>, format: Format, page: Width) -> Result<(), FigureError> {
        let path = path.as_ref();
        let bytes = self.render(format, page)?;
        growthpath_trace::disk::write_output(path, &bytes).map_err(|e| match e {
            growthpath_trace::Error::Io { source, .. } => FigureError::Write { path: path.into(), source },
            e => FigureError::Backend(e.to_string()),
        })
    }
}

/// The parsed document, its text set in the bundled fonts.
fn tree(svg: &str) -> Result<usvg::Tree, FigureError> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.load_font_data(dejavu::sans::bold().to_vec());
        Arc::new(fonts)
    });
    let options = usvg::Options { fontdb: Arc::clone(fonts), ..Default::default() };
    usvg::Tree::from_str(svg, &options).map_err(backend)
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
    fn titles_are_escaped() {
        let drawing = Drawing::new("a < b & c > d");
        let svg = drawing.to_svg(Width::Page).unwrap();
        assert!(svg.contains("<title>a &lt; b &amp; c &gt; d</title>"), "{svg}");
    }
}
