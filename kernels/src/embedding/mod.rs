//! Token (and learned position) embedding: gather forward, ordered scatter-add backward.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::Tensor;

use crate::error::{Error, Result, shape_error};
use crate::tensor::{edit_from, matrix, read_as, scratch, wrap};

/// `h_0[b, t] = wte[token] + wpe[t]`.
///
/// # Shapes
/// `tokens [B * T]`, `wte [V, d]`, `wpe [T_max, d]` or none; returns `[B * T, d]`.
///
/// # Errors
/// A token outside the vocabulary, more positions than `wpe` has, storage that is not contiguous float32.
pub fn forward(tokens: &[u32], seq_len: usize, wte: &Tensor, wpe: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "embedding";
    let (v, d) = matrix(OP, "wte", wte)?;
    check(OP, tokens, seq_len, v)?;
    if let Some(p) = wpe {
        let (positions, pd) = matrix(OP, "wpe", p)?;
        if pd != d || positions < seq_len {
            return Err(shape_error(OP, "wpe", p.dims(), format!("[at least {seq_len}, {d}]")));
        }
    }
    let e = read_as(OP, "wte", wte)?;
    let p = wpe.map(|p| read_as(OP, "wpe", p)).transpose()?;
    let mut h = scratch(tokens.len() * d);
    cpu::forward(tokens, seq_len, &e, p.as_deref(), &mut h);
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
    const OP: &str = "embedding backward";
    let (n, d) = matrix(OP, "d_h", d_h)?;
    let (v, wd) = matrix(OP, "d_wte", d_wte)?;
    if wd != d {
        return Err(shape_error(OP, "d_wte", d_wte.dims(), format!("[V, {d}]")));
    }
    if n != tokens.len() {
        return Err(shape_error(OP, "d_h", d_h.dims(), format!("[{}, {d}]", tokens.len())));
    }
    check(OP, tokens, seq_len, v)?;
    if let Some(p) = positions.filter(|p| *p < seq_len) {
        return Err(shape_error(OP, "positions", &[p], format!("at least {seq_len}")));
    }
    edit_from(OP, ("d_wte", d_wte), ("d_h", d_h), |w, g| cpu::backward(tokens, g, w))?;
    let Some(positions) = positions else { return Ok(None) };
    let mut dp = vec![0f32; positions * d];
    cpu::positions(&read_as(OP, "d_h", d_h)?, seq_len, d, &mut dp);
    Ok(Some(wrap(dp, (positions, d))?))
}

/// Check tokens for operation `op`: whole sequences, of tokens below `vocabulary`.
///
/// # Errors
/// What the error says.
pub fn check(op: &'static str, tokens: &[u32], seq_len: usize, vocabulary: usize) -> Result<()> {
    if seq_len == 0 || tokens.is_empty() || !tokens.len().is_multiple_of(seq_len) {
        return Err(shape_error(
            op,
            "tokens",
            &[tokens.len()],
            format!("whole sequences of length {seq_len}"),
        ));
    }
    match tokens.iter().find(|t| **t as usize >= vocabulary) {
        None => Ok(()),
        Some(t) => Err(Error::Unsupported {
            op,
            message: format!(
                "token {t} lies outside the vocabulary of {vocabulary}: was the text encoded with another tokenizer?"
            ),
        }),
    }
}
