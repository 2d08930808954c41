//! Gradients against central differences in float64, and float32 against float64.
#![allow(dead_code)]

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Values in [-1, 1] that the seed decides.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A scalar in which every element of `y` has a weight of its own.
fn scalar(y: &Tensor) -> Result<Tensor> {
    y.mul(&random(y.dims(), 99).to_dtype(y.dtype())?)?.sum_all()
}

fn gradients(inputs: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let grads = scalar(&y).unwrap().backward().unwrap();
    let of = |v: &Var| values(grads.get(v).expect("an operand without gradient"));
    (values(&y), vars.iter().map(of).collect())
}

/// Every element of every input: the reverse pass against (L(x + h) - L(x - h)) / 2h in float64, then float32 against
/// float64.
pub fn check(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    const STEP: f64 = 1e-5;
    let (y, analytic) = gradients(inputs, &f);
    for (i, input) in inputs.iter().enumerate() {
        let base = values(input);
        for (j, analytic) in analytic[i].iter().enumerate() {
            let at = |delta: f64| {
                let mut moved = base.clone();
                moved[j] += delta;
                let mut all = inputs.to_vec();
                all[i] = Tensor::from_vec(moved, input.dims(), &Device::Cpu).unwrap();
                values(&scalar(&f(&all).unwrap()).unwrap())[0]
            };
            let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            // Truncation h^2 f'''/6 and cancellation eps |L| / h are both near 1e-10 for values of order one.
            let error = (numeric - analytic).abs();
            assert!(
                error <= 2e-7 * (1.0 + analytic.abs()),
                "{name}: input {i}, element {j}: {analytic} against {numeric}"
            );
        }
    }
    let single: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F32).unwrap()).collect();
    let (y32, grads32) = gradients(&single, &f);
    // A few hundred float32 roundings of sums whose terms are of order one.
    let close = |what: &str, a: &[f64], b: &[f64]| {
        let scale = a.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 3e-5 * scale, "{name}: {what} in float32 {b}, in float64 {a}");
        }
    };
    close("result", &y, &y32);
    for (a, b) in analytic.iter().zip(&grads32) {
        close("gradient", a, b);
    }
}
