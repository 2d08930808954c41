//! CPU twin, over slices: rows gathered in parallel, gradients scattered in order.

use rayon::prelude::*;

/// The stream before the first layer: token and position rows added, for tokens that [`super::check`] found good.
///
/// # Shapes
/// `wte [V, d]`, `wpe [at least T, d]`, `h [N, d]`.
///
/// # Panics
/// Slices of other lengths.
pub fn forward(tokens: &[u32], seq_len: usize, wte: &[f32], wpe: Option<&[f32]>, h: &mut [f32]) {
    let d = h.len() / tokens.len();
    h.par_chunks_mut(d * 64).zip(tokens.par_chunks(64)).enumerate().for_each(|(block, (h, tokens))| {
        for (i, (row, tok)) in h.chunks_exact_mut(d).zip(tokens).enumerate() {
            let at = *tok as usize * d;
            row.copy_from_slice(&wte[at..at + d]);
            if let Some(p) = wpe {
                let pos = (block * 64 + i) % seq_len;
                row.iter_mut().zip(&p[pos * d..(pos + 1) * d]).for_each(|(r, p)| *r += p);
            }
        }
    });
}

/// `d_wte[token] += d_h` of the token's rows, in order: `d_wte` holds zeros, or what a tied head wrote.
///
/// # Shapes
/// `d_h [N, d]`, `d_wte [V, d]`.
///
/// # Panics
/// Slices of other lengths.
pub fn backward(tokens: &[u32], d_h: &[f32], d_wte: &mut [f32]) {
    let d = d_h.len() / tokens.len();
    for (tok, row) in tokens.iter().zip(d_h.chunks_exact(d)) {
        let at = *tok as usize * d;
        d_wte[at..at + d].iter_mut().zip(row).for_each(|(w, v)| *w += v);
    }
}

/// `d_wpe[t] = sum over sequences of d_h[b, t]`, zero past the sequences' length.
///
/// # Shapes
/// `d_h [B * T, d]`, `d_wpe [at least T, d]`.
///
/// # Panics
/// Slices of other lengths.
pub fn positions(d_h: &[f32], seq_len: usize, d: usize, d_wpe: &mut [f32]) {
    d_wpe.fill(0.0);
    for sequence in d_h.chunks_exact(seq_len * d) {
        d_wpe.iter_mut().zip(sequence).for_each(|(a, v)| *a += v);
    }
}
