//! `--dump-step N`: all that anybody needs to recompute that step's rows.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::data::Batch;
use crate::error::Result;
use crate::model::Decoder;
use crate::model::hf::to_hf;
use crate::model::params::Spec;

/// Arrays of one step, filled as the step goes on.
#[derive(Debug, Default)]
pub struct Dump {
    arrays: HashMap<String, Tensor>,
}

impl Dump {
    fn named(&mut self, prefix: &str, model: &Decoder, tensors: &[&Tensor]) -> Result<()> {
        for n in to_hf(&model.config, tensors)? {
            self.arrays
                .insert(format!("{prefix}.{}", n.name), Tensor::from_vec(n.data, n.shape, &Device::Cpu)?);
        }
        Ok(())
    }

    fn parameters(&mut self, prefix: &str, model: &Decoder) -> Result<()> {
        let values: Vec<&Tensor> = model.params.vars.iter().map(|v| v.as_tensor()).collect();
        self.named(prefix, model, &values)
    }

    /// Tokens `[B, T + 1]` (inputs and the token after each), parameters before the update, writes `[B, T, d]`.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn before(&mut self, model: &Decoder, batch: &Batch, writes: &[[Vec<f32>; 2]]) -> Result<()> {
        let rows = batch.inputs.chunks_exact(batch.context).zip(batch.targets.chunks_exact(batch.context));
        let tokens: Vec<u32> = rows.flat_map(|(i, t)| i.iter().copied().chain(t.last().copied())).collect();
        let tokens = Tensor::from_vec(tokens, (batch.rows, batch.context + 1), &Device::Cpu)?;
        self.arrays.insert("tokens".into(), tokens);
        self.parameters("before", model)?;
        let shape = (batch.rows, batch.context, model.config.width);
        for (l, both) in writes.iter().enumerate() {
            for (site, w) in ["attn", "ffn"].into_iter().zip(both) {
                let write = Tensor::from_slice(w, shape, &Device::Cpu)?;
                self.arrays.insert(format!("write.{l}.{site}"), write);
            }
        }
        Ok(())
    }

    /// Gradients before clipping, parameters after the update; then write the file.
    ///
    /// # Errors
    /// When a tensor cannot be read or the file not be written.
    pub fn after(mut self, model: &Decoder, grads: Vec<Vec<f32>>, run: &Path, step: u32) -> Result<()> {
        let specs = &model.params.specs;
        let tensor = |(g, s): (Vec<f32>, &Spec)| Tensor::from_vec(g, s.shape.as_slice(), &Device::Cpu);
        let grads = grads.into_iter().zip(specs).map(tensor).collect::<candle_core::Result<Vec<_>>>()?;
        self.named("grad", model, &grads.iter().collect::<Vec<_>>())?;
        self.parameters("after", model)?;
        let dir = run.join("dumps");
        growthpath_trace::disk::create_dir(&dir)?;
        let path = dir.join(format!("step-{step}.safetensors"));
        super::checkpoint::save_arrays(&path, &self.arrays)
    }
}
