//! Batch normalization with running statistics.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Builder, Pass};
use crate::ops::{Statistics, batch_norm_eval, batch_norm_train};

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Scale, shift, running mean and (unbiased) running variance.
#[derive(Debug)]
pub struct BatchNorm {
    gamma: Var,
    beta: Var,
    mean: Var,
    variance: Var,
}

impl BatchNorm {
    /// For `channels` channels: scale 1, shift 0.
    ///
    /// # Errors
    /// From candle.
    pub fn new(mut b: Builder<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            gamma: b.constant("weight", &[channels], 1.0)?,
            beta: b.constant("bias", &[channels], 0.0)?,
            mean: b.buffer("running_mean", channels, 0.0)?,
            variance: b.buffer("running_var", channels, 1.0)?,
        })
    }

    /// `[b, c, h, w]` to the same.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (gamma, beta) = (pass.of(&self.gamma), pass.of(&self.beta));
        if !pass.train {
            let read = |v: &Var| v.to_dtype(DType::F64)?.to_vec1();
            let s = Statistics { mean: read(&self.mean)?, variance: read(&self.variance)?, count: 0 };
            return batch_norm_eval(x, &gamma, &beta, &s, EPS);
        }
        let (y, s) = batch_norm_train(x, &gamma, &beta, EPS)?;
        let unbiased = s.count as f64 / (s.count.max(2) - 1) as f64;
        follow(&self.mean, &s.mean, 1.0)?;
        follow(&self.variance, &s.variance, unbiased)?;
        Ok(y)
    }
}

fn follow(running: &Var, now: &[f64], factor: f64) -> Result<()> {
    let old: Vec<f64> = running.to_dtype(DType::F64)?.to_vec1()?;
    let new: Vec<f64> =
        old.iter().zip(now).map(|(o, n)| (1.0 - MOMENTUM) * o + MOMENTUM * factor * n).collect();
    running.set(&Tensor::from_vec(new, old.len(), &Device::Cpu)?.to_dtype(running.dtype())?)
}
