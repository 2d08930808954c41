//! Adam, in place.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::nn::Params;

/// Adam's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Rule {
    /// The generator's: betas (0, 0.99).
    pub fn generator(rate: f64) -> Self {
        Self { rate, beta1: 0.0, beta2: 0.99, eps: 1e-8 }
    }

    /// The discriminator's: the same, shortened for a lazy regularization every 16 steps that projected GANs no longer
    /// have: rate and exponent times 16/17.
    pub fn discriminator(rate: f64) -> Self {
        Self { rate: rate * 16.0 / 17.0, beta2: 0.99f64.powf(16.0 / 17.0), ..Self::generator(rate) }
    }
}

/// Moments of the parameters that have ever had a gradient.
#[derive(Debug)]
pub struct Adam {
    rule: Rule,
    steps: u64,
    moments: HashMap<String, Moments>,
}

#[derive(Debug)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

struct Update {
    rule: Rule,
    /// 1 - beta^t of both moments.
    correction: (f64, f64),
    moments: Mutex<Moments>,
}

impl Adam {
    /// No step made yet.
    pub fn new(rule: Rule) -> Self {
        Self { rule, steps: 0, moments: HashMap::new() }
    }

    /// One step along `gradients`, parallel to the parameters; `None` leaves a parameter alone.
    ///
    /// # Errors
    /// Parameters that are not float32.
    pub fn step(&mut self, params: &Params, gradients: &[Option<Tensor>]) -> Result<()> {
        self.steps += 1;
        let t = self.steps as f64;
        let correction = (1.0 - self.rule.beta1.powf(t), 1.0 - self.rule.beta2.powf(t));
        for ((name, var), gradient) in params.parameters.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let zeros = || vec![0f32; var.elem_count()];
            let moments =
                self.moments.remove(name).unwrap_or_else(|| Moments { first: zeros(), second: zeros() });
            let update = Update { rule: self.rule, correction, moments: Mutex::new(moments) };
            var.inplace_op2(&gradient.contiguous()?, &update)?;
            let moments = update.moments.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.moments.insert(name.clone(), moments);
        }
        Ok(())
    }

    /// State by name, under `prefix`.
    ///
    /// # Errors
    /// From candle.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for (name, m) in &self.moments {
            let tensor = |v: &Vec<f32>| Tensor::from_slice(v, v.len(), &Device::Cpu);
            all.push((format!("{prefix}first.{name}"), tensor(&m.first)?));
            all.push((format!("{prefix}second.{name}"), tensor(&m.second)?));
        }
        Ok(all)
    }

    /// Take the state after `steps` steps.
    ///
    /// # Errors
    /// A moment without its pair or of the wrong length.
    pub fn load(
        &mut self,
        tensors: &HashMap<String, Tensor>,
        prefix: &str,
        params: &Params,
        steps: u64,
    ) -> Result<()> {
        self.steps = steps;
        self.moments.clear();
        for (name, var) in &params.parameters {
            let get = |part: &str| tensors.get(&format!("{prefix}{part}.{name}"));
            match (get("first"), get("second")) {
                (None, None) => {}
                (Some(a), Some(b))
                    if a.elem_count() == var.elem_count() && b.elem_count() == var.elem_count() =>
                {
                    let m = Moments { first: a.to_vec1()?, second: b.to_vec1()? };
                    self.moments.insert(name.clone(), m);
                }
                _ => bail!("the optimizer's state of {name} is incomplete"),
            }
        }
        Ok(())
    }
}

impl InplaceOp2 for Update {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, pl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<()> {
        let (CpuStorage::F32(p), CpuStorage::F32(g)) = (p, g) else { bail!("Adam steps float32 only") };
        let (Some((ps, pe)), Some((gs, ge))) = (pl.contiguous_offsets(), gl.contiguous_offsets()) else {
            bail!("Adam steps contiguous tensors only");
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let Moments { first, second } = &mut *moments;
        let (b1, b2, eps) = (self.rule.beta1 as f32, self.rule.beta2 as f32, self.rule.eps as f32);
        let (d1, d2) = ((1.0 - self.rule.beta1) as f32, (1.0 - self.rule.beta2) as f32);
        let rate = (self.rule.rate / self.correction.0) as f32;
        let root = (1.0 / self.correction.1.sqrt()) as f32;
        let parts = p[ps..pe].par_iter_mut().zip(&g[gs..ge]).zip(first).zip(second).with_min_len(1 << 14);
        parts.for_each(|(((p, g), m), v)| {
            *m = b1 * *m + d1 * g;
            *v = b2 * *v + d2 * g * g;
            *p -= rate * *m / (v.sqrt() * root + eps);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    #[test]
    fn follows_the_textbook_in_float64() {
        let var = Var::from_vec(vec![0.5f32, -1.0, 2.0], 3, &Device::Cpu).unwrap();
        let params = Params { parameters: vec![("p".into(), var.clone())], buffers: vec![] };
        let rule = Rule { rate: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8 };
        let mut adam = Adam::new(rule);
        let (mut p, mut m, mut v) = ([0.5f64, -1.0, 2.0], [0.0; 3], [0.0; 3]);
        for t in 1..=5 {
            let g = [0.3 * t as f64, -0.2, 1e-3];
            let gradient = Tensor::new(&g.map(|g| g as f32), &Device::Cpu).unwrap();
            adam.step(&params, &[Some(gradient)]).unwrap();
            for i in 0..3 {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                v[i] = 0.99 * v[i] + 0.01 * g[i] * g[i];
                let (a, b) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.99f64.powi(t)));
                p[i] -= 0.1 * a / (b.sqrt() + 1e-8);
            }
        }
        // A few float32 roundings of numbers near one.
        for (got, want) in var.to_vec1::<f32>().unwrap().iter().zip(p) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
        let d = Rule::discriminator(2e-4);
        assert!((d.rate - 1.882e-4).abs() < 1e-7 && (d.beta2 - 0.990585).abs() < 1e-6 && d.beta1 == 0.0);
    }
}
