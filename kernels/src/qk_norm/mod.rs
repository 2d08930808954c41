//! Optional RMS normalization of queries and keys, head by head, before the rotation.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::attention::Shape;
use crate::error::{Result, shape_error};
use crate::tensor::{read, scratch, wrap};

const EPS: f32 = 1e-6;

/// Result of [`forward`].
pub struct QkNorm {
    /// `[N, 3 D]`: normalized queries and keys, values as they were.
    pub qkv: Tensor,
    /// Reciprocal RMS per (token, q|k, head), `[N, 2 H]`.
    rrms: Vec<f32>,
}

/// `q <- q / rms(q) * q_gain`, likewise k.
///
/// # Shapes
/// `qkv [N, 3 D]`, `q_gain [d_h]`, `k_gain [d_h]`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn forward(shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> Result<QkNorm> {
    let (n, dh, width) = (shape.tokens(), shape.head_dim, shape.width());
    if qkv.dims() != [n, 3 * width] {
        return Err(shape_error("qk_norm", "qkv", qkv.dims(), format!("[{n}, {}]", 3 * width)));
    }
    let (x, qg, kg) = (read(qkv)?, read(q_gain)?, read(k_gain)?);
    let mut y = scratch(x.len());
    let mut rrms = vec![0f32; n * 2 * shape.heads];
    y.par_chunks_mut(3 * width)
        .zip(x.par_chunks(3 * width))
        .zip(rrms.par_chunks_mut(2 * shape.heads))
        .for_each(|((y, x), rr)| {
            for (i, r) in rr.iter_mut().enumerate() {
                let v = &x[i * dh..(i + 1) * dh];
                *r = 1.0 / (v.iter().map(|v| v * v).sum::<f32>() / dh as f32 + EPS).sqrt();
                let gain = if i < shape.heads { &qg } else { &kg };
                for ((y, v), g) in y[i * dh..(i + 1) * dh].iter_mut().zip(v).zip(gain.iter()) {
                    *y = v * *r * g;
                }
            }
            y[2 * width..].copy_from_slice(&x[2 * width..]);
        });
    Ok(QkNorm { qkv: wrap(y, (n, 3 * width))?, rrms })
}

/// Backward: `(d qkv [N, 3 D], d q_gain [d_h], d k_gain [d_h])`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(
    shape: Shape,
    qkv: &Tensor,
    saved: &QkNorm,
    q_gain: &Tensor,
    k_gain: &Tensor,
    d: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let (n, dh, width) = (shape.tokens(), shape.head_dim, shape.width());
    let (x, qg, kg, g) = (read(qkv)?, read(q_gain)?, read(k_gain)?, read(d)?);
    let mut dx = scratch(x.len());
    let (mut dqg, mut dkg) = (vec![0f64; dh], vec![0f64; dh]);
    for t in 0..n {
        let row = t * 3 * width;
        for i in 0..2 * shape.heads {
            let at = row + i * dh..row + (i + 1) * dh;
            let (v, gy) = (&x[at.clone()], &g[at.clone()]);
            let r = saved.rrms[t * 2 * shape.heads + i];
            let (gain, dgain) = if i < shape.heads { (&qg, &mut dqg) } else { (&kg, &mut dkg) };
            let dot: f32 = (0..dh).map(|c| gy[c] * gain[c] * v[c]).sum();
            let k = dot * r * r / dh as f32;
            for (c, o) in dx[at].iter_mut().enumerate() {
                *o = r * (gy[c] * gain[c] - v[c] * k);
                dgain[c] += f64::from(gy[c] * v[c] * r);
            }
        }
        dx[row + 2 * width..row + 3 * width].copy_from_slice(&g[row + 2 * width..row + 3 * width]);
    }
    let narrow = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    Ok((wrap(dx, (n, 3 * width))?, wrap(narrow(dqg), dh)?, wrap(narrow(dkg), dh)?))
}
