//! The nonlinearities in float64 by their codes in `cuda/activation.cu`: what the tests of both kernels, `tests/ops` and
//! `emu/tests`, hold them against. A code without a line here fails the tests of every activation that has it.

/// One nonlinearity.
pub struct Reference {
    pub code: i32,
    pub value: fn(f64) -> f64,
    /// Its derivative where it is a polynomial by pieces, computed with a few roundings; else differences of `value` serve.
    pub pieces: Option<fn(f64) -> f64>,
    /// Relative roundings of the CPU's value, in units of float32's.
    pub roundings: fn(f64) -> f64,
}

/// All of them. Where there is a sigmoid, its argument `z` is rounded some six times (relative, so `6 |z|` of its
/// exponential), the exponential itself errs by 3 ulp = 6 units, four more operations follow.
pub const ALL: &[Reference] = &[
    Reference {
        code: 1,
        // 0.5 (1 + tanh u) as a logistic function: 1 + tanh u cancels in float64 too
        value: |x| {
            x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).exp())
        },
        pieces: None,
        roundings: |x| 12.0 + 6.0 * 1.6 * (x + 0.045 * x.powi(3)).abs(),
    },
    Reference {
        code: 2,
        value: |x| x.max(0.0),
        pieces: Some(|x| if x > 0.0 { 1.0 } else { 0.0 }),
        roundings: |_| 3.0,
    },
    Reference {
        code: 3,
        value: |x| x.max(0.0).powi(2),
        pieces: Some(|x| 2.0 * x.max(0.0)),
        roundings: |_| 3.0,
    },
    Reference {
        code: 4,
        value: |x| x / (1.0 + (-x).exp()),
        pieces: None,
        roundings: |x| 12.0 + 2.0 * x.abs(),
    },
    Reference { code: 5, value: |x| x, pieces: Some(|_| 1.0), roundings: |_| 3.0 },
];

impl Reference {
    /// Derivative: by pieces, or a central difference with one Richardson step, whose error is far below float32's.
    pub fn slope(&self, x: f64) -> f64 {
        if let Some(slope) = self.pieces {
            return slope(x);
        }
        let e = 1e-3;
        let d = |e: f64| ((self.value)(x + e) - (self.value)(x - e)) / (2.0 * e);
        (4.0 * d(e / 2.0) - d(e)) / 3.0
    }
}
