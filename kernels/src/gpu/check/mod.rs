//! Every operation on a device against its CPU twin, on fresh random inputs: what to run first on a new machine.
//!
//! The CPU twins are held against float64 in this crate's tests, and the kernels, with bounds from the arithmetic, on
//! the host emulator; what is left to see is whether a device computes what the emulator does. So the limits here are
//! plain ones: an element, relative to the largest of its array, may be off by [`FLOAT`] in float32 (sums in another
//! order, fused multiply-adds) and by [`BF16`] where tensors are stored as bf16 (2^-9 at every store, three stores deep).

mod attention;
mod elementwise;
mod graph;
mod update;

use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use super::{Buffer, Elem, Gpu, Slice, failed, reduce};
use crate::error::Result;
use crate::tensor::wrap;

/// Largest relative difference in float32.
pub const FLOAT: f64 = 1e-4;
/// Largest relative difference where tensors are stored as bf16.
pub const BF16: f64 = 2e-2;

/// One array that was compared.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Operation and array.
    pub what: String,
    /// Sizes of the case.
    pub shape: String,
    /// Storage type.
    pub elem: &'static str,
    /// Largest difference over the largest value.
    pub worst: f64,
    /// The limit.
    pub limit: f64,
}

impl Compared {
    /// Whether the arrays agree.
    pub fn ok(&self) -> bool {
        self.worst <= self.limit
    }
}

/// Run all checks; `quick` takes sizes that an emulator or a sanitizer gets through in seconds. `begin` hears what is next.
///
/// # Errors
/// What a launch meets. Differences are findings, not errors.
pub fn run(gpu: &Gpu, seed: u64, quick: bool, begin: &mut dyn FnMut(&str)) -> Result<Vec<Compared>> {
    type Check = fn(&mut Case<'_>, bool) -> Result<()>;
    const BOTH: [(&str, Check); 7] = [
        ("norms", elementwise::norms),
        ("activations", elementwise::activations),
        ("products", elementwise::linear),
        ("cross-entropy", elementwise::cross_entropy),
        ("embedding", elementwise::embedding),
        ("attention", attention::attention),
        ("norms of queries and keys", attention::qk_norm),
    ];
    const FLOAT_ONLY: [(&str, Check); 2] = [("optimizers", update::optimizers), ("graphs", graph::graphs)];
    let mut out = Vec::new();
    for elem in [Elem::F32, Elem::Bf16] {
        let mut case = Case { gpu, rng: ChaCha8Rng::seed_from_u64(seed), elem, out: &mut out };
        for (what, check) in BOTH {
            begin(&format!("{what}, {}", elem.suffix()));
            check(&mut case, quick)?;
        }
    }
    let mut case = Case { gpu, rng: ChaCha8Rng::seed_from_u64(seed), elem: Elem::F32, out: &mut out };
    for (what, check) in FLOAT_ONLY {
        begin(what);
        check(&mut case, quick)?;
    }
    Ok(out)
}

/// Random inputs in one storage type, and the list of findings.
struct Case<'a> {
    gpu: &'a Gpu,
    rng: ChaCha8Rng,
    elem: Elem,
    out: &'a mut Vec<Compared>,
}

impl Case<'_> {
    /// Normal values that the storage type holds exactly.
    fn normals(&mut self, n: usize, mean: f32, std: f32) -> Result<Vec<f32>> {
        let v = self.floats(n, mean, std)?;
        Ok(if self.elem == Elem::Bf16 { v.into_iter().map(rounded).collect() } else { v })
    }

    /// Normal float32 values.
    fn floats(&mut self, n: usize, mean: f32, std: f32) -> Result<Vec<f32>> {
        let normal = Normal::new(mean, std).map_err(|e| failed("drawing inputs", e))?;
        Ok((0..n).map(|_| normal.sample(&mut self.rng)).collect())
    }

    /// A buffer of the storage type.
    fn up(&self, values: &[f32]) -> Result<Buffer> {
        let full = self.gpu.upload(values)?;
        if self.elem == Elem::F32 {
            return Ok(full);
        }
        let out = self.gpu.zeros(Elem::Bf16, values.len())?;
        reduce::round(full.all(), out.all())?;
        self.gpu.synchronize()?;
        Ok(out)
    }

    /// Room of the storage type.
    fn room(&self, n: usize) -> Result<Buffer> {
        self.gpu.zeros(self.elem, n)
    }

    /// Room for float32.
    fn float_room(&self, n: usize) -> Result<Buffer> {
        self.gpu.zeros(Elem::F32, n)
    }

    /// Totals of partial rows.
    fn totals(&self, partials: &Buffer, slices: usize, columns: usize, maxima: u32) -> Result<Vec<f32>> {
        let out = self.float_room(slices * columns)?;
        reduce::totals(partials.all(), slices, columns, maxima, out.all())?;
        out.all().read()
    }

    /// The limit of the storage type.
    fn limit(&self) -> f64 {
        if self.elem == Elem::Bf16 { BF16 } else { FLOAT }
    }

    fn compare(&mut self, what: &str, shape: &str, got: &[f32], want: &[f32]) {
        self.compare_within(what, shape, got, want, self.limit());
    }

    fn compare_within(&mut self, what: &str, shape: &str, got: &[f32], want: &[f32], limit: f64) {
        let scale = want.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(f64::from(v.abs())));
        let differ = |(g, w): (&f32, &f32)| {
            let d = (f64::from(*g) - f64::from(*w)).abs() / scale;
            if d.is_nan() { f64::INFINITY } else { d }
        };
        let worst = got.iter().zip(want).map(differ).fold(0.0, f64::max);
        let worst = if got.len() == want.len() { worst } else { f64::INFINITY };
        self.out.push(Compared {
            what: what.into(),
            shape: shape.into(),
            elem: self.elem.suffix(),
            worst,
            limit,
        });
    }

    fn compare_slice(&mut self, what: &str, shape: &str, got: Slice<'_>, want: &[f32]) -> Result<()> {
        let got = got.read()?;
        self.compare(what, shape, &got, want);
        Ok(())
    }
}

/// Nearest bf16, ties to even.
fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// What a CPU twin writes, `n` numbers.
fn written(n: usize, twin: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![0f32; n];
    twin(&mut out);
    out
}

fn matrix(values: &[f32], rows: usize) -> Result<Tensor> {
    wrap(values.to_vec(), (rows, values.len() / rows))
}

fn vector(values: &[f32]) -> Result<Tensor> {
    wrap(values.to_vec(), values.len())
}
