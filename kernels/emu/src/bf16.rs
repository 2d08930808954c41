/// The upper half of a float32: what the kernels call `bf16`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(
    /// Sign, eight bits of exponent, seven of significand.
    pub u16,
);

impl Bf16 {
    /// Nearest, ties to even; NaN stays NaN.
    pub fn from_f32(x: f32) -> Self {
        if x.is_nan() {
            return Self(0x7fff);
        }
        let bits = x.to_bits();
        // Carries past the largest finite number into infinity, as rounding does; no u32 overflow, since NaN is out.
        Self(((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }

    /// Exact.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_nearest_even() {
        // One is 0x3f80; its successor lies 2^-7 above.
        let ulp = 2f32.powi(-7);
        for (x, want) in [
            (1.0, 0x3f80),
            (1.0 + ulp, 0x3f81),
            (1.0 + ulp / 2.0, 0x3f80),
            (1.0 + 1.5 * ulp, 0x3f82),
            (1.0 + ulp / 2.0 + f32::EPSILON, 0x3f81),
            (-1.0, 0xbf80),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
        ] {
            assert_eq!(Bf16::from_f32(x).0, want, "{x}");
        }
        assert!(Bf16::from_f32(f32::NAN).to_f32().is_nan());
    }

    #[test]
    fn every_value_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let x = Bf16(bits).to_f32();
            assert!(x.is_nan() || Bf16::from_f32(x).0 == bits, "{bits:#x}");
        }
    }
}
