//! Vocabulary projection fused with cross-entropy: logits exist only for a chunk of tokens at a time.

mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;
use faer::Accum;

use crate::error::{Error, Result, shape_error};
use crate::gemm::{gemm, rows, rows_mut};
use crate::tensor::{matrix, read_as, scratch, wrap};

/// Tokens whose logits exist at the same time.
const CHUNK: usize = 256;

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
    let w = rows(&ws, v, d);
    let mut losses = vec![0f32; n];
    let mut dx = scratch(if grads { n * d } else { 0 });
    let mut dw = vec![0f32; if grads { v * d } else { 0 }];
    let mut logits = scratch(CHUNK.min(n) * v);
    let mut max_logit = f32::NEG_INFINITY;
    let scale = 1.0 / n as f32;
    for start in (0..n).step_by(CHUNK) {
        let end = (start + CHUNK).min(n);
        let m = end - start;
        let block = &mut logits[..m * v];
        let xc = rows(&xs[start * d..end * d], m, d);
        gemm(rows_mut(block, m, v), Accum::Replace, xc, w.transpose());
        let out = &mut losses[start..end];
        let scale = if grads { Some(scale) } else { None };
        max_logit = max_logit.max(cpu::rows(block, v, &targets[start..end], scale, out));
        if grads {
            let dl = rows(block, m, v);
            gemm(rows_mut(&mut dx[start * d..end * d], m, d), Accum::Replace, dl, w);
            gemm(rows_mut(&mut dw, v, d), Accum::Add, dl.transpose(), xc);
        }
    }
    let loss = losses.iter().map(|l| f64::from(*l)).sum::<f64>() / n as f64;
    let grads = if grads { Some((wrap(dx, (n, d))?, wrap(dw, (v, d))?)) } else { None };
    Ok(HeadLoss { loss, losses, max_logit, grads })
}
