//! Token (and learned position) embedding: gather forward, ordered scatter-add backward.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result, shape_error};
use crate::tensor::{edit, read, scratch, wrap};

/// `h_0[b, t] = wte[token] + wpe[t]`.
///
/// # Shapes
/// `tokens [B * T]`, `wte [V, d]`, `wpe [T_max, d]` or none; returns `[B * T, d]`.
///
/// # Errors
/// A token outside the vocabulary, more positions than `wpe` has, storage that is not contiguous float32.
pub fn forward(tokens: &[u32], seq_len: usize, wte: &Tensor, wpe: Option<&Tensor>) -> Result<Tensor> {
    let (v, d) = wte.dims2()?;
    if let Some(t) = tokens.iter().find(|t| **t as usize >= v) {
        return Err(Error::Unsupported {
            op: "embedding",
            message: format!(
                "token {t} lies outside the vocabulary of {v}: was the text encoded with another tokenizer?"
            ),
        });
    }
    let e = read(wte)?;
    let p = wpe.map(read).transpose()?;
    if let Some(p) = &p
        && p.len() < seq_len * d
    {
        return Err(shape_error(
            "embedding",
            "wpe",
            &[p.len() / d, d],
            format!("at least {seq_len} positions"),
        ));
    }
    let mut h = scratch(tokens.len() * d);
    h.par_chunks_mut(d * 64).zip(tokens.par_chunks(64)).enumerate().for_each(|(block, (h, tokens))| {
        for (i, (row, tok)) in h.chunks_exact_mut(d).zip(tokens).enumerate() {
            let at = *tok as usize * d;
            row.copy_from_slice(&e[at..at + d]);
            if let Some(p) = &p {
                let pos = (block * 64 + i) % seq_len;
                row.iter_mut().zip(&p[pos * d..(pos + 1) * d]).for_each(|(r, p)| *r += p);
            }
        }
    });
    wrap(h, (tokens.len(), d))
}

/// Add the embedding's gradient into `d_wte [V, d]` (in place: a tied head has already written there) and return
/// the gradient of the positions, `[positions, d]`.
///
/// # Errors
/// Shapes that do not fit, or storage that is not contiguous float32.
pub fn backward(
    tokens: &[u32],
    seq_len: usize,
    d_h: &Tensor,
    d_wte: &Tensor,
    positions: Option<usize>,
) -> Result<Option<Tensor>> {
    let (n, d) = d_h.dims2()?;
    if n != tokens.len() {
        return Err(shape_error("embedding backward", "d_h", d_h.dims(), format!("[{}, {d}]", tokens.len())));
    }
    let g = read(d_h)?;
    edit(d_wte, |w| {
        for (tok, row) in tokens.iter().zip(g.chunks_exact(d)) {
            let at = *tok as usize * d;
            w[at..at + d].iter_mut().zip(row).for_each(|(w, v)| *w += v);
        }
    })?;
    let Some(positions) = positions else { return Ok(None) };
    let mut dp = vec![0f32; positions * d];
    for sequence in g.chunks_exact(seq_len * d) {
        dp.iter_mut().zip(sequence).for_each(|(a, v)| *a += v);
    }
    Ok(Some(wrap(dp, (positions, d))?))
}
