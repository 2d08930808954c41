//! `sensitivity`: what the multiplier and the length of the hold do, over slowed runs of one arm.

use serde_json::Value;

use super::common::{columns_for, grey_legend};
use crate::colour::ColourMap;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, ColourScale, Drawing, Item, Panel};
use crate::scale::Scale;

/// Setting of a slowed run: multiplier, and hold as a fraction (infinite for an adaptive one).
type Setting = (f64, f64);

/// What a heat map shows of a run.
struct Quantity {
    title: &'static str,
    /// Its unit.
    unit: &'static str,
    /// The unit of which a thousandth is worth printing, where the unit itself would print as nothing.
    small: Option<&'static str>,
    of: fn(&RunMaterial) -> f64,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity {
        title: "Final loss by multiplier and hold",
        unit: "nat/token",
        small: Some("10⁻³ nat/token"),
        of: |r| r.analysis.val_loss,
    },
    Quantity {
        title: "Final spread of the upper half by multiplier and hold",
        unit: "ln spread",
        small: None,
        of: |r| {
            let layers = &r.analysis.layers;
            let upper = &layers[layers.len() / 2..];
            upper.iter().map(|l| l.spread_last.ln()).sum::<f64>() / upper.len() as f64
        },
    },
];

/// Multiplier against hold; one drawing for the final loss, one for the final spread of the upper half. Runs at the
/// same setting (seeds) are averaged; where one of them diverged the setting has no number. Nothing with fewer than two
/// settings.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let groups = groups(m);
    if groups.is_empty() {
        return Vec::new();
    }
    QUANTITIES.iter().map(|q| drawing(m, &groups, q)).collect()
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
            let label = &plain.first().unwrap_or(&run).series.label;
            let name = if label.is_empty() { target.clone() } else { format!("{label}, {target}") };
            groups.push((key, target, Group { name, plain, slowed: Vec::new() }));
            groups.len() - 1
        });
        groups[place].2.slowed.push((at, run));
    }
    let several = |g: &Group<'_>| g.slowed.iter().any(|s| s.0 != g.slowed[0].0);
    groups.into_iter().map(|g| g.2).filter(several).collect()
}

/// A heat map's numbers: multipliers along, holds upwards, cells in the same order by row.
struct Grid {
    multipliers: Vec<f64>,
    holds: Vec<f64>,
    cells: Vec<Vec<f64>>,
}

/// The cells of a group, less what the arm as it is came to. Infinite where a run diverged, NaN where none was trained.
fn grid(group: &Group<'_>, of: fn(&RunMaterial) -> f64, relative: bool) -> Grid {
    let from =
        if relative { mean(group.plain.iter().filter(|r| r.diverged.is_none()).map(|r| of(r))) } else { 0.0 };
    let axis = |pick: fn(&Setting) -> f64| {
        let mut values: Vec<f64> = group.slowed.iter().map(|s| pick(&s.0)).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    };
    let (multipliers, holds) = (axis(|s| s.0), axis(|s| s.1));
    let cell = |hold: &f64, multiplier: &f64| {
        let there = || group.slowed.iter().filter(|s| s.0 == (*multiplier, *hold)).map(|s| s.1);
        match there().any(|r| r.diverged.is_some()) {
            true => f64::INFINITY,
            false => mean(there().map(of)) - from,
        }
    };
    let cells = holds.iter().map(|h| multipliers.iter().map(|x| cell(h, x)).collect()).collect();
    Grid { multipliers, holds, cells }
}

/// Below this, differences are printed in thousandths.
const SMALL: f64 = 0.1;

fn drawing(m: &Material, groups: &[Group<'_>], q: &Quantity) -> Drawing {
    let mut drawing = Drawing::new(q.title);
    drawing.columns = columns_for(groups.len(), 3);
    drawing.min_panel = 120.0;
    // Seeds of the arm as it is that diverged have no loss to be measured from.
    let relative =
        groups.iter().all(|g| g.plain.iter().any(|r| r.diverged.is_none() && (q.of)(r).is_finite()));
    let grids: Vec<Grid> = groups.iter().map(|g| grid(g, q.of, relative)).collect();
    let finite = || grids.iter().flat_map(|g| g.cells.iter().flatten()).copied().filter(|v| v.is_finite());
    let thousandths = q.small.filter(|_| relative && finite().all(|v| v.abs() < SMALL));
    let times = if thousandths.is_some() { 1e3 } else { 1.0 };
    let unit = thousandths.unwrap_or(q.unit);
    drawing.colours = Some(ColourScale {
        label: unit.to_owned(),
        map: if relative { ColourMap::Diverging } else { ColourMap::Sequential },
        scale: Scale::Linear,
        range: None,
        span: 1.0,
        discrete: None,
    });
    let from = if relative { "Difference from the arm as it is, m" } else { "M" };
    drawing.subtitle = format!("{from}eans over the runs at a setting; {}.", m.steps_shown());
    let range = finite().fold(f64::NEG_INFINITY, f64::max) - finite().fold(f64::INFINITY, f64::min);
    let rows = grids.iter().map(|g| g.holds.len()).max().unwrap_or(0);
    drawing.panel_height = (rows as f64 * 22.0).clamp(44.0, 200.0);
    for (group, Grid { multipliers, holds, cells }) in groups.iter().zip(grids) {
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
            values: cells.into_iter().map(|row| row.into_iter().map(|v| times * v).collect()).collect(),
            print: Some(decimals(times * range)),
        });
        drawing.panels.push(panel);
    }
    drawing.legend = grey_legend(&drawing.panels, "not trained", "diverged");
    drawing
}

/// Decimals that tell cells apart which scatter over `range`: two figures of it.
fn decimals(range: f64) -> usize {
    if range > 0.0 && range.is_finite() { (1.0 - range.log10().floor()).clamp(0.0, 3.0) as usize } else { 2 }
}

/// Mean of the finite values; NaN without any.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let finite: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len() as f64
}

#[cfg(test)]
mod tests {
    use super::decimals;

    #[test]
    fn cells_have_the_decimals_that_tell_them_apart() {
        assert_eq!([decimals(23.0), decimals(8.0), decimals(0.4), decimals(0.03)], [0, 1, 2, 3]);
        assert_eq!([decimals(0.0), decimals(f64::NAN), decimals(4000.0)], [2, 2, 0]);
    }
}
