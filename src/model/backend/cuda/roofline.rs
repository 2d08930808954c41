//! How many bytes each memory-bound kernel has to move in a training step, by its documentation.

use growthpath_kernels::gpu::Elem;
use growthpath_kernels::norm::gpu::sums_columns;

use super::Cuda;
use super::weights::padded_vocabulary;

impl Cuda {
    /// Bytes read and written once a training step, by kernel name without the type's ending; what a cache keeps from
    /// memory (a second read of a row) is not counted.
    pub(super) fn bytes_to_move(&self) -> Vec<(&'static str, f64)> {
        let c = &self.config;
        let s = self.storage.bytes() as f64;
        let float = Elem::F32.bytes() as f64;
        let (n, d, f) = (self.shape.tokens() as f64, c.width as f64, c.hidden_width() as f64);
        let (layers, v) = (c.layers as f64, padded_vocabulary(c.vocab) as f64);
        let (row, gates) = (n * d * s, if c.ffn.gated() { 2.0 } else { 1.0 });
        let total = self.weights.total as f64;
        let only = |has: bool, bytes: f64| if has { bytes } else { 0.0 };
        let update = if self.weights.v.is_some() { 28.0 } else { 20.0 };
        vec![
            // h, w, h', x; the first norm has no write and stores no stream
            ("add_norm_fwd", row * (4.0 * 2.0 * layers + 2.0)),
            // dx, residual, h', dh; the last norm has no residual
            ("add_norm_bwd", row * (4.0 * (2.0 * layers + 1.0) - 1.0)),
            ("activation_fwd", layers * n * f * s * (gates + 1.0)),
            ("activation_bwd", layers * n * f * s * (2.0 * gates + 1.0)),
            ("cross_entropy", 2.0 * n * v * s),
            ("embedding_fwd", row + n * d * float),
            ("embedding_bwd", row),
            // the query, key and value projection; other biases ride on what reads their projection
            ("bias_add", only(c.bias, layers * 2.0 * n * 3.0 * d * s)),
            // other biases' gradients ride on the backward of the activation and of the norms
            ("column_sum", only(c.bias, layers * n * if sums_columns(c.width) { 3.0 } else { 5.0 } * d * s)),
            ("attention_delta", layers * 2.0 * row),
            ("qk_norm_fwd", only(c.qk_norm, layers * 6.0 * row)),
            ("qk_norm_bwd", only(c.qk_norm, layers * 8.0 * row)),
            ("grad_norm_partials", total * float),
            ("adamw", total * update),
            ("sgd", total * update),
            ("round_bf16", total * 6.0),
        ]
    }
}
