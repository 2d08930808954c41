//! `growth-shares`: where each layer's growth came from (3.1).

use growthpath_analysis::read::LayerSplit;

use super::common::{divider, divider_ink, factor, signed};
use crate::colour::Colour;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, Drawing, Fill, Item, LegendEntry, Marker, Panel, stacked_bars};
use crate::scale::Scale;
use crate::style::{FAINT_INK, INK, parts};

type Part = (&'static str, Colour, fn(&LayerSplit) -> f64);

const PARTS: [Part; 3] = [
    ("query weights", parts::QUERY, |g| g.query),
    ("key weights", parts::KEY, |g| g.key),
    ("features", parts::FEATURES, |g| g.features),
];

/// Signed stacked bars a layer, with a marker at the net growth; the title says it in a sentence.
pub fn draw(m: &Material) -> Vec<Drawing> {
    let mut drawing = Drawing::new(sentence(&m.runs));
    drawing.subtitle = format!(
        "Log growth of the logits’ spread and its three parts, mean over each layer’s heads; {}.",
        m.steps_shown()
    );
    drawing.columns = super::common::columns_for(m.runs.len(), 4);
    drawing.min_panel = 96.0;
    drawing.share_y = true;
    drawing.panel_height = 140.0;
    drawing.legend = PARTS.iter().map(|p| LegendEntry::patch(p.0, p.1)).collect();
    drawing.legend.push(LegendEntry::marker("net growth", Marker::HollowDiamond, INK));
    if m.runs.iter().any(|r| r.analysis.accounting.long > 0) {
        drawing
            .legend
            .push(LegendEntry::hatch("some interval grew by more than 1: probe more often", FAINT_INK));
    }
    for run in &m.runs {
        let layers = &run.analysis.accounting.layers;
        let names = (0..layers.len()).map(|l| l.to_string()).collect();
        let mut panel =
            Panel::new(&run.name, Axis::categories("layer", names), Axis::new("growth (ln)", Scale::Linear));
        let values: Vec<Vec<f64>> = PARTS.iter().map(|p| layers.iter().map(p.2).collect()).collect();
        let stacked: Vec<(Colour, &[f64])> =
            PARTS.iter().zip(&values).map(|(p, v)| (p.1, v.as_slice())).collect();
        // Layers of which some interval was too long for its split to be trusted.
        let place = |l: usize| l as f64;
        panel.items.extend(layers.iter().enumerate().filter(|(_, g)| g.long > 0).map(|(l, _)| Item::Span {
            from: place(l) - 0.5,
            to: place(l) + 0.5,
            fill: Fill::HatchLane(FAINT_INK, 0),
            label: String::new(),
        }));
        panel.items.push(Item::Bars { bars: stacked_bars(&stacked, 0.8), lying: false });
        panel.items.push(Item::Scatter {
            points: layers.iter().enumerate().map(|(l, g)| (l as f64, g.growth)).collect(),
            marker: Marker::HollowDiamond,
            colour: INK,
            radius: 3.2,
        });
        if layers.len() > 1 {
            panel.note = format!("upper half {}", factor(upper(run, |g| g.growth)));
            let line = divider(layers.len());
            panel.items.push(Item::VLine { x: line, label: "lower | upper".into(), stroke: divider_ink() });
        }
        drawing.panels.push(panel);
    }
    vec![drawing]
}

/// Mean over the upper half's layers.
fn upper(run: &RunMaterial, of: impl Fn(&LayerSplit) -> f64) -> f64 {
    let layers = &run.analysis.accounting.layers;
    let half = &layers[layers.len() / 2..];
    half.iter().map(of).sum::<f64>() / half.len() as f64
}

/// What a part did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Push {
    Up,
    Down,
    Little,
}

/// Below this share of the larger part, a part did little.
const LITTLE: f64 = 0.1;

fn pushes(weights: f64, features: f64) -> Option<(Push, Push)> {
    let most = weights.abs().max(features.abs());
    let push = |v: f64| match v {
        v if v.abs() <= LITTLE * most => Push::Little,
        v if v > 0.0 => Push::Up,
        _ => Push::Down,
    };
    (weights.is_finite() && features.is_finite() && most > 0.0).then(|| (push(weights), push(features)))
}

/// Where the upper half's growth came from.
fn sentence(runs: &[RunMaterial]) -> String {
    let weights = |r: &RunMaterial| upper(r, |g| g.query + g.key);
    let features = |r: &RunMaterial| upper(r, |g| g.features);
    let found: Vec<(Push, Push)> = runs.iter().filter_map(|r| pushes(weights(r), features(r))).collect();
    let Some(first) = found.first() else { return "Where attention growth came from".into() };
    let what = if found.iter().any(|p| p != first) {
        "where attention growth came from differs between the runs"
    } else {
        match first {
            (Push::Up, Push::Down) => "the weights made attention grow, the features held it back",
            (Push::Up, Push::Up) => "weights and features both made attention grow",
            (Push::Up, Push::Little) => "the weights made attention grow, the features did little",
            (Push::Down, Push::Up) => "the features made attention grow, the weights held it back",
            (Push::Little, Push::Up) => "the features made attention grow, the weights did little",
            (Push::Down, Push::Down) => "weights and features both made attention shrink",
            (Push::Down, Push::Little) => "the weights made attention shrink, the features did little",
            (Push::Little, _) => "the features made attention shrink, the weights did little",
        }
    };
    match runs {
        [only] => format!(
            "{}, upper half: {what} (queries {}, keys {}, features {} ln)",
            only.name,
            signed(upper(only, |g| g.query)),
            signed(upper(only, |g| g.key)),
            signed(features(only)),
        ),
        _ => format!("Upper half: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_signs_of_what_is_not_little() {
        assert_eq!(pushes(5.0, -3.0), Some((Push::Up, Push::Down)));
        assert_eq!(pushes(5.0, -0.2), Some((Push::Up, Push::Little)));
        assert_eq!(pushes(-0.1, 2.0), Some((Push::Little, Push::Up)));
        assert_eq!(pushes(0.0, 0.0), None);
        assert_eq!(pushes(f64::NAN, 1.0), None);
    }
}
