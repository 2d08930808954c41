//! Floating-point element types of the operations, and access to the elements of tensors.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};

/// float32 for training, float64 for the gradient tests: one code for both.
pub(crate) trait Element:
    WithDType + faer::traits::RealField + std::ops::Neg<Output = Self> + std::iter::Sum
{
    /// `exp(self)`.
    fn exp(self) -> Self;
    /// `1 / (1 + exp(-self))`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::one() / (Self::one() + Element::exp(-self))
    }
}

impl Element for f32 {
    /// Cephes' polynomial, to about 2 ulp on [-87, 88]; 0 below: vectorizes where the library's does not.
    #[inline(always)]
    #[allow(clippy::excessive_precision)]
    fn exp(self) -> f32 {
        // 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits.
        const MAGIC: f32 = 12_582_912.0;
        let x = self.clamp(-88.0, 88.376_26);
        let shifted = x * std::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let r = n * -0.693_359_375 + x;
        let r = n * 2.121_944_4e-4 + r;
        let mut p = 1.987_569_15e-4_f32;
        p = p * r + 1.398_199_950_7e-3;
        p = p * r + 8.333_451_907_3e-3;
        p = p * r + 4.166_579_589_4e-2;
        p = p * r + 1.666_666_545_9e-1;
        p = p * r + 5.000_000_120_1e-1;
        let y = (p * r) * r + r + 1.0;
        y * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
    }
}

impl Element for f64 {
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
}

/// Run `$body` with `$t` as the element type of `$dtype`.
macro_rules! with_element {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => {
                Err(candle_core::Error::Msg(format!("no operation on {other:?}: float32 or float64")).bt())
            }
        }
    };
}
pub(crate) use with_element;

/// Run `f` compiled for the widest vector registers of this machine.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// The elements of a contiguous storage.
pub(crate) fn slice<'a, T: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("operation on a tensor that is not contiguous: {:?}", layout.shape());
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// What an operation's forward returns.
pub(crate) fn stored<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((T::to_cpu_storage_owned(values), shape.into()))
}

/// A tensor of `values`, no gradient attached.
pub(crate) fn tensor<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Look at the elements of `t`, row-major.
pub(crate) fn read<T: Element, R>(t: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let t = t.contiguous()?;
    let (storage, layout) = t.storage_and_layout();
    match &*storage {
        Storage::Cpu(s) => f(slice::<T>(s, layout)?),
        _ => bail!("these operations run on the CPU"),
    }
}
