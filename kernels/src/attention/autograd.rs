//! Fused attention inside candle's autograd: for models that are written with candle and trained by its `backward`.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Shape as Dims, Tensor};

use super::{Attention, LogitGradStats, LogitStats, Shape, backward, check, cpu};
use crate::Stats;
use crate::error::Result;
use crate::rope::Rope;
use crate::tensor::flat;

/// Receives the statistics of one call of [`causal_attention`]: of the logits when it runs, of their gradients when its
/// backward does. Clones share what is received.
#[derive(Debug, Clone, Default)]
pub struct AttentionTap(Arc<Mutex<Received>>);

#[derive(Debug, Default)]
struct Received {
    logits: Option<Vec<LogitStats>>,
    gradients: Option<Vec<LogitGradStats>>,
}

impl AttentionTap {
    fn with<T>(&self, f: impl FnOnce(&mut Received) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Statistics of the logits of the last forward pass, one entry a head; taken out.
    pub fn take_logits(&self) -> Option<Vec<LogitStats>> {
        self.with(|r| r.logits.take())
    }

    /// Statistics of the logits' gradients of the last backward pass, one entry a head; taken out.
    pub fn take_gradients(&self) -> Option<Vec<LogitGradStats>> {
        self.with(|r| r.gradients.take())
    }
}

struct Op {
    shape: Shape,
    rope: Option<Arc<Rope>>,
    /// Log-sum-exp of each row, from the forward pass.
    lse: Mutex<Vec<f32>>,
    tap: Option<AttentionTap>,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "fused_attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Dims)> {
        let s = self.shape;
        let x = flat("fused_attention", storage, layout)?;
        let mut out = vec![0f32; s.tokens() * s.width()];
        let mut lse = vec![0f32; s.batch * s.heads * s.seq_len];
        let stats = Stats::when(self.tap.is_some());
        let logits = cpu::forward(s, x, self.rope.as_deref(), &mut out, &mut lse, stats);
        if let Some(tap) = &self.tap {
            tap.with(|r| r.logits = logits);
        }
        *self.lse.lock().unwrap_or_else(PoisonError::into_inner) = lse;
        Ok((CpuStorage::F32(out), Dims::from((s.tokens(), s.width()))))
    }

    fn bwd(&self, qkv: &Tensor, out: &Tensor, d_out: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let lse = self.lse.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let saved = Attention { out: out.clone(), lse, stats: None };
        let (grad, stats) =
            backward(self.shape, &qkv.contiguous()?, &saved, self.rope.as_deref(), &d_out.contiguous()?)
                .map_err(candle_core::Error::wrap)?;
        if let Some(tap) = &self.tap {
            tap.with(|r| r.gradients = Some(stats));
        }
        Ok(Some(grad))
    }
}

/// Causal multi-head attention over a packed projection, differentiable by candle; see [`super::forward`].
///
/// # Shapes
/// `qkv [N, 3 D]`: the query, key and value blocks side by side; the result is `[N, D]`. Float32, on the CPU.
///
/// # Errors
/// As [`super::forward`].
pub fn causal_attention(
    qkv: &Tensor,
    shape: Shape,
    rope: Option<&Arc<Rope>>,
    tap: Option<&AttentionTap>,
) -> Result<Tensor> {
    let qkv = qkv.contiguous()?;
    check("fused_attention", shape, &qkv, rope.map(Arc::as_ref))?;
    let op = Op { shape, rope: rope.cloned(), lse: Mutex::new(Vec::new()), tap: tap.cloned() };
    Ok(qkv.apply_op1(op)?)
}
