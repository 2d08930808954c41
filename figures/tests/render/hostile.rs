//! Numbers that no training should give: the figures cope with them, or are not drawn.

use growthpath_analysis::read::{HalfCurves, Pairs, Series};
use growthpath_figures::*;

use crate::support::{check, material};

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
