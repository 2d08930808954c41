//! `--device`: where to train.

use clap::ValueEnum;

use crate::error::{Error, Result};
use crate::train::{Device, TrainConfig, sizes};

/// Devices on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceArg {
    /// A GPU if this build and this machine have one that trains this model, else the CPU
    Auto,
    /// The CPU
    Cpu,
    /// An NVIDIA GPU
    Cuda,
}

impl DeviceArg {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// The device for a run.
///
/// # Errors
/// A GPU that was asked for and is not there, a configuration that the device does not train, or sizes that cannot fit.
pub fn pick(arg: DeviceArg, config: &TrainConfig) -> Result<Device> {
    let device = match arg {
        DeviceArg::Cpu => Device::Cpu,
        DeviceArg::Cuda => Device::cuda().map_err(|e| {
            let why = if let Error::Format { message, .. } = e { message } else { e.to_string() };
            Error::format("--device cuda", format!("{why}, or use --device cpu or auto"))
        })?,
        DeviceArg::Auto => match Device::cuda() {
            Ok(gpu) if gpu.check(config).is_ok() => gpu,
            _ => Device::Cpu,
        },
    };
    device.check(config)?;
    let holds = if matches!(device, Device::Cpu) { sizes::Holds::Step } else { sizes::Holds::Parameters };
    sizes::fit(config, holds)?;
    Ok(device)
}
