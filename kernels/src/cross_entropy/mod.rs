//! Vocabulary projection fused with cross-entropy: logits exist only for a chunk of tokens at a time.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;

use crate::error::{Error, Result, shape_error};
use crate::tensor::{matrix, read_as, scratch, wrap};

/// Loss of a batch and, in training, its gradients.
pub struct HeadLoss {
    /// Mean negative log-likelihood, nats per token.
    pub loss: f64,
    /// Per token, nats `[N]`.
    pub losses: Vec<f32>,
    /// Largest logit of the batch.
    pub max_logit: f32,
    /// `dL/dx [N, d]` and `dL/dW [V, d]` of the mean loss.
    pub grads: Option<(Tensor, Tensor)>,
}

/// Cross-entropy of `softmax(x W^T)` against `targets`.
///
/// # Shapes
/// `x [N, d]`, `weight [V, d]`, `targets [N]` with values below V.
///
/// # Errors
/// Shapes that do not fit, a target outside the vocabulary, storage that is not contiguous float32.
pub fn head_loss(x: &Tensor, weight: &Tensor, targets: &[u32], grads: bool) -> Result<HeadLoss> {
    const OP: &str = "head_loss";
    let (n, d) = matrix(OP, "x", x)?;
    let (v, wd) = matrix(OP, "weight", weight)?;
    if wd != d {
        return Err(shape_error(OP, "weight", weight.dims(), format!("[V, {d}]")));
    }
    if targets.len() != n {
        return Err(shape_error(OP, "targets", &[targets.len()], format!("[{n}]")));
    }
    if let Some(t) = targets.iter().find(|t| **t as usize >= v) {
        return Err(Error::Unsupported {
            op: OP,
            message: format!("target {t} lies outside the vocabulary of {v}"),
        });
    }
    let (xs, ws) = (read_as(OP, "x", x)?, read_as(OP, "weight", weight)?);
    let mut losses = vec![0f32; n];
    let (mut dx, mut dw) =
        (scratch(if grads { n * d } else { 0 }), vec![0f32; if grads { v * d } else { 0 }]);
    let room = grads.then_some((&mut dx[..], &mut dw[..]));
    let mut logits = scratch(cpu::logits_len(n, v));
    let (loss, max_logit) = cpu::head_loss(&xs, &ws, v, targets, &mut logits, &mut losses, room);
    let grads = if grads { Some((wrap(dx, (n, d))?, wrap(dw, (v, d))?)) } else { None };
    Ok(HeadLoss { loss, losses, max_logit, grads })
}
