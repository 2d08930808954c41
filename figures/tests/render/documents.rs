//! Files: every figure in every format and width.

use growthpath_figures::*;

use crate::support::{check, every_drawing, material, number, png_size, view_box};

#[test]
fn every_figure_draws_in_every_format() {
    for (name, drawing) in &every_drawing() {
        let svg = check(name, drawing);
        assert!(!svg.contains("no data"), "{name}: an empty panel");
        assert!(svg.contains("<text"), "{name}: text stays text");
        let png = drawing.to_png(Width::Column).unwrap();
        // 84 mm and 174 mm at 288 pixels an inch.
        assert_eq!(png_size(&png).0, 952, "{name}");
        assert_eq!(png, drawing.to_png(Width::Column).unwrap(), "{name}: drawing is deterministic");
        let page = drawing.to_png(Width::Page).unwrap();
        assert_eq!(png_size(&page).0, 1973, "{name}");
        // The largest draws nine panels of hexagons, one element each.
        assert!(page.len() < 600_000 && svg.len() < 800_000, "{name}: {} {}", page.len(), svg.len());
        let pdf = drawing.to_pdf(Width::Column).unwrap();
        let text = String::from_utf8_lossy(&pdf);
        assert!(text.starts_with("%PDF-"), "{name}");
        assert!(text.contains("/FontFile") && text.contains("DejaVuSans"), "{name}: the font is embedded");
        assert!(!text.contains("/Subtype /Image"), "{name}: a page of vectors");
    }
}

#[test]
fn a_pdf_page_is_as_wide_as_the_column() {
    let (_, drawing) = &every_drawing()[0];
    for width in [Width::Column, Width::Page] {
        let pdf = drawing.to_pdf(width).unwrap();
        let text = String::from_utf8_lossy(&pdf);
        let inside = text.split("/MediaBox [").nth(1).and_then(|s| s.split(']').next()).unwrap();
        let points: f64 = inside.split_whitespace().nth(2).unwrap().parse().unwrap();
        // The page is laid out in float32 pixels.
        assert!((points - width.millimetres() * 72.0 / 25.4).abs() < 0.01, "{points}");
    }
}

#[test]
fn no_text_is_small_or_leaves_the_page() {
    for (name, drawing) in &every_drawing() {
        for width in [Width::Column, Width::Page] {
            let svg = drawing.to_svg(width).unwrap();
            let (w, h) = view_box(&svg);
            // Points a unit of the drawing.
            let scale = width.millimetres() * 72.0 / 25.4 / w;
            for line in svg.lines().filter(|l| l.starts_with("<text")) {
                let (x, y) = (number(line, "x"), number(line, "y"));
                assert!(x >= 0.0 && x <= w && y >= 0.0 && y <= h, "{name}: {line}");
                let points = number(line, "font-size") * scale;
                // Sizes are rounded to a tenth of a sixteenth of a pixel.
                assert!(points >= 6.99, "{name}: {points} points: {line}");
            }
        }
    }
}

#[test]
fn files_are_written_and_errors_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let drawing = &figure("growth-shares").unwrap().drawings(material())[0];
    for format in [Format::Png, Format::Svg, Format::Pdf] {
        let path = folder.path().join("a").with_extension(format.extension());
        drawing.save(&path, format, Width::Column).unwrap();
        let written = std::fs::read(&path).unwrap();
        // The PDF writer numbers its fonts in no fixed order.
        match format {
            Format::Pdf => assert!(written.starts_with(b"%PDF-")),
            _ => assert_eq!(written, drawing.render(format, Width::Column).unwrap()),
        }
    }
    let missing = folder.path().join("no/such/b.png");
    let error = drawing.save(&missing, Format::Png, Width::Page).unwrap_err();
    assert!(matches!(error, FigureError::Write { .. }));
    assert!(error.to_string().contains("no/such/b.png"), "{error}");
}
