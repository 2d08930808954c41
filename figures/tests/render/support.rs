//! The samples, and what a document must be.

use std::sync::OnceLock;

use growthpath_figures::*;

use crate::samples;

/// The samples, written and read once.
pub fn material() -> &'static Material {
    static READ: OnceLock<Material> = OnceLock::new();
    READ.get_or_init(|| samples::material(tempfile::tempdir().unwrap().path()))
}

/// The samples as two seeds each: the second one's curves a tenth higher.
pub fn seeded() -> &'static Material {
    static READ: OnceLock<Material> = OnceLock::new();
    READ.get_or_init(|| {
        let mut m = material().clone();
        let again: Vec<RunMaterial> = m
            .runs
            .iter()
            .cloned()
            .map(|mut r| {
                r.name += " (seed 2)";
                r.config["seed"] = 2.into();
                r.series.spread.layers.iter_mut().flatten().for_each(|v| *v *= 1.1);
                r.series.eval_loss.values.iter_mut().for_each(|v| *v *= 1.1);
                r
            })
            .collect();
        for run in &mut m.runs {
            run.config["seed"] = 1.into();
        }
        m.runs.extend(again);
        m
    })
}

/// The samples with the slowed run once more, under another hold and multiplier: a figure compares settings.
pub fn both_holds() -> Material {
    let mut m = material().clone();
    let slowed = m.runs.iter().find(|r| r.series.hold.is_some()).unwrap().clone();
    let mut again = slowed.clone();
    again.name = "slower still".into();
    again.config["intervention"] = serde_json::json!(
        {"target": "upper-qk", "multiplier": 0.5, "hold": {"fraction": 0.08}, "ramp": 0.01});
    let first = m.runs.iter_mut().find(|r| r.name == slowed.name).unwrap();
    first.config["intervention"] = serde_json::json!(
        {"target": "upper-qk", "multiplier": 0.25, "hold": {"fraction": 0.04}, "ramp": 0.01});
    m.runs.push(again);
    m
}

/// Checks that a document is well-formed XML: tags nest, attributes are quoted, nothing is unescaped.
pub fn check_xml(svg: &str, name: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "{name}: stray > in {text:?}");
        for part in text.split('&').skip(1) {
            let entity = part.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot", "apos"].contains(&entity), "{name}: entity {entity:?}");
        }
        let end = start + rest[start..].find('>').unwrap_or_else(|| panic!("{name}: tag without end"));
        let tag = &rest[start + 1..end];
        if let Some(closing) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closing), "{name}: closing tag");
        } else {
            let body = tag.trim_end_matches('/');
            assert_eq!(body.matches('"').count() % 2, 0, "{name}: quotes in {tag}");
            if !tag.ends_with('/') {
                open.push(body.split_whitespace().next().unwrap().to_string());
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{name}: unclosed {open:?}");
    assert!(!svg.contains("NaN") && !svg.contains("=\"inf"), "{name}: a coordinate is not a number");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\""), "{name}: root");
}

/// The number of an attribute.
pub fn number(line: &str, key: &str) -> f64 {
    let value = line.split(&format!(" {key}=\"")).nth(1).and_then(|s| s.split('"').next());
    value.unwrap_or_else(|| panic!("no {key} in {line}")).trim_end_matches("mm").parse().unwrap()
}

/// Width and height of the drawing's own units.
pub fn view_box(svg: &str) -> (f64, f64) {
    let inside = svg.split("viewBox=\"0 0 ").nth(1).and_then(|s| s.split('"').next()).unwrap();
    let (w, h) = inside.split_once(' ').unwrap();
    (w.parse().unwrap(), h.parse().unwrap())
}

pub fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let word = |i: usize| u32::from_be_bytes(bytes[i..i + 4].try_into().unwrap());
    (word(16), word(20))
}

/// Draws in both widths, checks the documents, and returns the wider.
pub fn check(name: &str, drawing: &Drawing) -> String {
    let mut last = String::new();
    for width in [Width::Column, Width::Page] {
        let svg = drawing.to_svg(width).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_xml(&svg, name);
        let root = svg.lines().next().unwrap();
        assert_eq!(number(root, "width"), width.millimetres(), "{name}");
        last = svg;
    }
    last
}

pub fn every_drawing() -> Vec<(String, Drawing)> {
    let mut all = Vec::new();
    for figure in FIGURES {
        let of = match figure.name {
            "sensitivity" => both_holds(),
            "seeds" => seeded().clone(),
            _ => material().clone(),
        };
        let drawings = figure.drawings(&of);
        assert!(!drawings.is_empty(), "{}: nothing drawn", figure.name);
        all.extend(drawings.into_iter().enumerate().map(|(i, d)| (format!("{} {i}", figure.name), d)));
    }
    all
}
