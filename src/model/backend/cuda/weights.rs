//! All parameters in one array, likewise gradients and moments, so that one launch can reach every one.

use growthpath_kernels::gpu::{Buffer, Elem, Gpu, Slice, reduce};
use growthpath_kernels::optimizer::OptimizerState;
use growthpath_kernels::probe::moments;
use growthpath_kernels::tensor;

use crate::error::{Error, Result};
use crate::model::params::{Params, Role, Spec};

/// Elements that every parameter starts at a multiple of: wide loads stay aligned in either type.
const ALIGNMENT: usize = 64;
/// Rows of the vocabulary's matrices are padded to a multiple of this, with zeros that nothing trains.
const VOCABULARY_PADDING: usize = 64;

/// Where a parameter lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    len: usize,
    /// With padding rows.
    padded: usize,
}

/// Parameters, gradients and moments in device memory.
pub(super) struct Weights {
    gpu: Gpu,
    places: Vec<Place>,
    pub(super) total: usize,
    pub(super) param: Buffer,
    pub(super) grad: Buffer,
    pub(super) m: Buffer,
    pub(super) v: Option<Buffer>,
    /// The parameters rounded to bf16, where activations are stored as bf16.
    rounded: Option<Buffer>,
}

/// Vocabulary rows with padding.
pub(super) fn padded_vocabulary(vocabulary: usize) -> usize {
    vocabulary.next_multiple_of(VOCABULARY_PADDING)
}

fn padded_len(spec: &Spec, len: usize) -> usize {
    match spec.role {
        Role::TokenEmbedding | Role::LmHead => len / spec.shape[0] * padded_vocabulary(spec.shape[0]),
        _ => len,
    }
}

impl Weights {
    /// A copy of `params`; `trains`: with room for gradients and moments, of both orders or not.
    pub(super) fn new(gpu: &Gpu, params: &Params, storage: Elem, trains: Option<bool>) -> Result<Self> {
        let mut places = Vec::with_capacity(params.specs.len());
        let mut total = 0;
        for (spec, var) in params.specs.iter().zip(&params.vars) {
            let len = var.elem_count();
            let padded = padded_len(spec, len);
            places.push(Place { start: total, len, padded });
            total = (total + padded).next_multiple_of(ALIGNMENT);
        }
        let array = |len| gpu.zeros(Elem::F32, len);
        let trained = if trains.is_some() { total } else { 0 };
        let weights = Self {
            gpu: gpu.clone(),
            places,
            total,
            param: array(total)?,
            grad: array(trained)?,
            m: array(trained)?,
            v: if trains == Some(true) { Some(array(total)?) } else { None },
            rounded: if storage == Elem::Bf16 { Some(gpu.zeros(Elem::Bf16, total)?) } else { None },
        };
        weights.push(params)?;
        Ok(weights)
    }

    /// Copy the host's parameters to the device.
    pub(super) fn push(&self, params: &Params) -> Result<()> {
        let mut flat = vec![0f32; self.total];
        for (p, var) in self.places.iter().zip(&params.vars) {
            flat[p.start..p.start + p.len].copy_from_slice(&tensor::read(var.as_tensor())?);
        }
        self.param.all().write(&flat)?;
        self.round()
    }

    /// Take the values of another copy of the same parameters over.
    pub(super) fn copy_from(&self, other: &Self) -> Result<()> {
        self.param.all().copy_from(other.param.all())?;
        self.round()
    }

    /// Whether every parameter is a number; waits for it.
    pub(super) fn finite(&self) -> Result<bool> {
        let sums = self.gpu.zeros(Elem::F64, moments::PARTS)?;
        moments::sum_squares(self.param.all(), sums.all())?;
        Ok(sums.all().read_f64()?.iter().all(|s| s.is_finite()))
    }

    /// Bring the rounded copy up to date.
    pub(super) fn round(&self) -> Result<()> {
        match &self.rounded {
            Some(r) => Ok(reduce::round(self.param.all(), r.all())?),
            None => Ok(()),
        }
    }

    /// Copy the device's parameters to the host.
    pub(super) fn pull(&self, params: &Params) -> Result<()> {
        self.pull_from(&self.param, params)
    }

    /// The same from a copy of all of them.
    pub(super) fn pull_from(&self, array: &Buffer, params: &Params) -> Result<()> {
        let flat = array.all().read()?;
        for (p, var) in self.places.iter().zip(&params.vars) {
            let from = &flat[p.start..p.start + p.len];
            tensor::edit(var.as_tensor(), |to| to.copy_from_slice(from))?;
        }
        Ok(())
    }

    /// One array's values, parameter by parameter.
    pub(super) fn split(&self, array: &Buffer) -> Result<Vec<Vec<f32>>> {
        let flat = array.all().read()?;
        Ok(self.places.iter().map(|p| flat[p.start..p.start + p.len].to_vec()).collect())
    }

    /// Copy the optimizer's state to the host.
    pub(super) fn pull_state(&self, state: &mut [OptimizerState]) -> Result<()> {
        for (to, m) in state.iter_mut().zip(self.split(&self.m)?) {
            to.m = m;
        }
        if let Some(v) = &self.v {
            for (to, v) in state.iter_mut().zip(self.split(v)?) {
                to.v = v;
            }
        }
        Ok(())
    }

    /// Copy the optimizer's state to the device.
    pub(super) fn push_state(&self, state: &[OptimizerState]) -> Result<()> {
        self.join(&self.m, &state.iter().map(|s| s.m.as_slice()).collect::<Vec<_>>())?;
        match &self.v {
            Some(v) => self.join(v, &state.iter().map(|s| s.v.as_slice()).collect::<Vec<_>>()),
            None => Ok(()),
        }
    }

    /// Fill one array from values parameter by parameter.
    fn join(&self, array: &Buffer, values: &[&[f32]]) -> Result<()> {
        let mut flat = vec![0f32; self.total];
        for (p, v) in self.places.iter().zip(values) {
            if v.len() != p.len {
                return Err(Error::usage(format!("{} moments for {} parameters", v.len(), p.len)));
            }
            flat[p.start..p.start + p.len].copy_from_slice(v);
        }
        Ok(array.all().write(&flat)?)
    }

    pub(super) fn start(&self, i: usize) -> usize {
        self.places[i].start
    }

    /// A parameter as float32.
    pub(super) fn param(&self, i: usize) -> Result<Slice<'_>> {
        let p = self.places[i];
        Ok(self.param.at(p.start, p.len)?)
    }

    pub(super) fn param_opt(&self, i: Option<usize>) -> Result<Option<Slice<'_>>> {
        i.map(|i| self.param(i)).transpose()
    }

    /// A matrix as products read it, padding rows included.
    pub(super) fn matmul_weight(&self, i: usize) -> Result<Slice<'_>> {
        let p = self.places[i];
        Ok(self.rounded.as_ref().unwrap_or(&self.param).at(p.start, p.padded)?)
    }

    /// A parameter's gradient.
    pub(super) fn grad(&self, i: usize) -> Result<Slice<'_>> {
        let p = self.places[i];
        Ok(self.grad.at(p.start, p.len)?)
    }

    /// First element and number of elements of a parameter.
    pub(super) fn extent(&self, i: usize) -> (usize, usize) {
        (self.places[i].start, self.places[i].len)
    }

    /// A matrix's gradient, padding rows included.
    pub(super) fn grad_padded(&self, i: usize) -> Result<Slice<'_>> {
        let p = self.places[i];
        Ok(self.grad.at(p.start, p.padded)?)
    }
}
