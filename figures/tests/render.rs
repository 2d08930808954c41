//! Every figure, on ordinary and on hostile inputs, through both back ends.

#[path = "../examples/samples/mod.rs"]
#[allow(dead_code)]
mod samples;

use growthpath_figures::common::{Halves, Series, StepScale};
use growthpath_figures::*;

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
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"672\""), "{name}: root");
}

fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let word = |i: usize| u32::from_be_bytes(bytes[i..i + 4].try_into().unwrap());
    (word(16), word(20))
}

fn check(name: &str, figure: &Figure) -> String {
    let svg = figure.to_svg_string().unwrap_or_else(|e| panic!("{name}: {e}"));
    check_xml(&svg, name);
    let png = figure.to_png_bytes().unwrap_or_else(|e| panic!("{name}: {e}"));
    let (w, h) = png_size(&png);
    assert_eq!(w, 1344, "{name}");
    let height: u32 = svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert_eq!(h, 2 * height, "{name}: both formats have one shape");
    svg
}

#[test]
fn every_named_figure_draws_and_is_small() {
    let drawn = samples::all();
    let mut ours: Vec<&str> = drawn.iter().map(|d| d.0).collect();
    let mut named: Vec<&str> = names().iter().map(|n| n.name).collect();
    ours.sort_unstable();
    named.sort_unstable();
    assert_eq!(ours, named);
    for (name, figure) in &drawn {
        let svg = check(name, figure);
        assert!(!svg.contains("no data"), "{name}");
        assert!(svg.contains("<text"), "{name}: text stays text");
        let png = figure.to_png_bytes().unwrap();
        assert!(png.len() < 300_000, "{name}: {} bytes", png.len());
        assert!(svg.len() < 500_000, "{name}: {} bytes of SVG", svg.len());
        assert_eq!(png, figure.to_png_bytes().unwrap(), "{name}: drawing is deterministic");
    }
}

#[test]
fn names_are_kebab_case_and_described() {
    for n in names() {
        assert!(n.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", n.name);
        assert!(n.description.len() > 20 && !n.description.contains('\n'));
    }
}

#[test]
fn empty_inputs_say_no_data() {
    let figures = [
        ("loss", loss::loss(&Default::default())),
        ("spread-heatmap", spread_heatmap::spread_heatmap(&Default::default())),
        ("entropy", entropy::entropy(&Default::default())),
        ("diagnosis", diagnosis::diagnosis(&Default::default())),
        ("write-energy", write_energy::write_energy(&Default::default())),
        ("growth-shares", growth_shares::growth_shares(&Default::default())),
        ("factors", factors::factors(&Default::default())),
        ("shapley", shapley::shapley(&Default::default())),
        ("energy-shares", energy_shares::energy_shares(&Default::default())),
        ("rate-scatter", rate_scatter::rate_scatter(&Default::default())),
        ("growth-bound", growth_bound::growth_bound(&Default::default())),
        ("tightness", tightness::tightness(&Default::default())),
    ];
    assert_eq!(figures.len(), names().len());
    for (name, figure) in &figures {
        assert!(check(name, figure).contains("no data"), "{name}");
    }
}

/// The k-th number of a sequence.
type Sequence = Box<dyn Fn(usize) -> f64>;

/// Every figure with all numbers replaced: `f(k)` gives the k-th value, `n` points a series.
fn hostile(
    n: usize,
    f: &dyn Fn(usize) -> f64,
    steps: &dyn Fn(usize) -> f64,
    scale: StepScale,
) -> Vec<(&'static str, Figure)> {
    let values = |shift: usize| -> Vec<f64> { (0..n).map(|k| f(k + shift)).collect() };
    let at: Vec<f64> = (0..n).map(steps).collect();
    let series = |shift: usize| Series {
        steps: at.clone(),
        values: values(shift),
        band: Some((values(shift + 1), values(shift + 2))),
    };
    let halves = |shift: usize| Halves { lower: series(shift), upper: series(shift + 3) };
    let grid = |rows: usize| -> Vec<Vec<f64>> { (0..rows).map(&values).collect() };
    let name = || "a <very> long \"arm\" name & more of it, longer than any panel is wide".to_string();
    let paths = |s| growth_bound::Paths {
        steps: at.clone(),
        measured: values(s),
        predicted: values(s + 1),
        bound: values(s + 2),
    };
    let half = |s| tightness::Half { median: series(s), max: series(s + 1) };
    let group = shapley::Group {
        name: name(),
        step_size: f(0),
        update: f(1),
        energy: f(2),
        coherence: f(3),
        scale: f(4),
    };
    let rates = |scale| {
        let arm = rate_scatter::Arm { name: name(), predicted: values(0), measured: values(1) };
        rate_scatter::rate_scatter(&rate_scatter::Input { arms: vec![arm; 3], scale })
    };
    let heat = |log_colour| {
        let run = spread_heatmap::Run { name: name(), steps: at.clone(), spread: grid(5) };
        spread_heatmap::spread_heatmap(&spread_heatmap::Input {
            runs: vec![run; 2],
            log_colour,
            step_scale: scale,
        })
    };
    let arm = loss::Arm { name: name(), train: series(0), validation: series(2) };
    vec![
        (
            "loss",
            loss::loss(&loss::Input {
                arms: vec![arm],
                floor: Some(f(0)),
                window: 0,
                skip: 0.1,
                step_scale: scale,
            }),
        ),
        ("spread-heatmap log", heat(true)),
        ("spread-heatmap linear", heat(false)),
        (
            "entropy",
            entropy::entropy(&entropy::Input {
                arms: vec![entropy::Arm { name: name(), entropy: halves(0) }; 3],
                step_scale: scale,
            }),
        ),
        (
            "diagnosis",
            diagnosis::diagnosis(&diagnosis::Input {
                name: name(),
                sharpness: series(0),
                maturity: series(1),
                sharpness_threshold: f(0),
                maturity_threshold: f(1),
                commitment: Some(steps(0)),
                settled: Some(f(3)),
                total_steps: f(1),
                step_scale: scale,
            }),
        ),
        (
            "write-energy",
            write_energy::write_energy(&write_energy::Input {
                runs: vec![
                    write_energy::Run { name: name(), steps: at.clone(), attn: grid(3), ffn: grid(5) };
                    3
                ],
                step_scale: scale,
            }),
        ),
        (
            "growth-shares",
            growth_shares::growth_shares(&growth_shares::Input {
                runs: vec![
                    growth_shares::Run {
                        name: name(),
                        weight: values(0),
                        curvature: values(1),
                        feature: values(2),
                        rotation: values(3)
                    };
                    5
                ],
            }),
        ),
        (
            "factors",
            factors::factors(&factors::Input {
                arms: vec![factors::Arm {
                    name: name(),
                    step_size: halves(0),
                    energy: halves(1),
                    coherence: halves(2),
                    scale: halves(3),
                }],
                step_scale: scale,
            }),
        ),
        ("shapley", shapley::shapley(&shapley::Input { from: name(), to: name(), groups: vec![group; 2] })),
        (
            "energy-shares",
            energy_shares::energy_shares(&energy_shares::Input {
                runs: vec![energy_shares::Run {
                    name: name(),
                    writes: vec![name(), "attn_0".into()],
                    shares: grid(4),
                }],
            }),
        ),
        ("rate-scatter plain", rates(rate_scatter::RateScale::Plain)),
        ("rate-scatter symlog", rates(rate_scatter::RateScale::SymLog)),
        (
            "growth-bound",
            growth_bound::growth_bound(&growth_bound::Input {
                runs: vec![growth_bound::Run { name: name(), lower: paths(0), upper: paths(1) }],
                step_scale: scale,
            }),
        ),
        (
            "tightness",
            tightness::tightness(&tightness::Input {
                runs: vec![tightness::Run { name: name(), lower: half(0), upper: half(1) }],
                step_scale: scale,
            }),
        ),
    ]
}

#[test]
fn one_point_and_constant_series_draw() {
    for (n, scale) in [(1, StepScale::Linear), (1, StepScale::Log), (7, StepScale::Linear)] {
        for value in [0.0, -3.0, 1e-12] {
            for (name, figure) in hostile(n, &|_| value, &|k| k as f64, scale) {
                let svg = check(name, &figure);
                // A linear axis has a place for every constant, so the point is there.
                if ["loss", "entropy", "rate-scatter plain", "growth-shares"].contains(&name) {
                    assert!(!svg.contains("no data"), "{name}: {n} points of {value}");
                }
            }
        }
    }
}

#[test]
fn all_nan_says_no_data() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (name, figure) in hostile(6, &|_| bad, &|k| k as f64, StepScale::Log) {
            assert!(check(name, &figure).contains("no data"), "{name} {bad}");
        }
    }
}

#[test]
fn gaps_extremes_and_disorder_draw() {
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
    let sets: [(&str, Sequence); 4] = [
        ("odd", Box::new(move |k| odd[k % odd.len()])),
        ("huge", Box::new(|k| 1e308 * if k % 2 == 0 { 1.0 } else { -1.0 })),
        ("tiny", Box::new(|k| 5e-324 * k as f64)),
        ("close", Box::new(|k| 1.0 + f64::EPSILON * k as f64)),
    ];
    let orders: [(&str, Sequence); 3] = [
        ("falling", Box::new(|k| 100.0 - k as f64)),
        ("odd", Box::new(move |k| odd[(k * 5) % odd.len()])),
        ("same", Box::new(|_| 7.0)),
    ];
    for (i, (kind, f)) in sets.iter().enumerate() {
        for (j, (order, steps)) in orders.iter().enumerate() {
            let scale = if (i + j) % 2 == 0 { StepScale::Log } else { StepScale::Linear };
            for (name, figure) in hostile(13, f, steps, scale) {
                check(&format!("{name} {kind} {order}"), &figure);
            }
        }
    }
}

#[test]
fn long_series_keep_their_peaks_and_stay_small() {
    let n = 200_000;
    let steps: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let values: Vec<f64> = (0..n)
        .map(|i| if i == 123_456 { 50.0 } else { 1.0 + 0.1 * ((i * 7919) % 101) as f64 / 101.0 })
        .collect();
    let half = Halves { lower: Series::default(), upper: Series::new(steps, values) };
    let arms = vec![entropy::Arm { name: "gpt".into(), entropy: half }];
    let svg = check("entropy", &entropy::entropy(&entropy::Input { arms, step_scale: StepScale::Linear }));
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
fn arms_keep_their_colours_in_every_figure() {
    let (blue, orange) = ("#0072B2", "#E69F00");
    for (name, figure) in samples::all() {
        if ["loss", "entropy", "factors", "tightness"].contains(&name) {
            let svg = figure.to_svg_string().unwrap();
            assert!(svg.contains(blue) && svg.contains(orange), "{name}");
        }
    }
}

#[test]
fn no_text_leaves_the_page() {
    for (name, figure) in samples::all() {
        let svg = figure.to_svg_string().unwrap();
        let size: Vec<f64> = svg
            .split("viewBox=\"0 0 ")
            .nth(1)
            .and_then(|s| s.split('"').next())
            .unwrap()
            .split(' ')
            .map(|v| v.parse().unwrap())
            .collect();
        for line in svg.lines().filter(|l| l.starts_with("<text")) {
            let number = |key: &str| -> f64 {
                line.split(&format!(" {key}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
            };
            let (x, y) = (number("x"), number("y"));
            assert!(x >= 0.0 && x <= size[0] && y >= 0.0 && y <= size[1], "{name}: {line}");
        }
    }
}

#[test]
fn files_are_written_and_errors_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let figure = shapley::shapley(&samples::shapley());
    let (png, svg) = (folder.path().join("a.png"), folder.path().join("a.svg"));
    figure.save_png(&png).unwrap();
    figure.save_svg(&svg).unwrap();
    assert_eq!(std::fs::read(&png).unwrap(), figure.to_png_bytes().unwrap());
    assert_eq!(std::fs::read_to_string(&svg).unwrap(), figure.to_svg_string().unwrap());
    let missing = folder.path().join("no/such/b.png");
    let error = figure.save_png(&missing).unwrap_err();
    assert!(matches!(error, FigureError::Write { .. }));
    assert!(error.to_string().contains("no/such/b.png"), "{error}");
}
