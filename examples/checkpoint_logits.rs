//! Logits of a checkpoint on given tokens: `checkpoint_logits CHECKPOINT TOKENS.safetensors KEY OUT.safetensors`.
//!
//! `KEY` names a u32 array `[sequences, length]`; the output holds `logits [sequences, length, vocabulary]`, float32. What
//! `scripts/transformers_parity.py` holds against the `transformers` library.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use growthpath::model::{Options, params::Role};
use growthpath::train::checkpoint::{load_model, save_arrays};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, tokens, key, out] = arguments.as_slice() else {
        return Err("usage: checkpoint_logits CHECKPOINT TOKENS.safetensors KEY OUT.safetensors".into());
    };
    let model = load_model(Path::new(checkpoint))?;
    let arrays = candle_core::safetensors::load(tokens, &Device::Cpu)?;
    let tokens = arrays.get(key).ok_or_else(|| format!("{tokens} lacks `{key}`"))?;
    let (sequences, length) = tokens.dims2()?;
    let ids = tokens.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
    let forward = model.forward(&ids, length, &Options::default())?;
    let head =
        model.params.index(Role::LmHead, None).or_else(|| model.params.index(Role::TokenEmbedding, None));
    let head = model.params.vars[head.ok_or("the model has no embedding")?].as_tensor();
    // Past the last layer: what the vocabulary projection reads.
    let output = forward.attention_input(model.config.layers);
    let output = Tensor::from_slice(output, (ids.len(), model.config.width), &Device::Cpu)?;
    let logits = output.matmul(&head.t()?)?.reshape((sequences, length, head.dim(0)?))?;
    save_arrays(Path::new(out), &HashMap::from([("logits".to_string(), logits)]))?;
    Ok(())
}
