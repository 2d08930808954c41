//! Bars and signed stacks of them.

use crate::colour::Colour;

/// One bar from `from` to `to`.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Centre on the axis that the bar stands on, data units.
    pub x: f64,
    /// Width, data units.
    pub width: f64,
    /// One end, data units.
    pub from: f64,
    /// Other end, data units.
    pub to: f64,
    /// Fill.
    pub colour: Colour,
    /// Text beyond the bar's end, empty for none.
    pub label: String,
}

/// Stacks signed values at the positions 0, 1, ...: positive parts upwards from zero, negative ones downwards.
/// `series[k]` is (colour, value at each position); NaN and infinite values are left out.
pub fn stacked_bars(series: &[(Colour, &[f64])], width: f64) -> Vec<Bar> {
    let positions = series.iter().map(|s| s.1.len()).max().unwrap_or(0);
    let mut bars = Vec::new();
    for i in 0..positions {
        let (mut up, mut down) = (0.0, 0.0);
        for (colour, values) in series {
            let Some(&value) = values.get(i) else { continue };
            if !value.is_finite() {
                continue;
            }
            let end = if value >= 0.0 { &mut up } else { &mut down };
            let from = *end;
            *end += value;
            bars.push(Bar { x: i as f64, width, from, to: *end, colour: *colour, label: String::new() });
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_keep_signs_apart_and_sum() {
        let c = Colour::hex(0);
        let (a, b, d) = ([1.0, -1.0], [2.0, -3.0], [-4.0, f64::NAN]);
        let bars = stacked_bars(&[(c, &a), (c, &b), (c, &d)], 0.8);
        assert_eq!(bars.len(), 5);
        let ends = |i: f64| bars.iter().filter(|b| b.x == i).map(|b| (b.from, b.to)).collect::<Vec<_>>();
        assert_eq!(ends(0.0), [(0.0, 1.0), (1.0, 3.0), (0.0, -4.0)]);
        assert_eq!(ends(1.0), [(0.0, -1.0), (-1.0, -4.0)]);
    }
}
