//! Every figure, drawn from real traces and from hostile numbers, in every format and width.

#[path = "../examples/samples/mod.rs"]
#[allow(dead_code)]
mod samples;

use std::sync::OnceLock;

use growthpath_analysis::read::{HalfCurves, Pairs, Series};
use growthpath_figures::*;

/// The samples, written and read once.
fn material() -> &'static Material {
    static READ: OnceLock<Material> = OnceLock::new();
    READ.get_or_init(|| samples::material(tempfile::tempdir().unwrap().path()))
}

/// The samples as two seeds each: the second one's curves a tenth higher.
fn seeded() -> &'static Material {
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
fn both_holds() -> Material {
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
fn check_xml(svg: &str, name: &str) {
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
fn number(line: &str, key: &str) -> f64 {
    let value = line.split(&format!(" {key}=\"")).nth(1).and_then(|s| s.split('"').next());
    value.unwrap_or_else(|| panic!("no {key} in {line}")).trim_end_matches("mm").parse().unwrap()
}

/// Width and height of the drawing's own units.
fn view_box(svg: &str) -> (f64, f64) {
    let inside = svg.split("viewBox=\"0 0 ").nth(1).and_then(|s| s.split('"').next()).unwrap();
    let (w, h) = inside.split_once(' ').unwrap();
    (w.parse().unwrap(), h.parse().unwrap())
}

fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let word = |i: usize| u32::from_be_bytes(bytes[i..i + 4].try_into().unwrap());
    (word(16), word(20))
}

/// Draws in both widths, checks the documents, and returns the wider.
fn check(name: &str, drawing: &Drawing) -> String {
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

fn every_drawing() -> Vec<(String, Drawing)> {
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
fn names_are_kebab_case_unique_and_described() {
    for (i, f) in FIGURES.iter().enumerate() {
        assert!(f.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", f.name);
        assert!(f.about.len() > 20 && !f.about.contains('\n'));
        assert!(FIGURES[..i].iter().all(|g| g.name != f.name));
        assert_eq!(figure(f.name).unwrap().name, f.name);
    }
    assert_eq!(figure("rate-scatter").unwrap().name, "prediction", "the name it had before");
    assert!(figure("growth").is_none());
}

#[test]
fn seeds_are_grouped_by_arm_and_paired_by_seed() {
    let seeds = figure("seeds").unwrap();
    assert!(seeds.drawings(material()).is_empty(), "one seed has no band");
    let drawings = seeds.drawings(seeded());
    let [spread, loss] = &drawings[..] else { panic!("two drawings") };
    let arms = material().runs.len();
    assert_eq!((spread.panels.len(), loss.panels.len()), (arms, arms - 1));
    for panel in &spread.panels {
        assert_eq!(panel.note, "2 seeds");
        let lines = panel.items.iter().filter(|i| matches!(i, model::Item::Line { .. })).count();
        // Two thin seeds and a mean, for each half.
        assert_eq!(lines, 6, "{}", panel.title);
        for item in &panel.items {
            let model::Item::Line { points, band, .. } = item else { continue };
            for ((_, mean), (_, low, high)) in points.iter().zip(band) {
                // Two values a tenth apart: the geometric mean lies within its interval.
                assert!(low < mean && mean < high, "{low} {mean} {high}");
            }
        }
    }
}

#[test]
fn without_runs_there_is_nothing_to_draw() {
    for figure in FIGURES {
        assert!(figure.drawings(&Material::default()).is_empty(), "{}", figure.name);
    }
}

#[test]
fn twins_share_a_pair_of_hues_in_every_figure_over_steps() {
    let styles = material().styles();
    let hex = |k: usize| {
        let c = styles[k].colour;
        format!("#{:02X}{:02X}{:02X}", c.r, c.g, c.b)
    };
    for name in ["loss", "entropy", "factors", "tightness", "growth-bound"] {
        let svg = figure(name).unwrap().drawings(material())[0].to_svg(Width::Page).unwrap();
        for k in 0..styles.len() {
            assert!(svg.contains(&hex(k)), "{name}: no {} of run {k}", hex(k));
        }
    }
}

/// Puts a number in place of every one that the figures draw.
fn replace(s: &mut Series, f: &mut dyn FnMut() -> f64) {
    let mut all = |values: &mut [f64]| values.iter_mut().for_each(|v| *v = f());
    let halves = |h: &mut HalfCurves, all: &mut dyn FnMut(&mut [f64])| {
        all(&mut h.lower);
        all(&mut h.upper);
    };
    all(&mut s.train_loss.values);
    all(&mut s.eval_loss.values);
    for h in s.splits.iter_mut().flatten() {
        let mut four = [0.0; 4];
        all(&mut four);
        (h.query, h.key, h.features, h.growth) = (four[0], four[1], four[2], four[3]);
    }
    let a = &mut s.ablations;
    for e in a.halves.iter_mut().chain(&mut a.layers).flatten() {
        let mut two = [0.0; 2];
        all(&mut two);
        (e.delta, e.stderr) = (two[0], two[1]);
    }
    all(&mut s.reliance.values);
    all(&mut s.reliance.stderr);
    for layers in [&mut s.spread.layers, &mut s.writes.attn, &mut s.writes.ffn, &mut s.energy_shares.shares] {
        layers.iter_mut().for_each(|l| all(l));
    }
    let (g, c, t) = (&mut s.growth, &mut s.factors, &mut s.tightness);
    for h in [
        &mut s.entropy,
        &mut s.sharpness,
        &mut s.maturity.halves,
        &mut g.measured,
        &mut g.predicted,
        &mut g.weights,
        &mut g.bound,
        &mut c.step_term,
        &mut c.residual_energy,
        &mut c.coherence,
        &mut c.persistent,
        &mut c.scale,
        &mut t.tight,
        &mut t.tight_max,
        &mut t.cheap,
    ] {
        halves(h, &mut all);
    }
    let p = &mut s.prediction;
    for Pairs { predicted, measured, correlation } in [&mut p.query, &mut p.key, &mut p.features] {
        all(predicted);
        all(measured);
        all(std::slice::from_mut(correlation));
    }
}

/// The samples with other numbers: one run whose label is long and holds what XML must escape.
fn hostile(mut f: impl FnMut() -> f64) -> Material {
    let mut m = material().clone();
    for run in &mut m.runs {
        replace(&mut run.series, &mut f);
        for lead in &mut run.leads {
            (lead.over_time.plain, lead.over_time.given_past) = (f(), f());
            (lead.over_heads.plain, lead.over_heads.given_past) = (f(), f());
        }
        for layer in &mut run.analysis.accounting.layers {
            (layer.query, layer.key, layer.features, layer.growth) = (f(), f(), f(), f());
        }
    }
    for pair in &mut m.comparisons {
        let g = &mut pair.comparison.as_mut().unwrap().groups.upper;
        (g.predicted_a, g.predicted_b, g.predicted_gap, g.measured_gap) = (f(), f(), f(), f());
        let s = &mut g.shapley;
        (s.step_size, s.update_geometry, s.residual_energy) = (f(), f(), f());
        (s.coherence, s.features, s.start) = (f(), f(), f());
    }
    m.runs[0].name = "a <very> long \"arm\" name & more of it, longer than any panel is wide".into();
    m.floor = Some(f());
    m
}

/// A set of values by name and index.
type Values = (&'static str, Box<dyn Fn(usize) -> f64>);

#[test]
fn constants_gaps_and_extremes_draw() {
    let odd = [
        1.0,
        f64::NAN,
        -2.0,
        f64::INFINITY,
        1e308,
        1e-308,
        0.0,
        -1e308,
        5e-324,
        f64::NEG_INFINITY,
        3.0,
        -1e-300,
    ];
    let mut k = 0;
    let mut next = move |of: &dyn Fn(usize) -> f64| {
        k += 1;
        of(k)
    };
    let sets: [Values; 6] = [
        ("zero", Box::new(|_| 0.0)),
        ("constant", Box::new(|_| -3.0)),
        ("odd", Box::new(move |k| odd[k % odd.len()])),
        ("huge", Box::new(|k| 1e308 * if k % 2 == 0 { 1.0 } else { -1.0 })),
        ("tiny", Box::new(|k| 5e-324 * (k % 100) as f64)),
        ("close", Box::new(|k| 1.0 + f64::EPSILON * (k % 100) as f64)),
    ];
    for (kind, f) in &sets {
        let m = hostile(|| next(f));
        for figure in FIGURES {
            for drawing in figure.drawings(&m) {
                let svg = check(&format!("{} {kind}", figure.name), &drawing);
                assert!(!svg.contains("no data"), "{} {kind}: an empty panel", figure.name);
            }
        }
    }
}

#[test]
fn figures_of_nothing_but_nan_are_not_drawn() {
    let m = hostile(|| f64::NAN);
    for figure in FIGURES {
        assert!(figure.drawings(&m).is_empty() || ["shapley"].contains(&figure.name), "{}", figure.name);
        figure.drawings(&m).iter().for_each(|d| drop(check(figure.name, d)));
    }
}

#[test]
fn a_window_cuts_every_curve() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = samples::write(folder.path()).unwrap();
    let runs: Vec<_> = dirs.iter().map(|d| growthpath_trace::Run::open(d).unwrap()).collect();
    let m = Material::read(&runs, &[(0, 1)], Some(100..300)).unwrap();
    for run in &m.runs {
        let s = &run.series;
        for steps in
            [&s.train_loss.steps, &s.growth.measured.steps, &s.maturity.halves.steps, &s.reliance.steps]
        {
            assert!(!steps.is_empty() && steps.iter().all(|s| (100.0..=300.0).contains(s)), "{steps:?}");
        }
        assert!(s.hold.is_none(), "the hold ends before the window");
    }
    for figure in FIGURES {
        for drawing in figure.drawings(&m) {
            check(figure.name, &drawing);
        }
    }
}

#[test]
fn long_series_keep_their_peaks_and_stay_small() {
    let n = 200_000;
    let mut m = material().clone();
    m.runs.truncate(1);
    m.comparisons.clear();
    let series = &mut m.runs[0].series;
    series.window.end = n as u32;
    let steps: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let values: Vec<f64> = (0..n)
        .map(|i| if i == 123_456 { 50.0 } else { 1.0 + 0.1 * ((i * 7919) % 101) as f64 / 101.0 })
        .collect();
    series.entropy = HalfCurves { steps, lower: vec![f64::NAN; n], upper: values };
    let svg = check("entropy", &figure("entropy").unwrap().drawings(&m)[0]);
    assert!(svg.len() < 150_000, "{}", svg.len());
    // The data line is the longest path; its highest point is the peak, far above everything else.
    let path = svg.lines().filter(|l| l.starts_with("<polyline")).max_by_key(|l| l.len()).unwrap();
    let points = path.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut ys: Vec<f64> =
        points.split_whitespace().map(|p| p.split(',').nth(1).unwrap().parse().unwrap()).collect();
    ys.sort_by(f64::total_cmp);
    assert!(ys[1] - ys[0] > 0.8 * (ys[ys.len() - 1] - ys[0]), "{} {} {}", ys[0], ys[1], ys[ys.len() - 1]);
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

#[test]
fn marks_of_an_arm_are_grouped_and_carry_their_numbers() {
    let m = material();
    let styles = m.styles();
    for name in ["entropy", "ablation"] {
        let drawing = &figure(name).unwrap().drawings(m)[0];
        let svg = drawing.to_svg(Width::Page).unwrap();
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count(), "{name}");
        assert!(!svg.contains('\u{E000}'), "{name}: a sign is left");
        for style in &styles {
            let c = style.colour;
            let group = format!("<g data-colour=\"#{:02X}{:02X}{:02X}\"", c.r, c.g, c.b);
            assert!(svg.contains(&group), "{name}: no {group}");
        }
    }
    let drawing = &figure("entropy").unwrap().drawings(m)[0];
    let hover = drawing.hover(Width::Page).unwrap();
    let line = &hover["panels"][1]["lines"][0];
    assert_eq!(line["name"], m.runs[0].name.as_str());
    let last = line["y"].as_array().unwrap().last().unwrap().as_f64().unwrap();
    let drawn = *m.runs[0].series.entropy.upper.last().unwrap();
    assert!((last - drawn).abs() <= 1e-3 * drawn.abs(), "{last} {drawn}");
    let cells = figure("spread-heatmap").unwrap().drawings(m)[0].hover(Width::Column).unwrap();
    let rows = cells["panels"][0]["cells"]["values"].as_array().unwrap().len();
    assert_eq!(rows, m.runs[0].series.layers);
}
