//! What is drawn of what: arms, seeds, holds, windows.

use growthpath_figures::*;

use crate::samples;
use crate::support::{both_holds, check, material, seeded};

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

/// The key of a legend entry, and the fill that it explains.
fn explains(key: &model::LegendKey, fill: &model::Fill) -> bool {
    use model::{Fill, LegendKey};
    matches!(
        (key, fill),
        (LegendKey::Hatch(_), Fill::HatchLane(..)) | (LegendKey::Strip(..), Fill::Strip(..))
    )
}

#[test]
fn every_mark_has_its_legend() {
    let mut m = material().clone();
    for run in &mut m.runs {
        run.series.long_intervals.lower.push((20, 60));
        run.series.long_intervals.upper.push((20, 60));
        run.analysis.accounting.long = 1;
        run.analysis.accounting.layers[0].long = 1;
    }
    let (mut holds, mut lanes) = (0, 0);
    let all = FIGURES.iter().flat_map(|f| f.drawings(&m).into_iter().map(|d| (f.name, d)));
    for (name, drawing) in all {
        for item in drawing.panels.iter().flat_map(|p| &p.items) {
            let model::Item::Span { fill, .. } = item else { continue };
            match fill {
                model::Fill::Strip(..) => holds += 1,
                model::Fill::HatchLane(..) => lanes += 1,
                // The brackets of the diagnosis are named with their edges' colour.
                model::Fill::Wash(_) | model::Fill::Hatch(_) => continue,
            }
            assert!(
                drawing.legend.iter().any(|e| explains(&e.key, fill)),
                "{name}: {fill:?} is not explained"
            );
        }
    }
    assert!(holds > 10 && lanes > 10, "the samples have both: {holds} {lanes}");
}

/// The first sample with another intervention, of which the rows say nothing.
fn with_intervention(hold: serde_json::Value) -> RunMaterial {
    let folder = tempfile::tempdir().unwrap();
    let dir = samples::write(folder.path()).unwrap().remove(0);
    growthpath_trace::RunInfo::rewrite(&dir, |info| {
        info["config"]["intervention"] =
            serde_json::json!({"target": "upper-vo", "multiplier": 0.25, "hold": hold, "ramp": 0.02});
    })
    .unwrap();
    let run = growthpath_trace::Run::open(&dir).unwrap();
    Material::read(&[run], &[], None).unwrap().runs.remove(0)
}

#[test]
fn a_hold_that_no_row_tells_is_that_of_the_configuration() {
    let fixed = with_intervention(serde_json::json!({"fraction": 0.1})).series.hold.unwrap();
    assert_eq!((fixed.start, fixed.release, fixed.end, fixed.multiplier), (0, 40, 48, 0.25));
    let adaptive = |threshold: f64| serde_json::json!({"adaptive": {"threshold": threshold, "probes": 3}});
    // The lower half's maturity is above 0.35 from the first measurement on, at steps 8, 16 and 20.
    let settled = with_intervention(adaptive(0.35)).series.hold.unwrap();
    assert_eq!((settled.release, settled.end), (20, 28));
    // It never is above 0.99: the release is forced at 12 % of 400 steps.
    let forced = with_intervention(adaptive(0.99)).series.hold.unwrap();
    assert_eq!((forced.release, forced.end), (48, 56));
    assert!(material().runs[0].series.hold.is_none(), "without an intervention nothing is slowed");
}

#[test]
fn settings_that_diverged_are_told_from_those_not_trained() {
    let mut m = both_holds();
    let last = m.runs.len() - 1;
    let drawing = &figure("sensitivity").unwrap().drawings(&m)[0];
    let cells = |d: &Drawing| -> Vec<f64> {
        let model::Item::Heatmap { values, .. } = &d.panels[0].items[0] else { panic!("a heat map") };
        values.iter().flatten().copied().collect()
    };
    // Two multipliers and two holds, of which two settings were trained.
    assert_eq!(cells(drawing).iter().filter(|v| v.is_nan()).count(), 2);
    assert!(drawing.legend.iter().any(|e| e.label == "not trained"));
    m.runs[last].diverged = Some(7);
    let drawing = &figure("sensitivity").unwrap().drawings(&m)[0];
    assert_eq!(cells(drawing).iter().filter(|v| v.is_infinite()).count(), 1);
    assert!(drawing.legend.iter().any(|e| e.label == "diverged"));
}

#[test]
fn signals_that_a_run_is_too_short_for_are_left_out() {
    let mut m = material().clone();
    m.runs.truncate(1);
    let all: std::collections::BTreeSet<&str> = m.runs[0].leads.iter().map(|l| l.signal).collect();
    let silent = *all.iter().next().unwrap();
    for lead in m.runs[0].leads.iter_mut().filter(|l| l.signal == silent || l.lag == 30) {
        for c in [&mut lead.over_time, &mut lead.over_heads] {
            (c.plain, c.given_past) = (f64::NAN, f64::NAN);
        }
    }
    let drawing = &figure("lead-lag").unwrap().drawings(&m)[0];
    let names = drawing.panels[0].y.categories.as_ref().unwrap();
    assert!(!names.iter().any(|n| n == silent), "{names:?}");
    assert!(!drawing.panels[0].x.categories.as_ref().unwrap().contains(&"30".to_owned()));
}
