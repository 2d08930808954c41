//! The architectures whose attention is known, one entry a kind, after the model classes of the `transformers` library.

use super::family::{Family, InputNorm, Order, PositionScheme, Projection, QkNorm, Scale};

/// LLaMA and everything that shares its attention.
pub(super) const LLAMA: Family = Family {
    types: &[
        "llama",
        "mistral",
        "mixtral",
        "ministral",
        "qwen2",
        "qwen2_moe",
        "arcee",
        "seed_oss",
        "ernie4_5",
        "helium",
    ],
    layers: "layers",
    attention: "self_attn",
    projection: Projection::Separate { q: "q_proj", k: "k_proj" },
    others: &["v_proj", "o_proj", "rotary_emb.inv_freq", "k_scale", "v_scale"],
    norm: InputNorm::Gain(&["input_layernorm"]),
    positions: PositionScheme::Rotary,
    scale: Scale::HeadWidth,
    qk_norm: QkNorm::Never,
    rotated: 1.0,
    hybrid: false,
    conv1d: false,
};

const NEOX: Family = Family {
    types: &["gpt_neox"],
    attention: "attention",
    projection: Projection::Fused { name: "query_key_value", order: Order::PerHead },
    others: &["dense", "rotary_emb.inv_freq", "bias", "masked_bias"],
    rotated: 0.25,
    ..LLAMA
};

/// GPT-2, nanoGPT among them.
pub(super) const GPT2: Family = Family {
    types: &["gpt2"],
    layers: "h",
    attention: "attn",
    projection: Projection::Fused { name: "c_attn", order: Order::Blocks },
    others: &["c_proj", "bias", "masked_bias"],
    norm: InputNorm::Gain(&["ln_1"]),
    positions: PositionScheme::Plain,
    scale: Scale::Gpt2,
    conv1d: true,
    ..LLAMA
};

/// Every kind of attention that is read.
pub(super) const FAMILIES: &[Family] = &[
    LLAMA,
    Family { types: &["starcoder2"], ..LLAMA },
    Family { types: &["granite", "granitemoe", "granitemoeshared"], scale: Scale::Multiplier, ..LLAMA },
    Family { types: &["olmo"], norm: InputNorm::None, ..LLAMA },
    Family { types: &["glm", "glm4"], rotated: 0.5, ..LLAMA },
    Family { types: &["nemotron"], norm: InputNorm::GainPlusOne("input_layernorm"), rotated: 0.5, ..LLAMA },
    Family { types: &["gemma"], norm: InputNorm::GainPlusOne("input_layernorm"), ..LLAMA },
    Family {
        types: &["gemma2"],
        norm: InputNorm::GainPlusOne("input_layernorm"),
        scale: Scale::Scalar,
        ..LLAMA
    },
    Family {
        types: &["gemma3", "gemma3_text"],
        norm: InputNorm::GainPlusOne("input_layernorm"),
        scale: Scale::Scalar,
        qk_norm: QkNorm::Always,
        ..LLAMA
    },
    Family {
        types: &["qwen3", "qwen3_moe", "olmoe", "hunyuan_v1_dense", "hunyuan_v1_moe"],
        qk_norm: QkNorm::Always,
        ..LLAMA
    },
    Family {
        types: &["olmo2", "olmo3", "nanochat"],
        norm: InputNorm::None,
        qk_norm: QkNorm::Always,
        ..LLAMA
    },
    Family {
        types: &["exaone4"],
        norm: InputNorm::None,
        positions: PositionScheme::SlidingOnly,
        qk_norm: QkNorm::Always,
        ..LLAMA
    },
    Family {
        types: &["apertus"],
        norm: InputNorm::Gain(&["attention_layernorm"]),
        qk_norm: QkNorm::Always,
        ..LLAMA
    },
    Family {
        types: &["llama4_text"],
        positions: PositionScheme::Listed,
        qk_norm: QkNorm::If("use_qk_norm", true),
        ..LLAMA
    },
    Family { types: &["smollm3"], positions: PositionScheme::Listed, ..LLAMA },
    Family { types: &["cohere"], qk_norm: QkNorm::If("use_qk_norm", false), ..LLAMA },
    Family { types: &["cohere2"], positions: PositionScheme::SlidingOnly, ..LLAMA },
    Family { types: &["stablelm"], qk_norm: QkNorm::If("qk_layernorm", false), rotated: 0.25, ..LLAMA },
    Family {
        types: &["phi"],
        others: &["v_proj", "dense", "rotary_emb.inv_freq"],
        qk_norm: QkNorm::If("qk_layernorm", false),
        rotated: 0.5,
        ..LLAMA
    },
    Family {
        types: &["phi3"],
        projection: Projection::Fused { name: "qkv_proj", order: Order::Blocks },
        ..LLAMA
    },
    Family {
        types: &["persimmon"],
        projection: Projection::Fused { name: "query_key_value", order: Order::PerHead },
        others: &["dense", "rotary_emb.inv_freq"],
        qk_norm: QkNorm::If("qk_layernorm", true),
        rotated: 0.5,
        ..LLAMA
    },
    Family { types: &["gpt_oss"], others: &["v_proj", "o_proj", "sinks"], ..LLAMA },
    Family { types: &["jamba"], positions: PositionScheme::Plain, hybrid: true, ..LLAMA },
    Family {
        types: &["lfm2"],
        others: &["v_proj", "out_proj", "o_proj"],
        norm: InputNorm::Gain(&["operator_norm"]),
        qk_norm: QkNorm::Always,
        hybrid: true,
        ..LLAMA
    },
    Family {
        types: &["opt"],
        others: &["v_proj", "out_proj"],
        norm: InputNorm::Gain(&["self_attn_layer_norm"]),
        positions: PositionScheme::Plain,
        ..LLAMA
    },
    GPT2,
    Family {
        types: &["gpt_bigcode"],
        projection: Projection::Fused { name: "c_attn", order: Order::BigCode },
        conv1d: false,
        ..GPT2
    },
    Family {
        types: &["gpt_neo"],
        attention: "attn.attention",
        projection: Projection::Separate { q: "q_proj", k: "k_proj" },
        others: &["v_proj", "out_proj", "bias", "masked_bias"],
        scale: Scale::One,
        conv1d: false,
        ..GPT2
    },
    Family {
        types: &["gptj"],
        projection: Projection::Separate { q: "q_proj", k: "k_proj" },
        others: &["v_proj", "out_proj", "bias", "masked_bias"],
        positions: PositionScheme::Rotary,
        scale: Scale::HeadWidth,
        conv1d: false,
        ..GPT2
    },
    NEOX,
    Family {
        types: &["falcon"],
        layers: "h",
        attention: "self_attention",
        projection: Projection::Fused { name: "query_key_value", order: Order::Falcon },
        norm: InputNorm::Gain(&["ln_attn", "input_layernorm"]),
        positions: PositionScheme::AlibiIf("alibi", false),
        rotated: 1.0,
        ..NEOX
    },
    Family {
        types: &["bloom"],
        layers: "h",
        attention: "self_attention",
        positions: PositionScheme::Alibi,
        ..NEOX
    },
    Family {
        types: &["mpt"],
        layers: "blocks",
        attention: "attn",
        projection: Projection::Fused { name: "Wqkv", order: Order::Blocks },
        others: &["out_proj"],
        norm: InputNorm::Gain(&["norm_1"]),
        positions: PositionScheme::AlibiIf("attn_config.alibi", true),
        scale: Scale::Softmax,
        qk_norm: QkNorm::If("attn_config.qk_ln", false),
        ..LLAMA
    },
    Family {
        types: &["bert", "roberta", "xlm-roberta", "camembert"],
        layers: "layer",
        attention: "attention",
        projection: Projection::Separate { q: "self.query", k: "self.key" },
        others: &["self.value", "output.dense", "output.LayerNorm"],
        norm: InputNorm::None,
        positions: PositionScheme::Plain,
        ..LLAMA
    },
];
