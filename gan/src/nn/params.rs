//! Named parameters and buffers of a network, in the order they were made.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A network's parameters (trained) and buffers (statistics and singular vectors).
#[derive(Debug, Default)]
pub struct Params {
    /// Trained.
    pub parameters: Vec<(String, Var)>,
    /// Updated by training passes, no gradient.
    pub buffers: Vec<(String, Var)>,
}

impl Params {
    /// Number of trained scalars.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Everything by name, under `prefix`.
    pub fn tensors(&self, prefix: &str) -> impl Iterator<Item = (String, Tensor)> {
        let all = self.parameters.iter().chain(&self.buffers);
        all.map(move |(name, v)| (format!("{prefix}{name}"), v.as_detached_tensor()))
    }

    /// Take every value from `tensors`, names under `prefix`.
    ///
    /// # Errors
    /// A name that is missing, a shape that differs.
    pub fn load(&self, tensors: &HashMap<String, Tensor>, prefix: &str) -> Result<()> {
        for (name, var) in self.parameters.iter().chain(&self.buffers) {
            let name = format!("{prefix}{name}");
            match tensors.get(&name) {
                Some(t) if t.dims() == var.dims() => var.set(&t.to_dtype(var.dtype())?)?,
                Some(t) => bail!("{name} has shape {:?}, this model needs {:?}", t.dims(), var.dims()),
                None => bail!("{name} is missing"),
            }
        }
        Ok(())
    }
}

/// Makes the parameters of a network: names by path, values from one seeded stream.
pub struct Builder<'a> {
    params: &'a mut Params,
    rng: &'a mut ChaCha8Rng,
    dtype: DType,
    path: String,
}

impl<'a> Builder<'a> {
    /// At the root of a network.
    pub fn new(params: &'a mut Params, rng: &'a mut ChaCha8Rng, dtype: DType) -> Self {
        Self { params, rng, dtype, path: String::new() }
    }

    /// One level down.
    pub fn enter(&mut self, name: &str) -> Builder<'_> {
        let path = format!("{}{name}.", self.path);
        Builder { params: self.params, rng: self.rng, dtype: self.dtype, path }
    }

    fn var(&self, values: Vec<f64>, shape: &[usize]) -> Result<Var> {
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?)
    }

    fn parameter(&mut self, name: &str, values: Vec<f64>, shape: &[usize]) -> Result<Var> {
        let v = self.var(values, shape)?;
        self.params.parameters.push((format!("{}{name}", self.path), v.clone()));
        Ok(v)
    }

    /// A trained tensor, uniform in +-1/sqrt(fan_in) (Kaiming with a = sqrt 5).
    pub(crate) fn uniform(&mut self, name: &str, shape: &[usize], fan_in: usize) -> Result<Var> {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let n = shape.iter().product();
        let values = (0..n).map(|_| self.rng.random_range(-bound..bound)).collect();
        self.parameter(name, values, shape)
    }

    /// A trained tensor of one value.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], value: f64) -> Result<Var> {
        self.parameter(name, vec![value; shape.iter().product()], shape)
    }

    /// A buffer of one value.
    pub(crate) fn buffer(&mut self, name: &str, n: usize, value: f64) -> Result<Var> {
        self.push_buffer(name, vec![value; n])
    }

    /// A buffer with a random direction of length 1.
    pub(crate) fn direction(&mut self, name: &str, n: usize) -> Result<Var> {
        let mut v: Vec<f64> = (0..n).map(|_| StandardNormal.sample(self.rng)).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        self.push_buffer(name, v)
    }

    fn push_buffer(&mut self, name: &str, values: Vec<f64>) -> Result<Var> {
        let n = values.len();
        let v = self.var(values, &[n])?;
        self.params.buffers.push((format!("{}{name}", self.path), v.clone()));
        Ok(v)
    }
}

/// The stream of random numbers for `purpose` at `step` of the run with `seed`: any step can be drawn again alone.
pub(crate) fn stream(seed: u64, purpose: u64, step: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose << 48 | step);
    rng
}
