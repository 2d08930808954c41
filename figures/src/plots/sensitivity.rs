//! `sensitivity`: what the multiplier and the length of the hold do, over slowed runs of one arm.

use serde_json::Value;

use super::common::columns_for;
use crate::colour::ColourMap;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, ColourScale, Drawing, Item, Panel};
use crate::scale::Scale;

/// Setting of a slowed run: multiplier, and hold as a fraction (infinite for an adaptive one).
type Setting = (f64, f64);

/// Multiplier against hold; one drawing for the final loss, one for the final spread of the upper half. Runs at the
/// same setting (seeds) are averaged. Nothing with fewer than two settings.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let groups = groups(m);
    if groups.is_empty() {
        return Vec::new();
    }
    // In thousandths, so that cells have figures to print.
    let loss: fn(&RunMaterial) -> f64 = |r| 1e3 * r.analysis.val_loss;
    let spread: fn(&RunMaterial) -> f64 = |r| {
        let layers = &r.analysis.layers;
        let upper = &layers[layers.len() / 2..];
        upper.iter().map(|l| l.spread_last.ln()).sum::<f64>() / upper.len() as f64
    };
    vec![
        drawing(
            m,
            &groups,
            "Final loss by multiplier and hold",
            "10⁻³ nat/token minus that of the arm as it is",
            loss,
        ),
        drawing(
            m,
            &groups,
            "Final spread of the upper half by multiplier and hold",
            "ln spread minus that of the arm as it is",
            spread,
        ),
    ]
}

/// Slowed runs of one arm and target, with the runs of the arm as it is.
struct Group<'m> {
    name: String,
    plain: Vec<&'m RunMaterial>,
    slowed: Vec<(Setting, &'m RunMaterial)>,
}

fn setting(config: &Value) -> Option<(String, Setting)> {
    let i = config.get("intervention").filter(|i| !i.is_null())?;
    let hold = i.get("hold")?;
    let fraction = hold.get("fraction").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
    Some((i.get("target")?.as_str()?.to_owned(), (i.get("multiplier")?.as_f64()?, fraction)))
}

/// What makes an arm: everything that was set but the seed, the intervention and when it was looked at.
fn arm(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(map) = config.as_object_mut() {
        ["seed", "intervention", "probe"].iter().for_each(|k| drop(map.remove(*k)));
    }
    config
}

fn groups(m: &Material) -> Vec<Group<'_>> {
    let mut groups: Vec<(Value, String, Group<'_>)> = Vec::new();
    for run in &m.runs {
        let Some((target, at)) = setting(&run.config) else { continue };
        let key = arm(&run.config);
        let place = groups.iter().position(|g| g.0 == key && g.1 == target).unwrap_or_else(|| {
            let plain: Vec<&RunMaterial> =
                (m.runs.iter()).filter(|r| setting(&r.config).is_none() && arm(&r.config) == key).collect();
            let name = plain.first().map_or_else(|| run.name.clone(), |r| format!("{}, {target}", r.name));
            groups.push((key, target, Group { name, plain, slowed: Vec::new() }));
            groups.len() - 1
        });
        groups[place].2.slowed.push((at, run));
    }
    let several = |g: &Group<'_>| g.slowed.iter().any(|s| s.0 != g.slowed[0].0);
    groups.into_iter().map(|g| g.2).filter(several).collect()
}

fn drawing(
    m: &Material,
    groups: &[Group<'_>],
    title: &str,
    label: &str,
    of: fn(&RunMaterial) -> f64,
) -> Drawing {
    let mut drawing = Drawing::new(title);
    drawing.subtitle = format!("Means over the runs at a setting; {}.", m.steps_shown());
    drawing.columns = columns_for(groups.len(), 3);
    drawing.min_panel = 120.0;
    drawing.panel_height = 110.0;
    let relative = groups.iter().all(|g| !g.plain.is_empty());
    let label = if relative { label } else { label.split(" minus").next().unwrap_or(label) };
    drawing.colours = Some(ColourScale {
        label: label.into(),
        map: if relative { ColourMap::Diverging } else { ColourMap::Sequential },
        scale: Scale::Linear,
        range: None,
        span: 1.0,
        discrete: None,
    });
    for group in groups {
        let from = if relative { mean(group.plain.iter().map(|r| of(r))) } else { 0.0 };
        let axis = |pick: fn(&Setting) -> f64| {
            let mut values: Vec<f64> = group.slowed.iter().map(|s| pick(&s.0)).collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            values
        };
        let (multipliers, holds) = (axis(|s| s.0), axis(|s| s.1));
        let cell = |hold: &f64, multiplier: &f64| {
            let there = group.slowed.iter().filter(|s| s.0 == (*multiplier, *hold));
            mean(there.map(|s| of(s.1))) - from
        };
        let names = |values: &[f64], unit: fn(f64) -> String| -> Vec<String> {
            values.iter().map(|v| unit(*v)).collect()
        };
        // Two decimals of a percent at most.
        let hold_name = |v: f64| match v.is_finite() {
            true => format!("{} %", (1e4 * v).round() / 100.0),
            false => "adaptive".to_owned(),
        };
        let mut panel = Panel::new(
            &group.name,
            Axis::categories("multiplier", names(&multipliers, |v| v.to_string())),
            Axis::categories("hold", names(&holds, hold_name)),
        );
        panel.items.push(Item::Heatmap {
            x_edges: (0..=multipliers.len()).map(|i| i as f64 - 0.5).collect(),
            y_edges: (0..=holds.len()).map(|i| i as f64 - 0.5).collect(),
            values: holds.iter().map(|h| multipliers.iter().map(|x| cell(h, x)).collect()).collect(),
            print: true,
        });
        drawing.panels.push(panel);
    }
    drawing
}

/// Mean of the finite values; NaN without any.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let finite: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len() as f64
}
