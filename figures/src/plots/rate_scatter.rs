//! `rate-scatter`: predicted against measured growth rate, step by step and head by head (4.1).

use super::common::{columns_for, reference};
use crate::colour::ColourMap;
use crate::model::{Axis, ColourScale, Figure, Item, LegendEntry, Marker, Panel};
use crate::scale::{Range, Scale};
use crate::style::arm_styles;

/// One arm; the two vectors run in parallel over (probe, layer, head).
#[derive(Clone, Debug, Default)]
pub struct Arm {
    /// Arm name.
    pub name: String,
    /// Predicted growth rate g^ a probe interval.
    pub predicted: Vec<f64>,
    /// Measured growth rate g_D a probe interval.
    pub measured: Vec<f64>,
}

/// Axes of the scatter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RateScale {
    /// Linear.
    Plain,
    /// Signed logarithm, linear below the tenth percentile of the magnitudes.
    #[default]
    SymLog,
}

/// What [`rate_scatter`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Arms, one panel each.
    pub arms: Vec<Arm>,
    /// Axes.
    pub scale: RateScale,
}

/// Below this many pairs points are drawn one by one.
const FEW: usize = 400;

/// Density of (predicted, measured) pairs with the identity line and the correlation.
pub fn rate_scatter(input: &Input) -> Figure {
    let mut figure = Figure::new("Predicted against measured growth rate");
    figure.columns = columns_for(input.arms.len(), 3);
    figure.panel_height = match figure.columns {
        1 => 300.0,
        2 => 230.0,
        _ => 165.0,
    };
    figure.share_x = true;
    figure.share_y = true;
    figure.legend.push(LegendEntry::line("identity", reference()));
    let names: Vec<&str> = input.arms.iter().map(|a| a.name.as_str()).collect();
    let styles = arm_styles(&names);
    let all: Vec<Vec<(f64, f64)>> = input.arms.iter().map(pairs).collect();
    let values = || all.iter().flatten().flat_map(|p| [p.0, p.1]);
    let scale = match input.scale {
        RateScale::Plain => Scale::Linear,
        RateScale::SymLog => {
            Scale::SymLog { linear: tenth_percentile(values().map(f64::abs).filter(|v| *v > 0.0)) }
        }
    };
    let range = Range::of(values(), scale, 0.04);
    if all.iter().any(|p| p.len() >= FEW) {
        figure.colours = Some(ColourScale {
            label: "pairs per cell".into(),
            map: ColourMap::Sequential,
            scale: Scale::Log,
            range: None,
            span: 1.0,
            discrete: None,
        });
    }
    for ((arm, points), style) in input.arms.iter().zip(&all).zip(&styles) {
        let axis = |label: &str| Axis { range: range.map(|r| (r.low, r.high)), ..Axis::new(label, scale) };
        let mut panel = Panel::new(&arm.name, axis("predicted rate ĝ"), axis("measured rate g_D"));
        if !points.is_empty() {
            panel.note = match correlation(points) {
                Some(r) => format!("r = {r:.3}, n = {}", points.len()),
                None => format!("n = {}", points.len()),
            };
            panel.items.push(if points.len() < FEW {
                Item::Scatter {
                    points: points.clone(),
                    marker: Marker::Circle,
                    colour: style.colour,
                    radius: 1.8,
                }
            } else {
                Item::Hexbin { points: points.clone(), radius: 3.6 }
            });
            if let Some(r) = range {
                let line = vec![(r.low, r.low), (r.high, r.high)];
                panel.items.push(Item::Line { points: line, stroke: reference(), band: Vec::new() });
            }
        }
        figure.panels.push(panel);
    }
    figure
}

fn pairs(arm: &Arm) -> Vec<(f64, f64)> {
    let both = arm.predicted.iter().copied().zip(arm.measured.iter().copied());
    both.filter(|(p, m)| p.is_finite() && m.is_finite()).collect()
}

fn tenth_percentile(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 10).copied().unwrap_or(1.0)
}

/// Pearson correlation; `None` for fewer than two pairs or a constant side.
pub fn correlation(points: &[(f64, f64)]) -> Option<f64> {
    // Scaling by the largest magnitude keeps the squares inside float64.
    let size = |pick: fn(&(f64, f64)) -> f64| points.iter().map(|p| pick(p).abs()).fold(0.0, f64::max);
    let (sx, sy) = (size(|p| p.0), size(|p| p.1));
    if points.len() < 2 || !(sx > 0.0 && sy > 0.0) {
        return None;
    }
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |a, p| (a.0 + p.0 / sx / n, a.1 + p.1 / sy / n));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for p in points {
        let (x, y) = (p.0 / sx - mx, p.1 / sy - my);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    // A constant side leaves rounding only: about n epsilon^2 after scaling to 1.
    let nothing = n * 1e-28;
    (xx > nothing && yy > nothing).then(|| (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_matches_the_textbook() {
        let p = [(1.0, 2.0), (2.0, 1.0), (3.0, 5.0), (4.0, 4.0), (6.0, 9.0)];
        // Means 3.2 and 4.2: sums of products 21.8, squares 14.8 and 38.8.
        let expected = 21.8 / (14.8f64 * 38.8).sqrt();
        assert!((correlation(&p).unwrap() - expected).abs() < 1e-14);
        let huge: Vec<_> = p.iter().map(|q| (q.0 * 1e299, -q.1 * 1e-299)).collect();
        assert!((correlation(&huge).unwrap() + expected).abs() < 1e-12);
        assert_eq!(correlation(&[(1.0, 1.0)]), None);
        assert_eq!(correlation(&[(0.1, 1.0), (0.1, 2.0), (0.1, 4.0)]), None);
    }
}
