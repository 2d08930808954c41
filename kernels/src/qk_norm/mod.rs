//! Optional RMS normalization of queries and keys, head by head, before the rotation.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::attention::Shape;
use crate::error::{Result, shape_error};
use crate::tensor::{expect_dims, read_as, scratch, wrap};

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
    const OP: &str = "qk_norm";
    check(OP, shape, qkv, q_gain, k_gain)?;
    let (n, dh, width) = (shape.tokens(), shape.head_dim, shape.width());
    let (x, qg) = (read_as(OP, "qkv", qkv)?, read_as(OP, "q_gain", q_gain)?);
    let kg = read_as(OP, "k_gain", k_gain)?;
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
    const OP: &str = "qk_norm backward";
    check(OP, shape, qkv, q_gain, k_gain)?;
    let (n, dh, width) = (shape.tokens(), shape.head_dim, shape.width());
    expect_dims(OP, "d", d, &[n, 3 * width])?;
    if saved.rrms.len() != 2 * n * shape.heads {
        return Err(shape_error(OP, "saved", &[saved.rrms.len()], format!("[{n} * 2 * {}]", shape.heads)));
    }
    let (x, g) = (read_as(OP, "qkv", qkv)?, read_as(OP, "d", d)?);
    let (qg, kg) = (read_as(OP, "q_gain", q_gain)?, read_as(OP, "k_gain", k_gain)?);
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

fn check(op: &'static str, shape: Shape, qkv: &Tensor, q_gain: &Tensor, k_gain: &Tensor) -> Result<()> {
    shape.check(op)?;
    expect_dims(op, "qkv", qkv, &[shape.tokens(), 3 * shape.width()])?;
    expect_dims(op, "q_gain", q_gain, &[shape.head_dim])?;
    expect_dims(op, "k_gain", k_gain, &[shape.head_dim])
}
