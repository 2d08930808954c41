//! Kinds of attention: where W_Q and W_K lie and how logits are made of them.
//!
//! What [`super::table`] does not list is refused by name: a checkpoint that looks like another architecture must not be read
//! as that one.

/// Where the query and key projections of a layer lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Projection {
    /// Two matrices, `[out, in]`.
    Separate {
        /// Module of W_Q under the attention module.
        q: &'static str,
        /// Module of W_K.
        k: &'static str,
    },
    /// One matrix.
    Fused {
        /// Its module.
        name: &'static str,
        /// Order of its output features.
        order: Order,
    },
}

/// Order of the output features of a fused projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// All queries, all keys, all values.
    Blocks,
    /// Query, key, value of each head.
    PerHead,
    /// The queries of a group, its key, its value (Falcon's new decoder architecture).
    Grouped,
    /// Falcon's: grouped, blocks or per head, as its configuration says.
    Falcon,
    /// GPTBigCode's: blocks with one key head, or per head.
    BigCode,
}

/// The norm whose output attention reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum InputNorm {
    /// None with a gain: attention reads the residual stream itself, or a norm without parameters.
    None,
    /// The first of these modules that is there, `x = gain * n (+ bias)`.
    Gain(&'static [&'static str]),
    /// `x = (1 + weight) * n (+ bias)`.
    GainPlusOne(&'static str),
}

/// How positions reach the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PositionScheme {
    /// Rotations in every layer.
    Rotary,
    /// Learned or no positions: nothing happens to queries and keys.
    Plain,
    /// A bias by distance.
    Alibi,
    /// A bias by distance where `alibi` is set, else the second value's.
    AlibiIf(&'static str, bool),
    /// Rotations where `no_rope_layers` says 1.
    Listed,
    /// Rotations in layers with a sliding window.
    SlidingOnly,
}

/// What multiplies `q . k`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// `1 / sqrt(d_h)`.
    HeadWidth,
    /// 1.
    One,
    /// `attention_multiplier`, 1 when absent.
    Multiplier,
    /// `1 / sqrt(query_pre_attn_scalar)`; 256 when absent.
    Scalar,
    /// GPT-2's `scale_attn_weights` and `scale_attn_by_inverse_layer_idx`.
    Gpt2,
    /// MPT's `attn_config.softmax_scale`.
    Softmax,
}

/// Whether queries and keys are normalized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QkNorm {
    /// Not by this class; a tensor that says otherwise is believed.
    Never,
    /// Always, with or without weights.
    Always,
    /// As the key of the configuration says; the second value when absent.
    If(&'static str, bool),
}

/// One kind of attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// `model_type`s.
    pub(super) types: &'static [&'static str],
    /// The list of layers.
    pub(super) layers: &'static str,
    /// The attention module of a layer; may have dots.
    pub(super) attention: &'static str,
    pub(super) projection: Projection,
    /// Modules and buffers under attention that have no part in the logits.
    pub(super) others: &'static [&'static str],
    pub(super) norm: InputNorm,
    pub(super) positions: PositionScheme,
    pub(super) scale: Scale,
    pub(super) qk_norm: QkNorm,
    /// Share of a head's width that is rotated where the configuration does not say.
    pub(super) rotated: f64,
    /// Whether some layers may have no attention.
    pub(super) hybrid: bool,
    /// Whether a fused matrix may be stored input-major (GPT-2's Conv1D).
    pub(super) conv1d: bool,
}
