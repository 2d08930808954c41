//! Where a run trains: on the host, or on a device behind [`Accelerator`].

use growthpath_kernels::optimizer::{Moments, Rule, Update};

use super::config::{Precision, TrainConfig};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::model::params::Params;
use crate::model::{Decoder, StepStats};

/// Where to train.
#[derive(Debug, Clone)]
pub enum Device {
    /// The host's processor.
    Cpu,
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(crate::model::device::Gpu),
}

impl Device {
    /// The first NVIDIA GPU.
    ///
    /// # Errors
    /// A build without CUDA, or a machine without driver, libraries or device.
    pub fn cuda() -> Result<Self> {
        #[cfg(feature = "cuda")]
        return Ok(Self::Cuda(crate::model::device::Gpu::open(0)?));
        #[cfg(not(feature = "cuda"))]
        Err(Error::format(
            "--device cuda",
            "this program was built without CUDA: build it with `--features cuda`, or use --device cpu or auto",
        ))
    }

    /// For people and for `run.json`.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu => format!("cpu ({} threads)", rayon::current_num_threads()),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => format!("cuda: {}", gpu.describe()),
        }
    }

    /// Check that this device trains `config`.
    ///
    /// # Errors
    /// A precision, a head width or an option that it does not have.
    pub fn check(&self, config: &TrainConfig) -> Result<()> {
        match self {
            Self::Cpu if config.precision == Precision::Bf16 => {
                Err(Error::usage("--precision bf16 needs --device cuda; the CPU trains in f32"))
            }
            Self::Cpu => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => {
                if config.dump_step.is_some() {
                    return Err(Error::usage("--dump-step needs --device cpu: a device keeps no writes"));
                }
                growthpath_kernels::attention::gpu::supported(config.model.head_dim())
                    .map_err(|e| Error::usage(e.to_string()))
            }
        }
    }

    /// Copy a model to the device, with room for `config`'s batches; none on the host.
    ///
    /// # Errors
    /// What [`Device::check`] refuses, or too little memory.
    pub(super) fn accelerate(
        &self,
        config: &TrainConfig,
        model: &Decoder,
        rule: Rule,
    ) -> Result<Option<Box<dyn Accelerator>>> {
        self.check(config)?;
        match self {
            Self::Cpu => {
                let _ = (model, rule);
                Ok(None)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => {
                use crate::model::device::{DeviceDecoder, Elem};
                let storage = match config.precision {
                    Precision::F32 => Elem::F32,
                    Precision::Bf16 => Elem::Bf16,
                };
                Ok(Some(Box::new(DeviceDecoder::new(gpu, model, rule, config.batch, storage)?)))
            }
        }
    }
}

/// A copy of the model that trains elsewhere. Its host twin is brought up to date when something needs it.
pub trait Accelerator {
    /// Start one training step; nothing is waited for. At most two may be unread.
    ///
    /// # Errors
    /// A batch that does not fit, or what the device refuses.
    fn start(&mut self, batch: &Batch, update: &Update<'_>, clip: f32) -> Result<()>;
    /// Kernel launches of the step last started.
    fn launches(&self) -> u64;
    /// Bytes that each memory-bound kernel has to move in a training step, by the kernel's name without its type.
    fn traffic(&self) -> Vec<(&'static str, f64)>;
    /// Number of steps started and not yet read.
    fn unread(&self) -> usize;
    /// Wait for the oldest unread step.
    ///
    /// # Errors
    /// What the device met.
    fn read(&mut self) -> Result<Option<StepStats>>;
    /// Losses of each token of a batch, nats; the attention of the heads in `uniform` (layer, head) is replaced by the
    /// causal average.
    ///
    /// # Errors
    /// As [`Accelerator::start`].
    fn losses(&mut self, batch: &Batch, uniform: &[(usize, usize)]) -> Result<Vec<f32>>;
    /// Bring the host's parameters up to date.
    ///
    /// # Errors
    /// What the device met.
    fn pull(&self, params: &Params) -> Result<()>;
    /// Bring the host's moments up to date.
    ///
    /// # Errors
    /// What the device met.
    fn pull_moments(&self, moments: &mut [Moments]) -> Result<()>;
    /// Take the host's moments over.
    ///
    /// # Errors
    /// What the device met.
    fn push_moments(&self, moments: &[Moments]) -> Result<()>;
}

#[cfg(feature = "cuda")]
impl Accelerator for crate::model::device::DeviceDecoder {
    fn start(&mut self, batch: &Batch, update: &Update<'_>, clip: f32) -> Result<()> {
        self.send(&batch.inputs, &batch.targets, batch.context)?;
        self.step(update, clip)
    }

    fn launches(&self) -> u64 {
        self.step_launches()
    }

    fn traffic(&self) -> Vec<(&'static str, f64)> {
        Self::traffic(self)
    }

    fn unread(&self) -> usize {
        self.pending()
    }

    fn read(&mut self) -> Result<Option<StepStats>> {
        Self::read(self)
    }

    fn losses(&mut self, batch: &Batch, uniform: &[(usize, usize)]) -> Result<Vec<f32>> {
        Self::losses(self, &batch.inputs, &batch.targets, batch.context, uniform)
    }

    fn pull(&self, params: &Params) -> Result<()> {
        Self::pull(self, params)
    }

    fn pull_moments(&self, moments: &mut [Moments]) -> Result<()> {
        Self::pull_moments(self, moments)
    }

    fn push_moments(&self, moments: &[Moments]) -> Result<()> {
        Self::push_moments(self, moments)
    }
}
