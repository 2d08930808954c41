//! `ablation`: what the loss loses when attention is replaced by the uniform average (section 8, reliance).

use growthpath_analysis::read::{Ablations, Estimate};

use super::common::{divider, divider_ink};
use crate::material::Material;
use crate::model::{Axis, Bar, Drawing, Item, LegendEntry, Panel, Stroke};
use crate::scale::Scale;
use crate::style::INK;

/// Bars side by side for the runs, with 95 % intervals over sequences: halves left, layers right.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new(sentence(m));
    drawing.subtitle = format!(
        "Reliance: loss with the part’s attention replaced by the uniform causal average, minus loss with it, as last measured ({}); whiskers: 95 % over sequences.",
        when(m)
    );
    drawing.columns = 2;
    drawing.min_panel = 120.0;
    drawing.panel_height = 130.0;
    drawing.legend =
        m.runs.iter().zip(m.styles()).map(|(r, s)| LegendEntry::patch(&r.name, s.colour)).collect();
    let layers = m.runs.iter().map(|r| r.series.layers).max().unwrap_or(0);
    let numbers: Vec<String> = (0..layers).map(|l| l.to_string()).collect();
    let halves = vec!["lower half".into(), "upper half".into()];
    drawing.panels.push(panel(m, "without a half’s attention", halves, "", |a| a.halves.to_vec()));
    let mut by_layer = panel(m, "without one layer’s attention", numbers, "layer", |a| a.layers.clone());
    if layers > 1 {
        let label = "lower | upper".into();
        by_layer.items.push(Item::VLine { x: divider(layers), label, stroke: divider_ink() });
    }
    drawing.panels.push(by_layer);
    vec![drawing]
}

fn panel(
    m: &Material,
    title: &str,
    names: Vec<String>,
    axis: &str,
    pick: impl Fn(&Ablations) -> Vec<Option<Estimate>>,
) -> Panel {
    let mut panel = Panel::new(title, Axis::categories(axis, names), Axis::new("nat/token", Scale::Linear));
    let width = 0.8 / m.runs.len().max(1) as f64;
    for (k, (run, style)) in m.runs.iter().zip(m.styles()).enumerate() {
        let (mut bars, mut whiskers) = (Vec::new(), Vec::new());
        for (i, e) in pick(&run.series.ablations).into_iter().enumerate() {
            let Some(e) = e.filter(|e| e.delta.is_finite()) else { continue };
            let x = i as f64 - 0.4 + width * (k as f64 + 0.5);
            let label = String::new();
            bars.push(Bar { x, width: 0.9 * width, from: 0.0, to: e.delta, colour: style.colour, label });
            if e.reach.is_finite() {
                whiskers.push((x, e.delta - e.reach, e.delta + e.reach));
            }
        }
        panel.items.push(Item::Bars { bars, lying: false });
        panel.items.push(Item::Whiskers { points: whiskers, stroke: Stroke::solid(INK, 0.8) });
    }
    panel
}

/// The steps at which the halves were last measured.
fn when(m: &Material) -> String {
    let steps =
        m.runs.iter().filter_map(|r| r.series.ablations.halves.iter().flatten().map(|e| e.step).max());
    match (steps.clone().min(), steps.max()) {
        (Some(a), Some(b)) if a < b => format!("steps {a} to {b}"),
        (Some(a), _) => format!("step {a}"),
        _ => "halves not measured".into(),
    }
}

/// Which half the loss relies on, where that can be told.
fn sentence(m: &Material) -> String {
    let more = |a: &Ablations| -> Option<bool> {
        let [lower, upper] = a.halves;
        let (lower, upper) = (lower?, upper?);
        let gap = upper.delta - lower.delta;
        let sure = upper.reach.hypot(lower.reach);
        (gap.abs() > sure).then_some(gap > 0.0)
    };
    let found: Vec<Option<bool>> = m.runs.iter().map(|r| more(&r.series.ablations)).collect();
    match found.first() {
        Some(Some(upper)) if found.iter().all(|f| f == &found[0]) => {
            let (most, least) = if *upper { ("upper", "lower") } else { ("lower", "upper") };
            format!("The loss relies on the {most} half’s attention more than on the {least} half’s")
        }
        _ => "What the loss relies on: attention taken out".into(),
    }
}
