//! The decoder on the host: configuration and parameters.

use candle_core::{Device, Var};
use growthpath_kernels::rope::Rope;
use rayon::prelude::*;

use super::config::{ModelConfig, Positions};
use super::index::Index;
use super::params::Params;
use crate::error::Result;

/// A decoder: configuration and parameters.
#[derive(Debug)]
pub struct Decoder {
    /// Its shape and arm.
    pub config: ModelConfig,
    /// Its parameters.
    pub params: Params,
    pub(super) index: Index,
}

impl Decoder {
    /// A fresh decoder.
    ///
    /// # Errors
    /// A configuration that does not hold together, or a device that cannot hold it.
    pub fn new(config: ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        config.validate()?;
        let params = Params::init(&config, seed, device)?;
        Self::from_params(config, params)
    }

    /// A decoder over given parameters.
    ///
    /// # Errors
    /// A parameter that the configuration needs and `params` lacks.
    pub fn from_params(config: ModelConfig, params: Params) -> Result<Self> {
        config.validate()?;
        let index = Index::new(&config, &params)?;
        Ok(Self { config, params, index })
    }

    /// The same decoder over parameters of its own.
    ///
    /// # Errors
    /// Too little memory.
    pub fn copy(&self) -> Result<Self> {
        let Params { specs, vars } = &self.params;
        // A detached one is no variable: it is copied.
        let vars = vars.par_iter().map(|v| Var::from_tensor(&v.as_detached_tensor()));
        let vars = vars.collect::<candle_core::Result<_>>()?;
        let params = Params { specs: specs.clone(), vars };
        Ok(Self { config: self.config.clone(), params, index: self.index.clone() })
    }

    pub(super) fn rope(&self) -> Option<Rope> {
        let c = &self.config;
        (c.pos == Positions::Rope).then(|| Rope::new(c.context, c.head_dim(), c.rope_base))
    }
}
