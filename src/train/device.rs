//! Where a run trains, and the network that it trains there.

#[cfg(feature = "cuda")]
use super::beside::ProbesBeside;
use super::config::{Precision, TrainConfig};
#[cfg(feature = "cuda")]
use super::device_probe::DeviceProbes;
use super::host_probe::HostProbes;
use super::probe::Probes;
#[cfg(feature = "cuda")]
use super::probe::ProbesOn;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::model::backend::{Backend, Cpu};
use crate::model::{Decoder, Network, Options};

/// Where to train.
#[derive(Debug, Clone)]
pub enum Device {
    /// The host's processor.
    Cpu,
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(crate::model::backend::Gpu),
}

/// Evaluates an expression with a [`Network`] on the backend that a [`Device`] names: what is generic over the backend
/// is called here.
macro_rules! on_device {
    ($device:expr, ($config:expr, $model:expr, $rule:expr), |$network:ident| $body:expr) => {
        match $device {
            $crate::train::device::Device::Cpu => {
                let $network = $crate::train::device::on_cpu($config, $model)?;
                $body
            }
            #[cfg(feature = "cuda")]
            $crate::train::device::Device::Cuda(gpu) => {
                let $network = $crate::train::device::on_cuda(gpu, $config, $model, $rule)?;
                $body
            }
        }
    };
}
pub(super) use on_device;

impl Device {
    /// The first NVIDIA GPU.
    ///
    /// # Errors
    /// A build without CUDA, or a machine without driver, libraries or device.
    pub fn cuda() -> Result<Self> {
        #[cfg(feature = "cuda")]
        return Ok(Self::Cuda(crate::model::backend::Gpu::open(0)?));
        #[cfg(not(feature = "cuda"))]
        Err(Error::format("GPU", "this program was built without CUDA: build it with `--features cuda`"))
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
            Self::Cuda(_) => growthpath_kernels::attention::gpu::supported(config.model.head_dim())
                .map_err(|e| Error::usage(e.to_string())),
        }
    }
}

/// A backend that a run trains on, and what it measures there.
pub(super) trait TrainingBackend: Backend {
    /// Probes of `model` over fixed sequences: on the device where its float64 is fast and they fit into its memory, else on the
    /// host while the device trains on.
    fn probes(&self, model: &Decoder, batch: Batch) -> Result<Box<dyn Probes<Self>>>;

    /// The attention and the feed-forward write of every layer, `[n, d]`, in a pass over `batch` that repeats a training step's.
    fn writes(&self, model: &Decoder, batch: &Batch) -> Result<Vec<[Vec<f32>; 2]>>;
}

impl TrainingBackend for Cpu {
    fn probes(&self, model: &Decoder, batch: Batch) -> Result<Box<dyn Probes<Self>>> {
        #[cfg(test)]
        if let Some(probes) = super::beside::tests::instead(model, &batch)? {
            return Ok(Box::new(probes));
        }
        Ok(Box::new(HostProbes::new(model, batch)))
    }

    fn writes(&self, model: &Decoder, batch: &Batch) -> Result<Vec<[Vec<f32>; 2]>> {
        let options = Options { keep_writes: true, ..Options::default() };
        let forward = model.forward(&batch.inputs, batch.context, &options)?;
        Ok((0..model.config.layers)
            .filter_map(|l| forward.writes(l))
            .map(|both| both.map(<[f32]>::to_vec))
            .collect())
    }
}

/// Device memory that probes leave free, bytes: a step's graph and the code of kernels not yet used take theirs later.
#[cfg(feature = "cuda")]
const SPARE: usize = 64 << 20;

#[cfg(feature = "cuda")]
impl TrainingBackend for crate::model::backend::Cuda {
    fn probes(&self, model: &Decoder, batch: Batch) -> Result<Box<dyn Probes<Self>>> {
        let beside = |batch, on| -> Result<Box<dyn Probes<Self>>> {
            Ok(Box::new(ProbesBeside::new(model, batch, on)?))
        };
        if !self.gpu().fast_double() {
            return beside(batch, ProbesOn::Beside);
        }
        match DeviceProbes::new(self.gpu(), model, batch.clone()) {
            Ok(probes) if self.gpu().memory()?.0 >= SPARE => Ok(Box::new(probes)),
            Ok(_) | Err(Error::Kernel(growthpath_kernels::Error::DeviceMemory { .. })) => {
                beside(batch, ProbesOn::BesideForLackOfMemory)
            }
            Err(e) => Err(e),
        }
    }

    fn writes(&self, model: &Decoder, batch: &Batch) -> Result<Vec<[Vec<f32>; 2]>> {
        use crate::model::DeviceForward;
        // Room for the pass alone: the training's own buffers are reused from layer to layer.
        let mut pass = DeviceForward::new(self.gpu(), model, (batch.rows, batch.context), self.storage())?;
        pass.take(self)?;
        pass.run(&batch.inputs, batch.context)?;
        (0..model.config.layers)
            .map(|l| Ok([pass.whole_write(2 * l + 1)?, pass.whole_write(2 * l + 2)?]))
            .collect()
    }
}

/// A network that trains `model` on the host.
pub(super) fn on_cpu(config: &TrainConfig, model: &Decoder) -> Result<Network<Cpu>> {
    model.train_on(Cpu::new(model, config.batch * config.model.context))
}

/// A network that trains a copy of `model` on a GPU.
#[cfg(feature = "cuda")]
pub(super) fn on_cuda(
    gpu: &crate::model::backend::Gpu,
    config: &TrainConfig,
    model: &Decoder,
    rule: growthpath_kernels::optimizer::Rule,
) -> Result<Network<crate::model::backend::Cuda>> {
    use crate::model::backend::{Cuda, Elem};
    let storage = match config.precision {
        Precision::F32 => Elem::F32,
        Precision::Bf16 => Elem::Bf16,
    };
    model.train_on(Cuda::new(gpu, model, rule, config.batch, storage)?)
}
