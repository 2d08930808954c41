//! Random inputs that name their seed on failure, and comparison against a value with a bound.

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Unit roundoff of float32: one correctly rounded operation errs by at most `U` times its result.
pub const U: f64 = 1.0 / 16_777_216.0;

/// Fresh random numbers; a failing test prints the seed, `GROWTHPATH_TEST_SEED` replays it.
pub struct Draw {
    seed: u64,
    rng: ChaCha8Rng,
}

impl Draw {
    pub fn new() -> Self {
        let seed = std::env::var("GROWTHPATH_TEST_SEED").ok().and_then(|s| s.parse().ok());
        Self::with_seed(seed.unwrap_or_else(|| rand::rng().random()))
    }

    pub fn with_seed(seed: u64) -> Self {
        Self { seed, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Sum of four uniforms: bell-shaped, bounded by 3.5 deviations.
    pub fn normal(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        let mut one = || (0..4).map(|_| self.rng.random_range(-1f32..1.0)).sum::<f32>() * 0.866;
        (0..n).map(|_| one() * deviation).collect()
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    pub fn tokens(&mut self, n: usize, vocabulary: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(vocabulary) as u32).collect()
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with GROWTHPATH_TEST_SEED={}", self.seed);
        }
    }
}

pub fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|x| f64::from(*x)).collect()
}

pub fn tensor(v: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_vec(v.to_vec(), shape, &Device::Cpu).unwrap()
}

pub fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// A value and how far float32 may be from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounded {
    pub value: f64,
    pub bound: f64,
}

impl Bounded {
    pub fn new(value: f64, bound: f64) -> Self {
        Self { value, bound }
    }
}

/// Exponentials below the smallest normal float32, 1.2e-38, become 0, whatever a relative bound says; they meet
/// operands of up to 1e3.
const TINY: f64 = 1e-34;

#[track_caller]
pub fn assert_close(what: &str, got: f64, want: Bounded) {
    let off = (got - want.value).abs();
    assert!(
        off <= want.bound + TINY,
        "{what}: got {got:e}, want {:e}, off by {off:.2e}, bound {:.2e}",
        want.value,
        want.bound
    );
}

#[track_caller]
pub fn assert_all(what: &str, got: &[f32], want: &[Bounded]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_close(&format!("{what}[{i}]"), f64::from(*g), *w);
    }
}

/// `sum_l a(l) b(l)` over `k` terms with the float32 bound `(k + extra) U sum |a b|`: each term passes through at most
/// `k` additions and one product, in any order of summation.
pub fn dot(k: usize, extra: f64, term: impl Fn(usize) -> (f64, f64)) -> Bounded {
    let (mut value, mut magnitude) = (0.0, 0.0);
    for l in 0..k {
        let (a, b) = term(l);
        value += a * b;
        magnitude += (a * b).abs();
    }
    Bounded::new(value, (k as f64 + extra) * U * magnitude)
}

/// Fourth-order central differences of a scalar function: truncation of order h^4 = 1e-12, rounding 1e-16 / h = 1e-13.
pub fn finite_differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const H: f64 = 1e-3;
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|i| {
            let mut at = |step: f64| {
                moved[i] = x[i] + step;
                let value = f(&moved);
                moved[i] = x[i];
                value
            };
            (8.0 * (at(H) - at(-H)) - (at(2.0 * H) - at(-2.0 * H))) / (12.0 * H)
        })
        .collect()
}
