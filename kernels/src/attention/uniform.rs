//! Attention replaced by the uniform causal average, head by head: the ablation behind "reliance".

use super::shape::Shape;

/// Overwrite the outputs of `heads` by the mean of the values that each query may see.
///
/// # Shapes
/// `qkv [N, 3 D]`, `out [N, D]`.
///
/// # Panics
/// Slices of other lengths, a head that does not exist.
pub fn average(shape: Shape, qkv: &[f32], out: &mut [f32], heads: &[usize]) {
    let (width, dh) = (shape.width(), shape.head_dim);
    let mut sum = vec![0f64; dh];
    for b in 0..shape.batch {
        for &h in heads {
            sum.fill(0.0);
            for t in 0..shape.seq_len {
                let token = b * shape.seq_len + t;
                let v = &qkv[token * 3 * width + 2 * width + h * dh..][..dh];
                let dst = &mut out[token * width + h * dh..][..dh];
                for ((s, v), d) in sum.iter_mut().zip(v).zip(dst) {
                    *s += f64::from(*v);
                    *d = (*s / (t + 1) as f64) as f32;
                }
            }
        }
    }
}
