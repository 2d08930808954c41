//! Rotary position embedding, rotate-half convention (HF LLaMA): plane `i` turns coordinates `i` and `i + d_h/2`.

/// Cosines and sines `[T, d_h / 2]`, angle `t * base^(-2 i / d_h)`.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[T, d_h / 2]`.
    pub cos: Vec<f32>,
    /// `[T, d_h / 2]`.
    pub sin: Vec<f32>,
    /// `d_h / 2`.
    pub half: usize,
}

impl Rope {
    /// Tables for positions `0..seq_len`, computed in float64.
    pub fn new(seq_len: usize, head_dim: usize, base: f64) -> Self {
        let half = head_dim / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(seq_len * half), Vec::with_capacity(seq_len * half));
        for t in 0..seq_len {
            for i in 0..half {
                let angle = t as f64 * base.powf(-2.0 * i as f64 / head_dim as f64);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Self { cos, sin, half }
    }

    /// Rotate one head vector at position `t` in place; `inverse` turns back.
    #[inline(always)]
    pub(crate) fn rotate(&self, t: usize, v: &mut [f32], inverse: bool) {
        let h = self.half;
        let (c, s) = (&self.cos[t * h..(t + 1) * h], &self.sin[t * h..(t + 1) * h]);
        let (a, b) = v.split_at_mut(h);
        let b = &mut b[..h];
        if inverse {
            for i in 0..h {
                let (x, y) = (a[i], b[i]);
                a[i] = x.mul_add(c[i], y * s[i]);
                b[i] = y.mul_add(c[i], -(x * s[i]));
            }
        } else {
            for i in 0..h {
                let (x, y) = (a[i], b[i]);
                a[i] = x.mul_add(c[i], -(y * s[i]));
                b[i] = y.mul_add(c[i], x * s[i]);
            }
        }
    }
}
