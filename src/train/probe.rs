//! Probes: the exact accounting, the prediction, the bound and the shares on a fixed batch of held-out text. What is asked for,
//! what comes of it, and what whoever works it out has to be able to do.

use candle_core::Tensor;
use growthpath_trace::{ProbeLayerRow, ProbeRow, ShareRow};

use super::moments::KeyMoments;
use crate::error::Result;
use crate::model::Decoder;
use crate::model::backend::Backend;

/// Rows of one probe.
#[derive(Debug, Default)]
pub struct ProbeRows {
    /// One a (layer, head).
    pub heads: Vec<ProbeRow>,
    /// One a layer.
    pub layers: Vec<ProbeLayerRow>,
    /// One a (layer, write).
    pub shares: Vec<ShareRow>,
}

/// What is to be worked out of the model as it is after `step` updates.
#[derive(Debug, Clone)]
pub(super) enum Measurement {
    /// A probe; the step sizes since the last one add up to `eta` a layer.
    Probe { step: u32, eta: Vec<f64> },
    /// The key moments alone.
    Moments { step: u32 },
}

/// What came of a [`Measurement`].
pub(super) struct Measured {
    /// None of the moments alone.
    pub(super) rows: Option<ProbeRows>,
    pub(super) moments: KeyMoments,
    /// Seconds that it was worked on while training went on.
    pub(super) seconds_beside: f64,
}

/// Where probes are worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbesOn {
    /// On the host that trains, which waits for them.
    Host,
    /// On the device that trains, which waits for them.
    #[cfg(feature = "cuda")]
    Device,
    /// On the host while a device trains on.
    #[cfg(any(test, feature = "cuda"))]
    Beside,
    /// The same, for lack of memory on the device.
    #[cfg(feature = "cuda")]
    BesideForLackOfMemory,
}

impl ProbesOn {
    /// For `run.json`.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Host => "host",
            #[cfg(feature = "cuda")]
            Self::Device => "device",
            #[cfg(any(test, feature = "cuda"))]
            Self::Beside => "host, beside training",
            #[cfg(feature = "cuda")]
            Self::BesideForLackOfMemory => "host, beside training, for lack of device memory",
        }
    }

    /// Whether a device would have worked them out if it had room.
    pub(super) fn lacks_memory(self) -> bool {
        #[cfg(feature = "cuda")]
        return self == Self::BesideForLackOfMemory;
        #[cfg(not(feature = "cuda"))]
        false
    }
}

/// Works out probes: reads what is trained on a backend and remembers the last one.
pub(super) trait Probes<B: Backend> {
    /// Where.
    fn on(&self) -> ProbesOn;

    /// Whether they read the host's parameters, which have to be up to date when a measurement begins.
    fn reads_host(&self) -> bool;

    /// Measure the model as it is now: what came of it, or nothing where it is worked out while training goes on and waits
    /// for [`Probes::collect`]. One may be under way.
    ///
    /// # Errors
    /// When the model's state is not finite or a decomposition fails.
    fn begin(&mut self, from: &B, host: &Decoder, what: Measurement) -> Result<Option<Measured>>;

    /// What came of the measurement under way; nothing where there is none, or, unless `wait`, where it is not done.
    ///
    /// # Errors
    /// As [`Probes::begin`].
    fn collect(&mut self, wait: bool) -> Result<Option<Measured>> {
        let _ = wait;
        Ok(None)
    }

    /// [`Probes::begin`] and [`Probes::collect`], waiting.
    ///
    /// # Errors
    /// As [`Probes::begin`].
    fn measure_now(&mut self, from: &B, host: &Decoder, what: Measurement) -> Result<Option<Measured>> {
        match self.begin(from, host, what)? {
            Some(measured) => Ok(Some(measured)),
            None => self.collect(true),
        }
    }

    /// After a resume: become the state that a probe of `probed` at `step` left, without its rows.
    ///
    /// # Errors
    /// As [`Probes::begin`].
    fn restore(&mut self, probed: &Decoder, step: u32) -> Result<()>;

    /// Copies of the parameters that were probed last, in the model's order: a checkpoint before the next probe needs them.
    ///
    /// # Errors
    /// When they cannot be read.
    fn probed(&self) -> Result<Vec<Tensor>>;
}

/// When the last probe was, and what the steps since then add up to.
pub struct Prober {
    last: Option<u32>,
    /// Learning rate times multiplier of each layer's Q/K, summed since the last probe.
    eta: Vec<f64>,
}

impl Prober {
    /// Before the first probe of a model of so many layers.
    pub fn new(layers: usize) -> Self {
        Self { last: None, eta: vec![0.0; layers] }
    }

    /// Count one update's step size for `layer`.
    pub fn add_step(&mut self, layer: usize, lr: f64) {
        self.eta[layer] += lr;
    }

    /// Step of the last probe.
    pub fn last_step(&self) -> Option<u32> {
        self.last
    }

    /// Step sizes summed since the last probe, one entry a layer.
    pub fn eta(&self) -> &[f64] {
        &self.eta
    }

    /// A probe was taken.
    pub fn taken(&mut self, step: u32) {
        self.last = Some(step);
        self.eta.fill(0.0);
    }

    /// After a resume: the last probe was at `step`, and the step sizes since then.
    pub fn restore(&mut self, step: u32, eta: &[f64]) {
        self.last = Some(step);
        self.eta.copy_from_slice(eta);
    }
}
