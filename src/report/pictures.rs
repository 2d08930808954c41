//! From what was read to what is drawn: one function a figure.

use growthpath_analysis::compare::GroupComparison;
use growthpath_analysis::read::{Curve, HalfCurves};
use growthpath_figures::common::{Halves, Series, StepScale};
use growthpath_figures::{
    Figure, diagnosis, energy_shares, entropy, factors, growth_bound, growth_shares, loss, names,
    rate_scatter, shapley, spread_heatmap, tightness, write_energy,
};

use super::material::{Arm, Material};

/// A figure with the stem of its file names.
pub struct Picture {
    /// Kebab-case name, with a suffix where there is one figure a run or pair.
    pub stem: String,
    /// One line about it.
    pub description: &'static str,
    /// The figure.
    pub figure: Figure,
}

/// The figures called `only`, or all.
pub fn pictures(m: &Material, only: Option<&str>) -> Vec<Picture> {
    let mut out = Vec::new();
    for n in names().iter().filter(|n| only.is_none_or(|o| o == n.name)) {
        for (i, figure) in draw(n.name, m).into_iter().enumerate() {
            let stem = if i == 0 { n.name.to_string() } else { format!("{}-{}", n.name, i + 1) };
            out.push(Picture { stem, description: n.description, figure });
        }
    }
    out
}

fn draw(name: &str, m: &Material) -> Vec<Figure> {
    let step_scale = StepScale::Log;
    match name {
        "loss" => vec![losses(m)],
        "spread-heatmap" => vec![spread_heatmap::spread_heatmap(&spread_heatmap::Input {
            runs: each(m, |a| spread_heatmap::Run {
                name: a.name.clone(),
                steps: a.series.spread.steps.clone(),
                spread: a.series.spread.layers.clone(),
            }),
            log_colour: true,
            step_scale,
        })],
        "entropy" => vec![entropy::entropy(&entropy::Input {
            arms: each(m, |a| entropy::Arm { name: a.name.clone(), entropy: halves(&a.series.entropy) }),
            step_scale,
        })],
        "diagnosis" => diagnoses(m),
        "write-energy" => vec![write_energy::write_energy(&write_energy::Input {
            runs: each(m, |a| {
                let w = &a.series.writes;
                let (steps, attn, ffn) = (w.steps.clone(), w.attn.clone(), w.ffn.clone());
                write_energy::Run { name: a.name.clone(), steps, attn, ffn }
            }),
            step_scale,
        })],
        "growth-shares" => {
            vec![growth_shares::growth_shares(&growth_shares::Input { runs: each(m, shares) })]
        }
        "factors" => vec![factors::factors(&factors::Input {
            arms: each(m, |a| factors::Arm {
                name: a.name.clone(),
                step_size: halves(&a.series.step_term),
                energy: halves(&a.series.residual_energy),
                coherence: halves(&a.series.coherence),
                scale: halves(&a.series.scale),
            }),
            step_scale,
        })],
        "shapley" => gaps(m),
        "energy-shares" => vec![energy_shares::energy_shares(&energy_shares::Input {
            runs: each(m, |a| {
                let e = &a.series.energy_shares;
                energy_shares::Run {
                    name: a.name.clone(),
                    writes: e.writes.clone(),
                    shares: e.shares.clone(),
                }
            }),
        })],
        "rate-scatter" => vec![rate_scatter::rate_scatter(&rate_scatter::Input {
            arms: each(m, |a| rate_scatter::Arm {
                name: a.name.clone(),
                predicted: a.series.rates.predicted.clone(),
                measured: a.series.rates.measured.clone(),
            }),
            ..Default::default()
        })],
        "growth-bound" => {
            vec![growth_bound::growth_bound(&growth_bound::Input { runs: each(m, bound), step_scale })]
        }
        "tightness" => vec![tightness::tightness(&tightness::Input {
            runs: each(m, |a| {
                let t = &a.series.tightness;
                let half = |upper: bool| tightness::Half {
                    median: side(&t.median, upper),
                    max: side(&t.max, upper),
                };
                tightness::Run { name: a.name.clone(), lower: half(false), upper: half(true) }
            }),
            step_scale,
        })],
        _ => Vec::new(),
    }
}

fn each<T>(m: &Material, f: impl Fn(&Arm) -> T) -> Vec<T> {
    m.arms.iter().map(f).collect()
}

fn side(h: &HalfCurves, upper: bool) -> Series {
    Series::new(h.steps.clone(), if upper { h.upper.clone() } else { h.lower.clone() })
}

fn halves(h: &HalfCurves) -> Halves {
    Halves { lower: side(h, false), upper: side(h, true) }
}

fn curve(c: &Curve) -> Series {
    Series::new(c.steps.clone(), c.values.clone())
}

fn losses(m: &Material) -> Figure {
    loss::loss(&loss::Input {
        arms: each(m, |a| {
            let e = &a.series.eval_loss;
            loss::Arm {
                name: a.name.clone(),
                train: curve(&a.series.train_loss),
                validation: Series::new(e.steps.clone(), e.values.clone()),
            }
        }),
        floor: m.rate.map(|r| r.nats_per_byte),
        skip: 0.05,
        ..Default::default()
    })
}

fn shares(a: &Arm) -> growth_shares::Run {
    let g = &a.series.growth_by_layer;
    let pick = |f: fn(&growthpath_analysis::GrowthParts) -> f64| g.iter().map(|l| f(&l.parts)).collect();
    growth_shares::Run {
        name: a.name.clone(),
        weight: pick(|s| s.query),
        curvature: pick(|s| s.key),
        feature: pick(|s| s.features),
        rotation: vec![0.0; g.len()],
    }
}

fn bound(a: &Arm) -> growth_bound::Run {
    let g = &a.series.growth;
    let half = |upper: bool| growth_bound::Paths {
        steps: g.measured.steps.clone(),
        measured: side(&g.measured, upper).values,
        predicted: side(&g.predicted, upper).values,
        bound: side(&g.bound, upper).values,
    };
    growth_bound::Run { name: a.name.clone(), lower: half(false), upper: half(true) }
}

fn diagnoses(m: &Material) -> Vec<Figure> {
    let drawn: Vec<Figure> = m
        .arms
        .iter()
        .filter_map(|a| Some((a, a.diagnosis.as_ref()?)))
        .map(|(a, d)| {
            let steps = |s: &[u32]| s.iter().map(|s| f64::from(*s)).collect::<Vec<f64>>();
            let (sharp, mature) = (&d.curves.sharpness, &d.curves.maturity);
            diagnosis::diagnosis(&diagnosis::Input {
                name: a.name.clone(),
                sharpness: Series::new(steps(&sharp.steps), sharp.upper.clone()),
                maturity: Series::new(steps(&mature.steps), mature.lower.clone()),
                sharpness_threshold: d.thresholds.sharpness,
                maturity_threshold: d.thresholds.maturity,
                commitment: d.commitment.map(|b| f64::from(b.high)),
                settled: d.maturity.map(|b| f64::from(b.high)),
                total_steps: f64::from(d.total_steps),
                step_scale: StepScale::Log,
            })
        })
        .collect();
    if drawn.is_empty() { vec![diagnosis::diagnosis(&diagnosis::Input::default())] } else { drawn }
}

fn gaps(m: &Material) -> Vec<Figure> {
    let group = |name: &str, g: &GroupComparison| {
        let s = &g.shapley;
        shapley::Group {
            name: name.into(),
            step_size: s.step_size,
            update: s.update_geometry,
            energy: s.residual_energy,
            coherence: s.coherence,
            scale: s.start + s.features,
        }
    };
    let drawn: Vec<Figure> = m
        .comparisons
        .iter()
        .filter_map(|((i, j), c)| Some(((*i, *j), c.as_ref().ok()?)))
        .map(|((i, j), c)| {
            let mut groups = vec![group("upper half", &c.groups.upper)];
            groups.extend(c.groups.lower.as_ref().map(|g| group("lower half", g)));
            shapley::shapley(&shapley::Input {
                from: m.arms[i].name.clone(),
                to: m.arms[j].name.clone(),
                groups,
            })
        })
        .collect();
    if drawn.is_empty() { vec![shapley::shapley(&shapley::Input::default())] } else { drawn }
}
