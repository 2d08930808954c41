//! Colours and colour maps. Maps are interpolated in OKLab, so that equal steps look equal.

/// An opaque sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Colour {
    /// Red, 0..=255.
    pub r: u8,
    /// Green, 0..=255.
    pub g: u8,
    /// Blue, 0..=255.
    pub b: u8,
}

impl Colour {
    /// From `0xRRGGBB`.
    pub const fn hex(rgb: u32) -> Self {
        Self { r: (rgb >> 16) as u8, g: (rgb >> 8) as u8, b: rgb as u8 }
    }

    /// Mixes towards white: `amount` 0 leaves the colour, 1 gives white. Opaque, so that overlaps do not darken.
    pub fn lighten(self, amount: f64) -> Self {
        let mix = |c: u8| (f64::from(c) + (255.0 - f64::from(c)) * amount.clamp(0.0, 1.0)).round() as u8;
        Self { r: mix(self.r), g: mix(self.g), b: mix(self.b) }
    }

    /// The same lightness and strength at a hue turned by `degrees`, `by` lighter.
    pub fn turned(self, degrees: f64, by: f64) -> Self {
        let [l, a, b] = oklab(self);
        let (sin, cos) = degrees.to_radians().sin_cos();
        from_oklab([l + by, a * cos - b * sin, a * sin + b * cos])
    }

    /// Perceived lightness, the L of OKLab: 0 black, 1 white.
    pub fn lightness(self) -> f64 {
        oklab(self)[0]
    }
}

/// How a number in [0, 1] becomes a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourMap {
    /// Dark violet to yellow through teal, lightness rising all the way.
    Sequential,
    /// Blue through near-white (at one half) to vermilion.
    Diverging,
}

const SEQUENTIAL: [Colour; 6] = [
    Colour::hex(0x3A0A55),
    Colour::hex(0x3D4C8A),
    Colour::hex(0x28808E),
    Colour::hex(0x2FB07C),
    Colour::hex(0x9BD646),
    Colour::hex(0xFBE62B),
];
const DIVERGING: [Colour; 5] = [
    Colour::hex(0x053F73),
    Colour::hex(0x4E9AC9),
    Colour::hex(0xF6F5F2),
    Colour::hex(0xE58A4D),
    Colour::hex(0x8E2F00),
];

impl ColourMap {
    /// The colour at `t`; values outside [0, 1] take the nearer end, NaN the lower one.
    pub fn at(self, t: f64) -> Colour {
        let stops: &[Colour] = match self {
            ColourMap::Sequential => &SEQUENTIAL,
            ColourMap::Diverging => &DIVERGING,
        };
        let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
        let position = t * (stops.len() - 1) as f64;
        let i = (position as usize).min(stops.len() - 2);
        let f = position - i as f64;
        let (a, b) = (oklab(stops[i]), oklab(stops[i + 1]));
        from_oklab([0, 1, 2].map(|k| a[k] + (b[k] - a[k]) * f))
    }
}

fn oklab(c: Colour) -> [f64; 3] {
    let linear = |v: u8| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    let (r, g, b) = (linear(c.r), linear(c.g), linear(c.b));
    let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).cbrt();
    let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).cbrt();
    let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).cbrt();
    [
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    ]
}

fn from_oklab(lab: [f64; 3]) -> Colour {
    let l = (lab[0] + 0.3963377774 * lab[1] + 0.2158037573 * lab[2]).powi(3);
    let m = (lab[0] - 0.1055613458 * lab[1] - 0.0638541728 * lab[2]).powi(3);
    let s = (lab[0] - 0.0894841775 * lab[1] - 1.2914855480 * lab[2]).powi(3);
    let encode = |v: f64| {
        let v = v.clamp(0.0, 1.0);
        let e = if v <= 0.0031308 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (e * 255.0).round() as u8
    };
    Colour {
        r: encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
        g: encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
        b: encode(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_lightness_rises_evenly() {
        let l: Vec<f64> =
            (0..=50).map(|i| ColourMap::Sequential.at(f64::from(i) / 50.0).lightness()).collect();
        // Eight-bit rounding moves the lightness by at most 1/255 or so.
        assert!(l.windows(2).all(|w| w[1] > w[0] - 0.004), "{l:?}");
        assert!(l[0] < 0.3 && l[50] > 0.9);
    }

    #[test]
    fn diverging_is_lightest_in_the_middle_and_ends_match() {
        let at = |t| ColourMap::Diverging.at(t).lightness();
        assert!(at(0.5) > 0.95);
        for i in 1..=20 {
            let d = f64::from(i) / 40.0;
            assert!(at(0.5 - d) < at(0.5) && at(0.5 + d) < at(0.5));
        }
        assert!((at(0.0) - at(1.0)).abs() < 0.12, "ends weigh about the same: {} {}", at(0.0), at(1.0));
    }

    #[test]
    fn a_turned_hue_keeps_its_lightness() {
        let c = Colour::hex(0x56A8DC);
        assert_eq!(c.turned(0.0, 0.0), c);
        let turned = c.turned(60.0, 0.0);
        assert!(turned != c && (turned.lightness() - c.lightness()).abs() < 0.02, "{turned:?}");
        assert!(c.turned(0.0, -0.1).lightness() < c.lightness() - 0.08);
    }

    #[test]
    fn oklab_round_trips_and_odd_positions_do_not_fail() {
        for c in SEQUENTIAL.into_iter().chain(DIVERGING) {
            let back = from_oklab(oklab(c));
            for (a, b) in [(c.r, back.r), (c.g, back.g), (c.b, back.b)] {
                assert!(a.abs_diff(b) <= 1, "{c:?} {back:?}");
            }
        }
        assert_eq!(ColourMap::Sequential.at(f64::NAN), ColourMap::Sequential.at(0.0));
        assert_eq!(ColourMap::Sequential.at(9.0), ColourMap::Sequential.at(1.0));
        assert_eq!(ColourMap::Diverging.at(-9.0), DIVERGING[0]);
    }
}
