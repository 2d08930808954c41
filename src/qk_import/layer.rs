//! The query and key weights of one layer, and the matrices whose spectra say how its logits are made.

use faer::Mat;
use growthpath_analysis::spectral::HeadLayout;

use super::rope::Rotation;

/// Query and key projections of a layer as stored, input-major: `x W_Q` are the queries.
#[derive(Debug)]
pub struct LayerWeights {
    /// Its place in the model.
    pub layer: usize,
    /// Heads and their width.
    pub layout: HeadLayout,
    /// W_Q, `d x (H d_h)`.
    pub wq: Mat<f64>,
    /// W_K, `d x (H_kv d_h)`.
    pub wk: Mat<f64>,
    /// b_Q, `H d_h`.
    pub bq: Option<Vec<f64>>,
    /// b_K, `H_kv d_h`.
    pub bk: Option<Vec<f64>>,
    /// Gain of the norm before attention, `d`; none without one.
    pub gain: Option<Vec<f64>>,
    /// Bias of that norm, `d`.
    pub shift: Option<Vec<f64>>,
    /// Factor on `q . k`.
    pub scale: f64,
    /// What positions do to queries and keys.
    pub rotation: Rotation,
}

/// Query and key matrices with the factor on their product: `M = scale W_Q W_K^T` per head.
#[derive(Debug)]
pub struct Pair {
    /// Rows: the features, and a last one for the biases in augmented matrices.
    pub wq: Mat<f64>,
    /// As `wq`.
    pub wk: Mat<f64>,
}

/// Where the gain and the bias of the norm before attention go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormGain {
    /// Into the weights, which then act on the normalized stream.
    Folded,
    /// Nowhere: the weights act on the norm's output.
    Apart,
}

impl LayerWeights {
    /// The weights alone, with the norm's gain where it is folded in. Rotated columns carry the rotation's factor.
    pub fn weights(&self, gain: NormGain) -> Pair {
        self.pair(gain, None)
    }

    /// The weights with their biases as a last row, and where the gain is folded in the norm's bias as well; none where all are absent.
    ///
    /// Without rotation what the key's bias adds is the same along a row of logits, and softmax forgets it: its entries
    /// are then zero.
    pub fn augmented(&self, gain: NormGain) -> Option<Pair> {
        let shift = self.shift.as_ref().filter(|_| gain == NormGain::Folded);
        if self.bq.is_none() && self.bk.is_none() && shift.is_none() {
            return None;
        }
        let query = with_shift(&self.wq, self.bq.as_deref(), shift);
        let key = if self.rotation.rotary {
            with_shift(&self.wk, self.bk.as_deref(), shift)
        } else {
            vec![0.0; self.wk.ncols()]
        };
        Some(self.pair(gain, Some((&query, &key))))
    }

    /// As stored, with biases as a last row: what gradient flow's balance (2.2) is about.
    pub fn stored(&self) -> Pair {
        if self.bq.is_none() && self.bk.is_none() {
            return Pair { wq: self.wq.clone(), wk: self.wk.clone() };
        }
        let or_zero = |b: &Option<Vec<f64>>, n: usize| b.clone().unwrap_or_else(|| vec![0.0; n]);
        let (q, k) = (or_zero(&self.bq, self.wq.ncols()), or_zero(&self.bk, self.wk.ncols()));
        let side = |w: &Mat<f64>, b: &[f64]| Mat::from_fn(w.nrows() + 1, w.ncols(), |i, j| row(w, b, i, j));
        Pair { wq: side(&self.wq, &q), wk: side(&self.wk, &k) }
    }

    fn pair(&self, gain: NormGain, biases: Option<(&[f64], &[f64])>) -> Pair {
        let gain = self.gain.as_deref().filter(|_| gain == NormGain::Folded);
        let width = self.layout.head_dim;
        let side = |w: &Mat<f64>, bias: Option<&[f64]>| {
            Mat::from_fn(w.nrows() + usize::from(bias.is_some()), w.ncols(), |i, j| {
                let turned = self.rotation.rotary && j % width < self.rotation.width;
                let factor = if turned { self.rotation.factor } else { 1.0 };
                let gain = gain.filter(|_| i < w.nrows()).map_or(1.0, |g| g[i]);
                factor * gain * row(w, bias.unwrap_or(&[]), i, j)
            })
        };
        Pair { wq: side(&self.wq, biases.map(|b| b.0)), wk: side(&self.wk, biases.map(|b| b.1)) }
    }
}

fn row(w: &Mat<f64>, bias: &[f64], i: usize, j: usize) -> f64 {
    if i < w.nrows() { w[(i, j)] } else { bias[j] }
}

/// The bias that a norm's bias and a projection's own make together: `b + W^T s`.
fn with_shift(w: &Mat<f64>, b: Option<&[f64]>, shift: Option<&Vec<f64>>) -> Vec<f64> {
    let moved = |j: usize| shift.map_or(0.0, |s| s.iter().enumerate().map(|(i, s)| s * w[(i, j)]).sum());
    (0..w.ncols()).map(|j| b.map_or(0.0, |b| b[j]) + moved(j)).collect()
}
