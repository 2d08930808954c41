//! Random inputs for a check, and what comes of it.

use candle_core::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::error::Result;
use crate::gpu::{Buffer, Elem, Gpu, Slice, failed, reduce};
use crate::tensor::wrap;

/// Which sizes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those that an emulator or a sanitizer gets through in seconds.
    Quick,
    /// Those of models that people train, too.
    Full,
}

impl Extent {
    pub(super) fn pick<T>(self, quick: T, full: T) -> T {
        if self == Self::Quick { quick } else { full }
    }
}

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

/// Random inputs in one storage type, and the list of findings.
pub(super) struct Case<'a> {
    pub gpu: &'a Gpu,
    pub rng: ChaCha8Rng,
    pub elem: Elem,
    pub out: &'a mut Vec<Compared>,
}

impl Case<'_> {
    /// Normal values that the storage type holds exactly.
    pub fn normals(&mut self, n: usize, mean: f32, std: f32) -> Result<Vec<f32>> {
        let v = self.floats(n, mean, std)?;
        Ok(if self.elem == Elem::Bf16 { v.into_iter().map(rounded).collect() } else { v })
    }

    /// Normal float32 values.
    pub fn floats(&mut self, n: usize, mean: f32, std: f32) -> Result<Vec<f32>> {
        let normal = Normal::new(mean, std).map_err(|e| failed("drawing inputs", e))?;
        Ok((0..n).map(|_| normal.sample(&mut self.rng)).collect())
    }

    /// A buffer of the storage type.
    pub fn up(&self, values: &[f32]) -> Result<Buffer> {
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
    pub fn room(&self, n: usize) -> Result<Buffer> {
        self.gpu.zeros(self.elem, n)
    }

    /// Room for float32.
    pub fn float_room(&self, n: usize) -> Result<Buffer> {
        self.gpu.zeros(Elem::F32, n)
    }

    /// Totals of partial rows.
    pub fn totals(&self, partials: &Buffer, slices: usize, columns: usize, maxima: u32) -> Result<Vec<f32>> {
        let out = self.float_room(slices * columns)?;
        reduce::totals(partials.all(), slices, columns, maxima, out.all())?;
        out.all().read()
    }

    /// The limit of the storage type.
    pub fn limit(&self) -> f64 {
        if self.elem == Elem::Bf16 { BF16 } else { FLOAT }
    }

    pub fn compare(&mut self, what: &str, shape: &str, got: &[f32], want: &[f32]) {
        self.compare_within(what, shape, got, want, self.limit());
    }

    pub fn compare_within(&mut self, what: &str, shape: &str, got: &[f32], want: &[f32], limit: f64) {
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

    pub fn compare_slice(&mut self, what: &str, shape: &str, got: Slice<'_>, want: &[f32]) -> Result<()> {
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
pub(super) fn written(n: usize, twin: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![0f32; n];
    twin(&mut out);
    out
}

pub(super) fn matrix(values: &[f32], rows: usize) -> Result<Tensor> {
    wrap(values.to_vec(), (rows, values.len() / rows))
}

pub(super) fn vector(values: &[f32]) -> Result<Tensor> {
    wrap(values.to_vec(), values.len())
}
