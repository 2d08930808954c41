//! What `growthpath inspect` finds, as it is printed as JSON.

use std::path::PathBuf;

use growthpath_analysis::spectral::{BalanceChange, HeadSpectrum};
use serde::Serialize;

/// One layer of a checkpoint.
#[derive(Serialize)]
pub struct Layer {
    pub layer: usize,
    /// Factor on q . k that M carries.
    pub attention_scale: f64,
    /// Whether queries and keys are rotated by their positions here.
    pub rope: bool,
    /// Spectra of the weights alone.
    pub heads: Vec<HeadSpectrum>,
    /// Spectra of the weights with their biases; none in a model without.
    pub augmented: Option<Vec<HeadSpectrum>>,
    /// ln(|M|_2 now / |M|_2 at the checkpoint before) of the weights alone, one a head; none where M is not the logits'
    /// matrix.
    pub spectral_growth: Option<Vec<f64>>,
    /// The same of the augmented weights.
    pub augmented_growth: Option<Vec<f64>>,
    /// Change of W_Q^T W_Q - W_K^T W_K since the checkpoint before, one a key head.
    pub balance: Option<Vec<BalanceChange>>,
}

/// A checkpoint.
#[derive(Serialize)]
pub struct Inspection {
    pub checkpoint: PathBuf,
    pub step: Option<u64>,
    pub model_type: String,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Whether some layer rotates queries and keys.
    pub rope: bool,
    /// Whether logits are `x_i M x_j` (rotated where there is RoPE); false with QK-norm.
    pub bilinear: bool,
    /// Why not.
    pub not_bilinear: Option<String>,
    /// Whether the norm's gain is folded into M.
    pub norms_folded: bool,
    pub notes: Vec<String>,
    pub layers: Vec<Layer>,
}
