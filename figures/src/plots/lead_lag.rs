//! `lead-lag`: how early signals go with the growth that follows (2.1, section 7).

use growthpath_analysis::read::{LEAD_LAGS, Lead};

use super::common::{columns_for, grey_legend};
use crate::colour::ColourMap;
use crate::material::Material;
use crate::model::{Axis, ColourScale, Drawing, Item, Panel};
use crate::scale::Scale;

/// What a panel shows: its name and its number of each lead.
type Kind = (&'static str, fn(&Lead) -> f64);

const KINDS: [Kind; 2] = [
    ("when a head grows", |l| or_plain(l.over_time.given_past, l.over_time.plain, l)),
    ("which head grows", |l| or_plain(l.over_heads.given_past, l.over_heads.plain, l)),
];

/// Name of the rival signal, which is not corrected for itself.
const PAST: &str = "past growth";

/// Steps below which a correlation over them is not worth a headline: chance alone gives 0.36 once in twenty. What is
/// given the past needs as many steps more as the past is long.
const ENOUGH: usize = 30;

/// A signal in words; M is `W_Q W_K^T`.
fn human(signal: &str) -> &str {
    match signal {
        "dm_f" => "update of M: size",
        "dm_top" => "update of M: largest value",
        "dm_entropy" => "update of M: entropy",
        named => named,
    }
}

fn or_plain(given_past: f64, plain: f64, lead: &Lead) -> f64 {
    if lead.signal == PAST { plain } else { given_past }
}

/// One drawing a run: signals by lag, over time and over heads. Signals and lags that the run is too short for are left
/// out.
pub fn draw(m: &Material) -> Vec<Drawing> {
    m.runs.iter().filter_map(|r| one(m, &r.name, &r.leads)).collect()
}

fn one(m: &Material, name: &str, leads: &[Lead]) -> Option<Drawing> {
    let known = |l: &Lead| KINDS.iter().any(|k| (k.1)(l).is_finite());
    let shown: Vec<u32> =
        LEAD_LAGS.into_iter().filter(|k| leads.iter().any(|l| l.lag == *k && known(l))).collect();
    let signals: Vec<&[Lead]> =
        leads.chunks(LEAD_LAGS.len()).rev().filter(|of_signal| of_signal.iter().any(known)).collect();
    let mut drawing = Drawing::new(sentence(name, leads));
    drawing.subtitle = format!(
        "Rank correlation of each signal at a step with the log growth over the k steps after it, given the growth over the k steps before (past growth: as it is). First panel: over a head’s steps, median over heads; second: over the heads at a step, mean over steps; {}.",
        m.steps_shown()
    );
    drawing.columns = columns_for(KINDS.len(), 2);
    drawing.min_panel = 90.0;
    drawing.share_y = true;
    drawing.panel_height = (signals.len() as f64 * 15.0).clamp(30.0, 240.0);
    drawing.colours = Some(ColourScale {
        label: "rank correlation".into(),
        map: ColourMap::Diverging,
        scale: Scale::Linear,
        range: Some((-1.0, 1.0)),
        span: 1.0,
        discrete: None,
    });
    for (title, pick) in KINDS {
        let lags = shown.iter().map(u32::to_string).collect();
        let names = signals.iter().map(|s| s.first().map_or("", |l| human(l.signal)).to_owned()).collect();
        let row = |s: &&[Lead]| s.iter().filter(|l| shown.contains(&l.lag)).map(pick).collect();
        let mut panel =
            Panel::new(title, Axis::categories("k (steps ahead)", lags), Axis::categories("", names));
        panel.items.push(Item::Heatmap {
            x_edges: (0..=shown.len()).map(|i| i as f64 - 0.5).collect(),
            y_edges: (0..=signals.len()).map(|i| i as f64 - 0.5).collect(),
            values: signals.iter().map(row).collect(),
            print: Some(2),
        });
        drawing.panels.push(panel);
    }
    drawing.legend = grey_legend(&drawing.panels, "too few steps", "undefined");
    (!signals.is_empty()).then_some(drawing)
}

/// The strongest signal beyond past growth.
fn sentence(name: &str, leads: &[Lead]) -> String {
    let best = leads
        .iter()
        .filter(|l| {
            l.signal != PAST
                && l.over_time.given_past.is_finite()
                && l.over_heads.count >= ENOUGH + l.lag as usize
        })
        .max_by(|a, b| a.over_time.given_past.abs().total_cmp(&b.over_time.given_past.abs()));
    match best {
        Some(l) => {
            let r = growthpath_trace::signed(l.over_time.given_past, 2).replace('-', "−");
            let ahead = if l.lag == 1 { "step" } else { "steps" };
            format!(
                "{name}: of the early signals {} says most ({} {ahead} ahead, {r})",
                human(l.signal),
                l.lag
            )
        }
        None => format!("{name}: early signals and the growth that follows"),
    }
}
