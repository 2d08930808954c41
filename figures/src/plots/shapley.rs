//! `shapley`: from one arm's growth to another's, lever by lever (5.4).

use growthpath_analysis::compare::GroupComparison;

use super::common::{columns_for, signed};
use crate::colour::Colour;
use crate::material::Material;
use crate::model::{Axis, Bar, Drawing, Item, LegendEntry, Marker, Panel, Stroke};
use crate::scale::{Range, Scale};
use crate::style::{FAINT_INK, INK, parts};

/// A lever: its name, its colour, its part of the gap.
type Lever = (&'static str, Colour, f64);

fn levers(g: &GroupComparison) -> [Lever; 6] {
    let s = &g.shapley;
    [
        ("starting spread", parts::START, s.start),
        ("step size η", parts::STEP_SIZE, s.step_size),
        ("update geometry u", parts::UPDATE, s.update_geometry),
        ("residual energy e", parts::ENERGY, s.residual_energy),
        ("coherence c₀", parts::COHERENCE, s.coherence),
        ("features", parts::FEATURES, s.features),
    ]
}

/// Predicted growth of both arms.
fn ends(g: &GroupComparison) -> (f64, f64) {
    (g.predicted_a, g.predicted_b)
}

/// One drawing a pair: a waterfall from the first arm's predicted growth to the second's, one panel a half.
pub fn draw(m: &Material) -> Vec<Drawing> {
    // A split that is interpolated for the most part is not drawn: it may point the wrong way.
    let compared = m
        .comparisons
        .iter()
        .filter_map(|p| Some((p, p.comparison.as_ref().ok()?)))
        .filter(|(_, c)| c.split_is_trusted);
    compared
        .map(|(pair, c)| {
            let names = (m.runs[pair.from].name.as_str(), m.runs[pair.to].name.as_str());
            let mut groups = vec![("upper half", &c.groups.upper)];
            groups.extend(c.groups.lower.as_ref().map(|g| ("lower half", g)));
            waterfall(names, &groups, (c.window.first, c.window.last))
        })
        .collect()
}

fn waterfall(
    (from, to): (&str, &str),
    groups: &[(&str, &GroupComparison)],
    (first, last): (u32, u32),
) -> Drawing {
    let mut drawing =
        Drawing::new(groups.first().map_or(String::new(), |(half, g)| sentence(from, to, half, g)));
    drawing.subtitle = format!(
        "Log growth of the spread, mean over the heads of each half, steps {first} to {last}. Bars: predicted; levers are Shapley values and add up to the predicted gap."
    );
    drawing.columns = columns_for(groups.len(), 2);
    drawing.min_panel = 130.0;
    drawing.share_x = true;
    drawing.share_y = true;
    drawing.panel_height = 132.0;
    drawing.legend = vec![
        LegendEntry::patch("growth, predicted", INK.lighten(0.35)),
        LegendEntry::marker("growth, measured", Marker::HollowDiamond, INK),
    ];
    let range = cut(groups);
    if range.is_some() {
        drawing.subtitle += " The axis does not begin at 0.";
    }
    for (half, g) in groups {
        let mut panel = panel(from, to, half, g);
        panel.x.range = range;
        drawing.panels.push(panel);
    }
    drawing
}

/// The range that shows the levers, where they are small beside the growths; `None` to show all from 0.
fn cut(groups: &[(&str, &GroupComparison)]) -> Option<(f64, f64)> {
    let levels = groups.iter().flat_map(|(_, g)| {
        let (start, end) = ends(g);
        let levers = levers(g).into_iter().scan(start, |at, lever| {
            *at += lever.2;
            Some(*at)
        });
        let around = [start, end, g.measured_a.growth, g.measured_b.growth];
        levers.chain(around).collect::<Vec<f64>>()
    });
    let shown = Range::of(levels, Scale::Linear, 0.0)?;
    let span = shown.high - shown.low;
    // Room for the first bars at the left and for labels on both sides.
    let low = shown.low - 0.6 * span;
    (low > 0.25 * shown.high).then_some((low, shown.high + 0.35 * span))
}

fn panel(from: &str, to: &str, half: &str, g: &GroupComparison) -> Panel {
    let levers = levers(g);
    let mut names: Vec<String> = vec![from.into()];
    names.extend(levers.iter().map(|l| l.0.to_string()));
    names.push(to.into());
    // Read from the top: the first name has the highest place.
    let top = names.len() - 1;
    names.reverse();
    let mut panel = Panel::new(half, Axis::new("growth (ln)", Scale::Linear), Axis::categories("", names));
    panel.y.grid = false;
    panel.note = format!("gap: predicted {}, measured {}", signed(g.predicted_gap), signed(g.measured_gap));
    let (start, end) = ends(g);
    let bar = |row: usize, from: f64, to: f64, colour, label: String| Bar {
        x: (top - row) as f64,
        width: 0.7,
        from,
        to,
        colour,
        label,
    };
    let grey = INK.lighten(0.35);
    let mut bars = vec![bar(0, 0.0, start, grey, String::new())];
    let mut at = start;
    for (k, (_, colour, part)) in levers.into_iter().enumerate() {
        bars.push(bar(k + 1, at, at + part, colour, signed(part)));
        at += part;
    }
    bars.push(bar(top, 0.0, end, grey, String::new()));
    bars.retain(|b| b.from.is_finite() && b.to.is_finite());
    // Each bar begins where the one above it ends.
    let joints = bars.windows(2).map(|pair| Item::Line {
        points: vec![(pair[0].to, pair[0].x), (pair[0].to, pair[1].x)],
        stroke: Stroke::solid(FAINT_INK, 0.6),
        band: Vec::new(),
    });
    panel.items.extend(joints);
    panel.items.push(Item::Bars { bars, lying: true });
    panel.items.push(Item::Scatter {
        points: vec![(g.measured_a.growth, top as f64), (g.measured_b.growth, 0.0)],
        marker: Marker::HollowDiamond,
        colour: INK,
        radius: 3.4,
    });
    panel
}

/// The gap and its largest lever.
fn sentence(from: &str, to: &str, half: &str, g: &GroupComparison) -> String {
    let gap = g.predicted_gap;
    if !gap.is_finite() {
        return format!("{to} against {from}, {half}: the gap in growth is undefined");
    }
    let largest = levers(g)
        .into_iter()
        .filter(|l| l.2.is_finite() && l.2 * gap > 0.0)
        .max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()));
    let against = levers(g)
        .into_iter()
        .filter(|l| l.2.is_finite() && l.2 * gap < 0.0)
        .max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()));
    let part = |(name, _, part): Lever| format!("{name} ({})", signed(part));
    let how = match (largest, against) {
        // Parts that exceed the gap nearly cancel: neither alone is the reason.
        (Some(l), Some(a)) if a.2.abs() > 0.5 * gap.abs() => format!(": {} against {}", part(l), part(a)),
        (Some(l), _) => format!(", most of it by the {}", part(l)),
        _ => String::new(),
    };
    // What is split is the prediction: the measured gap stands beside it, for the two may differ in sign.
    format!(
        "{to} against {from}, {half}: predicted gap ln {}, measured {}{how}",
        signed(gap),
        signed(g.measured_gap)
    )
}
