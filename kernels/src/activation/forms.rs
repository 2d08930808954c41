//! The activations, each declared once: a line of the list and, where it needs a nonlinearity of its own, value and derivative
//! of that. `cuda/activation.cu` has the nonlinearities once more, by their codes.

use serde::{Deserialize, Serialize};

use crate::simd::sigmoid;

/// Declares the activations: `Name = form of Nonlinearity`, with form `plain`, f(up), or `gated`, f(gate) * up.
macro_rules! activations {
    ($($(#[$about:meta])* $name:ident = $form:ident of $nonlinearity:ident;)+) => {
        /// The nonlinearity of a feed-forward block.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Activation {
            $($(#[$about])* $name,)+
        }

        impl Activation {
            /// Every activation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Whether the input carries a gate block beside the up block.
            pub fn gated(self) -> bool {
                match self { $(Self::$name => $form::GATED),+ }
            }

            /// The nonlinearity's code in `cuda/activation.cu`.
            pub fn code(self) -> i32 {
                match self { $(Self::$name => <$nonlinearity as Nonlinearity>::CODE),+ }
            }
        }

        /// One row, forward.
        #[inline(always)]
        pub(super) fn forward_row(act: Activation, u: &[f32], a: &mut [f32]) {
            match act { $(Activation::$name => $form::forward::<$nonlinearity>(u, a)),+ }
        }

        /// Rows of width `f`, backward.
        #[inline(always)]
        pub(super) fn backward_rows(act: Activation, f: usize, u: &[f32], d: &[f32], du: &mut [f32]) {
            match act { $(Activation::$name => $form::backward::<$nonlinearity>(f, u, d, du)),+ }
        }
    };
}

activations! {
    /// GELU, tanh form (GPT-2's `gelu_new`).
    Gelu = plain of TanhGelu;
    /// max(0, x).
    Relu = plain of Rectifier;
    /// max(0, x)^2.
    Relu2 = plain of SquaredRectifier;
    /// x sigmoid(x).
    Silu = plain of Swish;
    /// GELU(gate) * up.
    Geglu = gated of TanhGelu;
    /// SiLU(gate) * up.
    Swiglu = gated of Swish;
    /// ReLU(gate) * up.
    Reglu = gated of Rectifier;
    /// gate * up.
    Bilinear = gated of Identity;
}

/// A function of one number, with its derivative.
trait Nonlinearity {
    /// Its code in `cuda/activation.cu`.
    const CODE: i32;
    fn value(x: f32) -> f32;
    /// Value and derivative.
    fn pair(x: f32) -> (f32, f32);
}

const GELU_C: f32 = 0.797_884_6; // sqrt(2 / pi)
const GELU_K: f32 = 0.044_715;

struct TanhGelu;
impl Nonlinearity for TanhGelu {
    const CODE: i32 = 1;
    // 0.5 (1 + tanh u) = sigmoid(2 u)
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(2.0 * GELU_C * (GELU_K * x * x).mul_add(x, x))
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        let s = sigmoid(2.0 * GELU_C * (GELU_K * x * x).mul_add(x, x));
        let du = 2.0 * GELU_C * (3.0 * GELU_K * x).mul_add(x, 1.0);
        (x * s, (x * s * (1.0 - s)).mul_add(du, s))
    }
}

struct Rectifier;
impl Nonlinearity for Rectifier {
    const CODE: i32 = 2;
    #[inline(always)]
    fn value(x: f32) -> f32 {
        if x > 0.0 { x } else { 0.0 }
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
    }
}

struct SquaredRectifier;
impl Nonlinearity for SquaredRectifier {
    const CODE: i32 = 3;
    #[inline(always)]
    fn value(x: f32) -> f32 {
        let r = if x > 0.0 { x } else { 0.0 };
        r * r
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        let r = if x > 0.0 { x } else { 0.0 };
        (r * r, 2.0 * r)
    }
}

struct Swish;
impl Nonlinearity for Swish {
    const CODE: i32 = 4;
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(x)
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        let s = sigmoid(x);
        (x * s, (x * s).mul_add(1.0 - s, s))
    }
}

struct Identity;
impl Nonlinearity for Identity {
    const CODE: i32 = 5;
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn pair(x: f32) -> (f32, f32) {
        (x, 1.0)
    }
}

/// f(up).
mod plain {
    use super::Nonlinearity;

    pub const GATED: bool = false;

    #[inline(always)]
    pub fn forward<F: Nonlinearity>(u: &[f32], a: &mut [f32]) {
        a.iter_mut().zip(u).for_each(|(a, u)| *a = F::value(*u));
    }

    #[inline(always)]
    pub fn backward<F: Nonlinearity>(_f: usize, u: &[f32], d: &[f32], du: &mut [f32]) {
        du.iter_mut().zip(u.iter().zip(d)).for_each(|(o, (u, d))| *o = d * F::pair(*u).1);
    }
}

/// f(gate) * up; a row is the gate block, then the up block.
mod gated {
    use super::Nonlinearity;

    pub const GATED: bool = true;

    #[inline(always)]
    pub fn forward<F: Nonlinearity>(u: &[f32], a: &mut [f32]) {
        let (gate, up) = u.split_at(a.len());
        a.iter_mut().zip(gate.iter().zip(up)).for_each(|(a, (g, u))| *a = F::value(*g) * u);
    }

    #[inline(always)]
    pub fn backward<F: Nonlinearity>(f: usize, u: &[f32], d: &[f32], du: &mut [f32]) {
        for ((u, d), du) in u.chunks_exact(2 * f).zip(d.chunks_exact(f)).zip(du.chunks_exact_mut(2 * f)) {
            let ((gate, up), (dgate, dup)) = (u.split_at(f), du.split_at_mut(f));
            let up = &up[..f];
            let dup = &mut dup[..f];
            for i in 0..f {
                let (v, dv) = F::pair(gate[i]);
                dgate[i] = d[i] * up[i] * dv;
                dup[i] = d[i] * v;
            }
        }
    }
}
