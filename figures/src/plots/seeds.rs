//! `seeds`: arms over seeds: means with their 95 % bands over thin single seeds.

use growthpath_analysis::statistics::{CONFIDENCE, mean_interval};
use serde_json::Value;

use super::common::{HALVES, columns_for, line, reference, step_axis};
use crate::arms::ArmStyle;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, Dash, Drawing, Item, LegendEntry, Panel, Stroke};
use crate::names::{Unnamed, names};
use crate::scale::Scale;
use crate::style::REFERENCE;

/// The runs of one arm, in the order given.
struct Arm<'m> {
    name: String,
    style: ArmStyle,
    runs: Vec<&'m RunMaterial>,
}

/// One curve a seed over shared steps.
struct Family {
    steps: Vec<f64>,
    curves: Vec<Vec<f64>>,
}

/// Spread of both halves, arm by arm, and each arm's loss against the first arm's. Nothing without an arm of two seeds.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let arms = arms(m);
    if arms.iter().all(|a| a.runs.len() < 2) {
        return Vec::new();
    }
    vec![spreads(m, &arms), losses(m, &arms)]
}

/// Runs by label and style: what is left when the seed is taken away.
fn arms(m: &Material) -> Vec<Arm<'_>> {
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for (run, style) in m.runs.iter().zip(m.styles()) {
        let same = |a: &Arm<'_>| a.style == style && a.runs[0].series.label == run.series.label;
        match arms.iter_mut().find(|a| same(a)) {
            Some(arm) => arm.runs.push(run),
            None => arms.push(Arm { name: String::new(), style, runs: vec![run] }),
        }
    }
    let of = |r: &&RunMaterial| (r.series.label.clone(), without_seed(&r.config));
    let first: Vec<(String, Value)> = arms.iter().map(|a| of(&a.runs[0])).collect();
    let unnamed = first.iter().zip(&arms).map(|((label, config), arm)| Unnamed {
        label,
        config,
        dir: &arm.runs[0].dir,
    });
    let names = names(&unnamed.collect::<Vec<_>>());
    arms.iter_mut().zip(names).for_each(|(arm, name)| arm.name = name);
    arms
}

/// A configuration that all seeds of an arm share.
fn without_seed(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(map) = config.as_object_mut() {
        map.remove("seed");
    }
    config
}

fn spreads(m: &Material, arms: &[Arm<'_>]) -> Drawing {
    let mut d = panels("Spread of the attention logits, upper and lower half, over seeds", arms.len());
    d.subtitle = format!(
        "Geometric mean over the heads of a half; {}. Thick: mean over seeds, band: its 95 % interval, thin: single seeds.",
        m.steps_shown()
    );
    for arm in arms {
        let mut panel = Panel::new(&arm.name, step_axis(m), Axis::new("spread", Scale::Log));
        panel.note = count(arm.runs.len());
        for (_, upper) in HALVES {
            let family = family(&arm.runs, |r| half(r, upper));
            panel.items.extend(band(&family, ink(arm.style, upper), true));
        }
        d.panels.push(panel);
    }
    let of = |upper| ink(ArmStyle { colour: REFERENCE, dash: Dash::Solid }, upper);
    d.legend = vec![
        LegendEntry::line("upper half (in the arm's colour)", of(true)),
        LegendEntry::line("lower half", of(false)),
    ];
    d
}

fn losses(m: &Material, arms: &[Arm<'_>]) -> Drawing {
    let Some((first, others)) = arms.split_first() else { return Drawing::new("") };
    let mut d = panels(
        &format!("Validation loss minus that of {}, runs of the same seed paired", first.name),
        others.len(),
    );
    d.subtitle = format!(
        "nat/token, {}. Thick: mean over seeds, band: its 95 % interval, thin: single seeds; a band that covers zero is noise.",
        m.steps_shown()
    );
    for arm in others {
        let pairs: Vec<(&RunMaterial, &RunMaterial)> = arm
            .runs
            .iter()
            .filter_map(|r| Some((*r, *first.runs.iter().find(|f| seed(f) == seed(r))?)))
            .collect();
        let mut panel =
            Panel::new(&arm.name, step_axis(m), Axis::new("difference (nat/token)", Scale::Linear));
        panel.note = count(pairs.len());
        panel.items.push(Item::HLine { y: 0.0, label: String::new(), stroke: reference() });
        let family = family(&pairs, |(r, f)| {
            let (a, b) = (&f.series.eval_loss, &r.series.eval_loss);
            // The loss before training is chance.
            let later = a.steps == b.steps && !a.steps.is_empty();
            let from = usize::from(later);
            let values = b.values.iter().zip(&a.values).map(|(y, x)| y - x).skip(from).collect();
            (b.steps.iter().copied().skip(from).collect(), if later { values } else { Vec::new() })
        });
        panel.items.extend(band(&family, arm.style.stroke(), false));
        d.panels.push(panel);
    }
    d
}

fn panels(title: &str, count: usize) -> Drawing {
    let mut d = Drawing::new(title);
    d.columns = columns_for(count, 4);
    d.min_panel = 110.0;
    d.panel_height = 110.0;
    d.share_x = true;
    d.share_y = true;
    d
}

fn count(n: usize) -> String {
    if n == 1 { "1 seed".to_owned() } else { format!("{n} seeds") }
}

fn seed(r: &RunMaterial) -> Option<u64> {
    r.config.get("seed").and_then(Value::as_u64)
}

/// The arm's ink for its upper half; grey and broken for the lower, which is what the upper is seen against.
fn ink(style: ArmStyle, upper: bool) -> Stroke {
    match upper {
        true => Stroke { dash: Dash::Solid, ..style.stroke() },
        false => Stroke { colour: REFERENCE, dash: Dash::Dashed, ..style.stroke() },
    }
}

/// Geometric mean of the spread over the layers of a half.
fn half(r: &RunMaterial, upper: bool) -> (Vec<f64>, Vec<f64>) {
    let s = &r.series.spread;
    let mine: Vec<&Vec<f64>> = s
        .layers
        .iter()
        .enumerate()
        .filter(|(l, _)| (*l >= s.layers.len() / 2) == upper)
        .map(|(_, v)| v)
        .collect();
    let mean = |i: usize| {
        let logs = mine.iter().map(|v| v.get(i).map_or(f64::NAN, |x| x.ln()));
        (logs.sum::<f64>() / mine.len() as f64).exp()
    };
    (s.steps.clone(), (0..s.steps.len()).map(mean).collect())
}

/// Curves over the steps of the first; one that was recorded at other steps is left out.
fn family<T>(of: &[T], curve: impl Fn(&T) -> (Vec<f64>, Vec<f64>)) -> Family {
    let mut curves =
        of.iter().map(curve).filter(|(steps, values)| steps.len() == values.len() && !steps.is_empty());
    let Some((steps, first)) = curves.next() else { return Family { steps: Vec::new(), curves: Vec::new() } };
    let rest = curves.filter(|(s, _)| *s == steps).map(|(_, values)| values);
    Family { curves: std::iter::once(first).chain(rest).collect(), steps }
}

/// Thin single curves, then their mean with its interval; in logarithms for positive quantities.
fn band(f: &Family, stroke: Stroke, logs: bool) -> Vec<Item> {
    let thin = Stroke { colour: stroke.colour.lighten(0.45), width: 0.6, dash: Dash::Solid };
    let points = |values: &[f64]| f.steps.iter().copied().zip(values.iter().copied()).collect::<Vec<_>>();
    let mut items: Vec<Item> = f.curves.iter().map(|c| line(points(c), thin)).collect();
    let (mut mean, mut band) = (Vec::new(), Vec::new());
    for (i, step) in f.steps.iter().enumerate() {
        let there = |v: f64| if logs { v.ln() } else { v };
        let back = |v: f64| if logs { v.exp() } else { v };
        let values: Vec<f64> = f.curves.iter().map(|c| there(c[i])).filter(|v| v.is_finite()).collect();
        if values.is_empty() {
            continue;
        }
        mean.push((*step, back(values.iter().sum::<f64>() / values.len() as f64)));
        if let Ok(interval) = mean_interval(&values, CONFIDENCE)
            && interval.low.is_finite()
        {
            band.push((*step, back(interval.low), back(interval.high)));
        }
    }
    items.push(Item::Line { points: mean, stroke, band });
    items
}
