//! How values become positions on an axis, and which range an axis shows.

/// The largest magnitude an axis handles; larger finite values are drawn at it, so that spans stay finite.
pub const LARGEST: f64 = 1e300;
/// The smallest positive value that a logarithmic axis handles; smaller positive ones are drawn at it.
pub const SMALLEST: f64 = 1e-300;

/// An axis scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Position proportional to the value.
    Linear,
    /// Position proportional to the logarithm; values <= 0 are skipped.
    Log,
    /// Signed logarithm, `sign(v) ln(1 + |v|/linear)`: linear around 0, logarithmic far away. Zero and negative
    /// values are allowed; a step axis with a step 0 uses it.
    SymLog {
        /// Where the scale turns from linear to logarithmic; must be positive (else 1 is taken).
        linear: f64,
    },
}

impl Scale {
    /// The axis coordinate of `value` (any affine map of it is a position); `None` where the scale has no place for
    /// it: NaN, infinities, and values <= 0 on a logarithmic axis.
    pub fn place(self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let v = value.clamp(-LARGEST, LARGEST);
        match self {
            Scale::Linear => Some(v),
            Scale::Log => (v > 0.0).then(|| v.max(SMALLEST).log10()),
            Scale::SymLog { linear } => {
                let c = threshold(linear);
                let ratio = v.abs() / c;
                // Where the ratio overflows, 1 is nothing beside it.
                let size = if ratio.is_finite() { ratio.ln_1p() } else { v.abs().ln() - c.ln() };
                Some(v.signum() * size)
            }
        }
    }

    /// The value at an axis coordinate: the inverse of [`Scale::place`].
    pub fn value(self, place: f64) -> f64 {
        match self {
            Scale::Linear => place,
            Scale::Log => 10f64.powf(place),
            Scale::SymLog { linear } => place.signum() * place.abs().exp_m1() * threshold(linear),
        }
    }
}

fn threshold(linear: f64) -> f64 {
    if linear.is_finite() && linear >= SMALLEST { linear } else { 1.0 }
}

/// A resolved axis range in values, low < high, both placeable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Range {
    /// The range of `values` on `scale`, widened by `padding` (a fraction of the axis) at both ends. A single value
    /// gets room on both sides. `None` if the scale has no place for any value.
    pub fn of(values: impl IntoIterator<Item = f64>, scale: Scale, padding: f64) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values {
            if let Some(p) = scale.place(v) {
                (low, high) = (low.min(p), high.max(p));
                (least, most) = (least.min(v), most.max(v));
            }
        }
        if low > high {
            return None;
        }
        let size = low.abs().max(high.abs());
        // Closer than 1e-9 of their size, ticks would need more digits than anyone reads.
        if high - low <= 1e-9 * size || high - low < SMALLEST {
            let room = match scale {
                Scale::Log => std::f64::consts::LOG10_2,
                _ if size >= SMALLEST * 10.0 => 0.1 * size,
                _ => 0.5,
            };
            low -= room;
            high += room;
        } else {
            let room = padding * (high - low);
            // Padding never crosses zero: an axis of positive data does not begin below 0.
            let keeps_sign = !matches!(scale, Scale::Log);
            low = if keeps_sign && low >= 0.0 { (low - room).max(0.0) } else { low - room };
            high = if keeps_sign && high <= 0.0 { (high + room).min(0.0) } else { high + room };
        }
        let floor = if scale == Scale::Log { SMALLEST } else { -LARGEST };
        // An end without padding is the value itself: going through the place and back would round it, and with it the
        // tick at the end away.
        let end = |place: f64, value: f64| {
            let v = if scale.place(value) == Some(place) { value } else { scale.value(place) };
            v.clamp(floor, LARGEST)
        };
        let span = Self { low: end(low, least), high: end(high, most) };
        (span.low < span.high).then_some(span)
    }

    /// Position of `value` in this range: 0 at the low end, 1 at the high end, outside beyond them.
    pub fn position(self, value: f64, scale: Scale) -> Option<f64> {
        let (a, b) = (scale.place(self.low)?, scale.place(self.high)?);
        Some((scale.place(value)? - a) / (b - a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scales() -> impl Strategy<Value = Scale> {
        prop_oneof![
            Just(Scale::Linear),
            Just(Scale::Log),
            (-6.0..3.0f64).prop_map(|e| Scale::SymLog { linear: 10f64.powf(e) })
        ]
    }

    proptest! {
        #[test]
        fn placing_is_monotone_and_invertible(scale in scales(), a in -1e6..1e6f64, b in -1e6..1e6f64) {
            if let (Some(p), Some(q)) = (scale.place(a), scale.place(b)) {
                prop_assert!((a < b) == (p < q) || (p - q).abs() <= 1e-12 * p.abs().max(q.abs()));
                // exp and ln_1p lose a few ulp times the exponent's size, here at most 40.
                prop_assert!((scale.value(p) - a).abs() <= 1e-12 * a.abs().max(1e-9), "{} {}", scale.value(p), a);
            }
        }

        #[test]
        fn ranges_contain_their_data(
            scale in scales(),
            values in proptest::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0),
                -1e9..1e9f64, -1e-9..1e-9f64, Just(f64::MAX), Just(f64::MIN_POSITIVE), Just(-f64::MAX)], 0..20),
        ) {
            let placeable = values.iter().any(|&v| scale.place(v).is_some());
            match Range::of(values.iter().copied(), scale, 0.04) {
                None => prop_assert!(!placeable),
                Some(range) => {
                    prop_assert!(range.low < range.high);
                    for &v in &values {
                        if let Some(p) = range.position(v, scale) {
                            // Rounding of place and value; 1e-6 is far below a pixel.
                            prop_assert!((-1e-6..=1.0 + 1e-6).contains(&p), "{v} at {p} in {range:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn one_value_gets_room_on_both_sides() {
        for (scale, v) in [
            (Scale::Linear, 0.0),
            (Scale::Linear, -3.0),
            (Scale::Log, 1e-5),
            (Scale::SymLog { linear: 1.0 }, 0.0),
        ] {
            let r = Range::of([v, v], scale, 0.04).unwrap();
            let p = r.position(v, scale).unwrap();
            assert!((p - 0.5).abs() < 1e-9, "{scale:?} {v} {r:?} {p}");
        }
        assert_eq!(Range::of([f64::NAN, f64::INFINITY], Scale::Linear, 0.04), None);
        assert_eq!(Range::of([-1.0, 0.0], Scale::Log, 0.04), None);
        assert_eq!(Range::of([0.0, 10.0], Scale::Linear, 0.1), Some(Range { low: 0.0, high: 11.0 }));
    }
}
