//! What the figures share: curves of the two halves, the step axis, marks of the hold and of long intervals, numbers
//! in words.

use growthpath_analysis::read::{HalfCurves, Series};

use crate::arms::ArmStyle;
use crate::colour::Colour;
use crate::material::{Material, RunMaterial};
use crate::model::{Axis, Dash, Fill, Item, LegendEntry, Panel, Stroke};
use crate::scale::{Range, Scale};
use crate::style::{DIVERGED, FAINT_INK, MISSING, REFERENCE};
use crate::ticks::number;

/// Points of a curve.
pub fn points(steps: &[f64], values: &[f64]) -> Vec<(f64, f64)> {
    steps.iter().copied().zip(values.iter().copied()).collect()
}

/// A line without a band.
pub fn line(points: Vec<(f64, f64)>, stroke: Stroke) -> Item {
    Item::Line { points, stroke, band: Vec::new() }
}

/// Points of one half.
pub fn side(curves: &HalfCurves, upper: bool) -> Vec<(f64, f64)> {
    points(&curves.steps, if upper { &curves.upper } else { &curves.lower })
}

/// The halves with their names, in the order in which they stand beside each other.
pub const HALVES: [(&str, bool); 2] = [("lower half", false), ("upper half", true)];

/// The step axis: stretched towards the start, where attention grows, unless a window begins later.
pub fn step_axis(m: &Material) -> Axis {
    /// Part of the run up to which the axis is linear; logarithmic from there.
    const LINEAR: f64 = 1.0 / 30.0;
    let start = m.runs.iter().map(|r| r.series.window.start).min().unwrap_or(0);
    let end = m.runs.iter().map(|r| r.series.window.end).max().unwrap_or(0);
    let scale = match start {
        0 => Scale::SymLog { linear: (LINEAR * f64::from(end)).max(1.0) },
        _ => Scale::Linear,
    };
    let range = (start < end).then(|| (start.into(), end.into()));
    Axis { range, ..Axis::new("training step", scale).tight() }
}

/// A quantity of both halves, run by run.
pub struct Quantity {
    /// Label of its axis, with unit.
    pub label: &'static str,
    /// Its scale.
    pub scale: Scale,
    /// Its curves.
    pub pick: fn(&Series) -> &HalfCurves,
    /// Curves beside them in thin lines: a part, a largest value.
    pub thin: Option<fn(&Series) -> &HalfCurves>,
}

/// Width of the thin lines.
pub const THIN: f64 = 0.7;

impl Quantity {
    /// Every value that is drawn.
    fn values<'m>(&'m self, m: &'m Material) -> impl Iterator<Item = f64> + 'm {
        let picks = [Some(self.pick), self.thin].into_iter().flatten();
        let curves = picks.flat_map(move |pick| m.runs.iter().map(move |r| pick(&r.series)));
        curves.flat_map(|h| h.lower.iter().chain(&h.upper).copied())
    }

    /// Lower half, then upper half, on one range: each run in its colour and dash, over the marks of its hold and long
    /// intervals.
    pub fn panels(&self, m: &Material, titled: bool) -> [Panel; 2] {
        let range = Range::of(self.values(m), self.scale, 0.05).map(|r| (r.low, r.high));
        HALVES.map(|(half, upper)| {
            let label = if upper { "" } else { self.label };
            let axis = Axis { range, ..Axis::new(label, self.scale) };
            let mut panel = Panel::new(if titled { half } else { "" }, step_axis(m), axis);
            panel.items = time_marks(&m.runs.iter().collect::<Vec<_>>(), &m.styles(), Some(upper));
            for (run, style) in m.runs.iter().zip(m.styles()) {
                if let Some(thin) = self.thin {
                    panel.items.push(line(side(thin(&run.series), upper), style.stroke_of(THIN)));
                }
                panel.items.push(line(side((self.pick)(&run.series), upper), style.stroke()));
            }
            panel
        })
    }
}

/// Wash behind the steps at which an arm is slowed, and the strip over it.
const HOLD: (Colour, Colour) = (Colour::hex(0xF8F3E4), Colour::hex(0xC99A2E));

/// The hold of each run as a wash; where a half is given, its long intervals as a hatched lane each.
pub fn time_marks(runs: &[&RunMaterial], styles: &[ArmStyle], upper: Option<bool>) -> Vec<Item> {
    let span = |from: u32, to: u32, fill| Item::Span {
        from: from.into(),
        to: to.into(),
        fill,
        label: String::new(),
    };
    let holds = runs.iter().filter_map(|r| r.series.hold);
    let mut items: Vec<Item> = holds.map(|h| span(h.start, h.end, Fill::Strip(HOLD.0, HOLD.1))).collect();
    for (lane, (run, style)) in runs.iter().zip(styles).enumerate() {
        let long = &run.series.long_intervals;
        let intervals = match upper {
            Some(true) => &long.upper[..],
            Some(false) => &long.lower[..],
            None => &[],
        };
        items.extend(intervals.iter().map(|i| span(i.0, i.1, Fill::HatchLane(style.colour, lane))));
    }
    items
}

/// Legend of the [`time_marks`] that are in a drawing's panels.
pub fn mark_legend(panels: &[Panel]) -> Vec<LegendEntry> {
    let any = |is: fn(Fill) -> bool| {
        let mut items = panels.iter().flat_map(|p| &p.items);
        items.any(|i| matches!(i, Item::Span { fill, .. } if is(*fill)))
    };
    let mut entries = Vec::new();
    if any(|f| matches!(f, Fill::Strip(..))) {
        entries.push(LegendEntry::strip("slowed: hold and ramp", HOLD.0, HOLD.1));
    }
    if any(|f| matches!(f, Fill::HatchLane(..))) {
        entries.push(LegendEntry::hatch("interval with growth above 1 in a head", FAINT_INK));
    }
    entries
}

/// Legend of the cells of a heat map that have no colour: what NaN and what an infinite value stand for there.
pub fn grey_legend(panels: &[Panel], missing: &str, diverged: &str) -> Vec<LegendEntry> {
    let cells = || {
        let maps = panels.iter().flat_map(|p| &p.items).filter_map(|i| match i {
            Item::Heatmap { values, .. } => Some(values.iter().flatten().copied()),
            _ => None,
        });
        maps.flatten()
    };
    let mut entries = Vec::new();
    if cells().any(f64::is_nan) {
        entries.push(LegendEntry::patch(missing, MISSING));
    }
    if cells().any(f64::is_infinite) {
        entries.push(LegendEntry::patch(diverged, DIVERGED));
    }
    entries
}

/// Legend of the runs.
pub fn run_legend(m: &Material) -> Vec<LegendEntry> {
    m.runs
        .iter()
        .zip(m.styles())
        .map(|(run, style)| LegendEntry::line(&run.name, style.stroke_of(2.0)))
        .collect()
}

/// First layer of the upper half.
pub fn divider(layers: usize) -> f64 {
    (layers / 2) as f64 - 0.5
}

/// Ink of the line between the halves.
pub fn divider_ink() -> Stroke {
    Stroke { colour: FAINT_INK, width: 0.9, dash: Dash::Dashed }
}

/// A dashed reference line's ink.
pub fn reference() -> Stroke {
    Stroke { colour: REFERENCE, width: 1.0, dash: Dash::Dashed }
}

/// A number with its sign, two decimals.
pub fn signed(v: f64) -> String {
    if !v.is_finite() {
        "undefined".into()
    } else if v.abs() < 0.005 {
        "0.00".into()
    } else if v.abs() < 1e4 {
        format!("{v:+.2}").replace('-', "−")
    } else {
        number(v)
    }
}

/// A growth in ln units as a factor.
pub fn factor(growth: f64) -> String {
    let f = growth.exp();
    match f {
        f if !f.is_finite() => "undefined".into(),
        f if f < 10.0 => format!("×{f:.2}"),
        f if f < 1e4 => format!("×{f:.1}"),
        f => format!("×{}", number(f)),
    }
}

/// Centred rolling mean over up to `window` points, finite ones only; where the centre is not finite, neither is
/// the mean. Near the ends the window shrinks on both sides alike, so that a slope is not bent.
pub fn rolling_mean(values: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    (0..values.len())
        .map(|i| {
            let reach = half.min(i).min(values.len() - 1 - i);
            let finite: Vec<f64> =
                values[i - reach..=i + reach].iter().copied().filter(|v| v.is_finite()).collect();
            let count = finite.len() as f64;
            if values[i].is_finite() { finite.iter().map(|v| v / count).sum() } else { f64::NAN }
        })
        .collect()
}

/// Order of the usable (finite, distinct) steps and the borders of their cells: midway between neighbours.
pub fn step_cells(steps: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let mut order: Vec<usize> = (0..steps.len()).filter(|&i| steps[i].is_finite()).collect();
    order.sort_by(|&a, &b| steps[a].total_cmp(&steps[b]));
    order.dedup_by(|a, b| steps[*a] == steps[*b]);
    let at = |k: usize| steps[order[k]];
    let edges = match order.len() {
        0 => Vec::new(),
        1 => vec![at(0) - 0.5, at(0) + 0.5],
        n => {
            let mut edges = vec![at(0)];
            edges.extend((1..n).map(|k| at(k - 1) / 2.0 + at(k) / 2.0));
            edges.push(at(n - 1));
            edges
        }
    };
    (order, edges)
}

/// Panels in a row: at most `most`, rows as even as possible.
pub fn columns_for(panels: usize, most: usize) -> usize {
    let most = most.max(1);
    if panels <= most {
        return panels.max(1);
    }
    // As even as possible: 4 panels go 2 + 2 rather than 3 + 1.
    let rows = panels.div_ceil(most);
    panels.div_ceil(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signed_numbers_keep_their_sign() {
        assert_eq!(signed(1.234), "+1.23");
        assert_eq!(signed(-0.5), "−0.50");
        assert_eq!(signed(-0.001), "0.00");
        assert_eq!(signed(f64::NAN), "undefined");
        assert_eq!(factor(0.0), "×1.00");
        assert_eq!(factor(3.0), "×20.1");
        assert_eq!(factor(f64::NAN), "undefined");
    }

    #[test]
    fn rolling_mean_keeps_slopes_and_gaps() {
        let line: Vec<f64> = (0..50).map(|i| 3.0 - 0.5 * f64::from(i)).collect();
        for (a, b) in rolling_mean(&line, 9).iter().zip(&line) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        let gaps = rolling_mean(&[1.0, f64::NAN, 3.0, 5.0, f64::INFINITY], 3);
        assert_eq!((gaps[0], gaps[2], gaps[3]), (1.0, 4.0, 4.0));
        assert!(gaps[1].is_nan() && gaps[4].is_nan());
        assert_eq!(rolling_mean(&[], 5), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn every_step_lies_in_its_cell(steps in proptest::collection::vec(prop_oneof![0.0..1e4f64, Just(f64::NAN)], 0..40)) {
            let (order, edges) = step_cells(&steps);
            prop_assert_eq!(edges.len(), if order.is_empty() { 0 } else { order.len() + 1 });
            prop_assert!(edges.windows(2).all(|w| w[0] < w[1]));
            for (k, &i) in order.iter().enumerate() {
                prop_assert!(edges[k] <= steps[i] && steps[i] <= edges[k + 1]);
            }
        }

        #[test]
        fn columns_hold_all_panels_evenly(n in 0usize..30, most in 1usize..6) {
            let c = columns_for(n, most);
            prop_assert!(c >= 1 && c <= most);
            prop_assert_eq!(n.div_ceil(c), n.div_ceil(most));
        }
    }
}
