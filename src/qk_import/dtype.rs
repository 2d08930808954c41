//! Stored numbers to float64.

/// Number types whose bits say what the number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    /// 4 exponent bits, 3 of mantissa, no infinity (`float8_e4m3fn`).
    E4m3,
    /// 5 exponent bits, 2 of mantissa.
    E5m2,
    I8,
}

impl Dtype {
    /// By the name in a safetensors header; none for types that are not weights.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "F8_E4M3" => Self::E4m3,
            "F8_E5M2" => Self::E5m2,
            "I8" => Self::I8,
            _ => return None,
        })
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::E4m3 | Self::E5m2 | Self::I8 => 1,
        }
    }

    /// Whether the numbers mean something only together with a scale.
    pub(super) fn needs_scale(self) -> bool {
        matches!(self, Self::E4m3 | Self::E5m2 | Self::I8)
    }

    /// The number in the first [`Dtype::size`] bytes, little-endian.
    pub(super) fn read(self, b: &[u8]) -> f64 {
        let word = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
        match self {
            Self::F64 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            Self::F32 => f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Self::F16 => small(u32::from(word(b)), 5, 10, true),
            Self::Bf16 => f64::from(f32::from_bits(u32::from(word(b)) << 16)),
            Self::E4m3 => small(u32::from(b[0]), 4, 3, false),
            Self::E5m2 => small(u32::from(b[0]), 5, 2, true),
            Self::I8 => f64::from(b[0] as i8),
        }
    }
}

/// A float of `exponent` and `mantissa` bits below a sign; `infinite`: the largest exponent is infinity and NaN, otherwise
/// only all ones are NaN.
fn small(bits: u32, exponent: u32, mantissa: u32, infinite: bool) -> f64 {
    let sign = if bits >> (exponent + mantissa) & 1 == 1 { -1.0 } else { 1.0 };
    let top = (1 << exponent) - 1;
    let (e, m) = (bits >> mantissa & top, bits & ((1 << mantissa) - 1));
    let part = f64::from(m) / f64::from(1u32 << mantissa);
    let bias = (1i32 << (exponent - 1)) - 1;
    if e == top && infinite {
        return if m == 0 { sign * f64::INFINITY } else { f64::NAN };
    }
    if e == top && m == (1 << mantissa) - 1 {
        return f64::NAN;
    }
    // Exponents of these types are far within float64's.
    if e == 0 { sign * part * 2f64.powi(1 - bias) } else { sign * (1.0 + part) * 2f64.powi(e as i32 - bias) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_are_the_published_values() {
        let e4m3 = |b: u8| Dtype::E4m3.read(&[b]);
        assert_eq!((e4m3(0x38), e4m3(0x7e), e4m3(0x01), e4m3(0x80)), (1.0, 448.0, 2f64.powi(-9), -0.0));
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        let e5m2 = |b: u8| Dtype::E5m2.read(&[b]);
        assert_eq!((e5m2(0x3c), e5m2(0x7b), e5m2(0x7c)), (1.0, 57344.0, f64::INFINITY));
        let half = |v: u16| Dtype::F16.read(&v.to_le_bytes());
        assert_eq!(
            (half(0x3c00), half(0xc000), half(0x7bff), half(0x0001)),
            (1.0, -2.0, 65504.0, 2f64.powi(-24))
        );
        assert_eq!(Dtype::Bf16.read(&0x3f80u16.to_le_bytes()), 1.0);
        assert_eq!(Dtype::I8.read(&[0xff]), -1.0);
    }
}
