//! Residual addition with the next norm inside candle's autograd.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape as Dims, Tensor};

use super::{AddNorm, AddNormGrads, Norm, NormParams, WriteStats, backward, cpu};
use crate::Stats;
use crate::error::Result;
use crate::tensor::{expect_dims, flat, matrix};

/// Receives the statistics of one write when [`add_norm`] runs. Clones share what is received.
#[derive(Debug, Clone, Default)]
pub struct WriteTap(Arc<Mutex<Option<WriteStats>>>);

impl WriteTap {
    /// Statistics of the last write; taken out.
    pub fn take(&self) -> Option<WriteStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Op {
    kind: Norm,
    eps: f32,
    bias: bool,
    /// Per-token mean and reciprocal deviation, from the forward pass.
    mean_rstd: Mutex<Vec<f32>>,
    tap: Option<WriteTap>,
}

impl Op {
    /// `params` holds the gain, then the bias where there is one.
    fn arguments<'a>(&self, d: usize, params: &'a [f32]) -> cpu::Forward<'a> {
        let bias = self.bias.then(|| &params[d..]);
        cpu::Forward {
            kind: self.kind,
            eps: self.eps,
            d,
            gain: &params[..d],
            bias,
            stats: Stats::when(self.tap.is_some()),
        }
    }

    fn keep(&self, mean_rstd: Vec<f32>) {
        *self.mean_rstd.lock().unwrap_or_else(PoisonError::into_inner) = mean_rstd;
    }

    /// Gradients of the stream and of `params`.
    fn backward(
        &self,
        (h, x): (Tensor, Tensor),
        params: &Tensor,
        dx: &Tensor,
        past: Option<&Tensor>,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let mean_rstd = self.mean_rstd.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let saved = AddNorm { h, x, mean_rstd, stats: None };
        let gain = params.get(0)?;
        let bias = if self.bias { Some(params.get(1)?) } else { None };
        let norm = NormParams { kind: self.kind, eps: self.eps, gain: &gain, bias: bias.as_ref() };
        let AddNormGrads { h, gain, bias } =
            backward(norm, &saved, dx, past).map_err(candle_core::Error::wrap)?;
        let rows: Vec<Tensor> = [Some(gain), bias].into_iter().flatten().collect();
        Ok((h, Tensor::stack(&rows, 0)?))
    }
}

/// The norm alone: stream and parameters to `x`.
struct NormAlone(Op);

impl CustomOp2 for NormAlone {
    fn name(&self) -> &'static str {
        "fused_norm"
    }

    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Dims)> {
        let (n, d) = layout.shape().dims2()?;
        let (h, params) = (flat("fused_norm", h, layout)?, flat("fused_norm", params, params_layout)?);
        let (mut x, mut mean_rstd) = (vec![0f32; n * d], vec![0f32; 2 * n]);
        cpu::forward_plain(&self.0.arguments(d, params), h, &mut x, &mut mean_rstd);
        self.0.keep(mean_rstd);
        Ok((CpuStorage::F32(x), Dims::from((n, d))))
    }

    fn bwd(
        &self,
        h: &Tensor,
        params: &Tensor,
        x: &Tensor,
        dx: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (dh, dparams) = self.0.backward((h.contiguous()?, x.clone()), params, &dx.contiguous()?, None)?;
        Ok((Some(dh), Some(dparams)))
    }
}

/// Stream, write and parameters to `[2, N, d]`: the new stream and its norm (candle's operations have one result).
struct Add(Op);

impl CustomOp3 for Add {
    fn name(&self) -> &'static str {
        "fused_add_norm"
    }

    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        layout: &Layout,
        write: &CpuStorage,
        write_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Dims)> {
        const OP: &str = "fused_add_norm";
        let (n, d) = layout.shape().dims2()?;
        let (h, write) = (flat(OP, h, layout)?, flat(OP, write, write_layout)?);
        let params = flat(OP, params, params_layout)?;
        let (mut both, mut mean_rstd) = (vec![0f32; 2 * n * d], vec![0f32; 2 * n]);
        let (after, x) = both.split_at_mut(n * d);
        let stats = cpu::forward_add(&self.0.arguments(d, params), h, write, after, x, &mut mean_rstd);
        if let Some(tap) = &self.0.tap {
            *tap.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        }
        self.0.keep(mean_rstd);
        Ok((CpuStorage::F32(both), Dims::from((2, n, d))))
    }

    fn bwd(
        &self,
        _h: &Tensor,
        _write: &Tensor,
        params: &Tensor,
        both: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (past, dx) = (grad.get(0)?, grad.get(1)?);
        let (dh, dparams) = self.0.backward((both.get(0)?, both.get(1)?), params, &dx, Some(&past))?;
        Ok((Some(dh.clone()), Some(dh), Some(dparams)))
    }
}

/// `h' = h + write; x = Norm(h') * gain + bias`, differentiable by candle: the new stream and its norm; see
/// [`super::forward`].
///
/// # Shapes
/// `h [N, d]`, `write [N, d]` or none (then `h' = h`). Float32, on the CPU.
///
/// # Errors
/// As [`super::forward`].
pub fn add_norm(
    NormParams { kind, eps, gain, bias }: NormParams<'_>,
    h: &Tensor,
    write: Option<&Tensor>,
    tap: Option<&WriteTap>,
) -> Result<(Tensor, Tensor)> {
    const OP: &str = "fused_add_norm";
    let (n, d) = matrix(OP, "h", h)?;
    write.map_or(Ok(()), |w| expect_dims(OP, "write", w, &[n, d]))?;
    for (name, p) in [("gain", Some(gain)), ("bias", bias)] {
        p.map_or(Ok(()), |p| expect_dims(OP, name, p, &[d]))?;
    }
    let rows: Vec<&Tensor> = std::iter::once(gain).chain(bias).collect();
    let params = Tensor::stack(&rows, 0)?;
    let op = Op { kind, eps, bias: bias.is_some(), mean_rstd: Mutex::new(Vec::new()), tap: tap.cloned() };
    let h = h.contiguous()?;
    match write {
        None => {
            let x = h.apply_op2(&params, NormAlone(op))?;
            Ok((h, x))
        }
        Some(w) => {
            let both = h.apply_op3(&w.contiguous()?, &params, Add(op))?;
            Ok((both.get(0)?, both.get(1)?))
        }
    }
}
