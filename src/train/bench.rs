//! Timed training steps, for paired comparisons within one process.

use std::path::Path;
use std::time::Instant;

use growthpath_trace::RunWriter;

use super::config::TrainConfig;
use super::device::{Device, TrainingBackend, on_device};
pub use super::in_flight::Telemetry;
use super::optimizer::Optimizer;
use super::probe::Measurement;
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::error::Result;

/// Seconds of a probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeTime {
    /// Until its rows are there.
    pub took: f64,
    /// Until training can go on: less where a probe is worked out while it does.
    pub waited: f64,
}

/// A training under the stopwatch.
pub trait Bench {
    /// Tokens of a step.
    fn tokens(&self) -> u64;

    /// `steps` steps, what becomes of each one's statistics given by `telemetry`; returns seconds a step, rows pushed to
    /// the writer included.
    ///
    /// # Errors
    /// When a step cannot be computed or recorded.
    fn block(&mut self, steps: usize, telemetry: &dyn Fn(usize) -> Telemetry) -> Result<f64>;

    /// One probe; none where this configuration takes no probes.
    ///
    /// # Errors
    /// When the model cannot be probed.
    fn probe(&mut self) -> Result<Option<ProbeTime>>;

    /// Write out what was recorded.
    ///
    /// # Errors
    /// When the trace cannot be written.
    fn flush(&mut self) -> Result<()>;

    /// Kernel launches of a training step; 0 on the host.
    fn launches(&self) -> u64;

    /// Bytes that each memory-bound kernel has to move in a training step: see [`roofline`](crate::model::backend::Backend::roofline).
    fn roofline(&self) -> Vec<(&'static str, f64)>;
}

/// The training of `config` on `device` under the stopwatch, its trace going to `writer` in `run`.
///
/// # Errors
/// A configuration or data that cannot be used.
pub fn bench<'a>(
    config: &'a TrainConfig,
    data: &'a Dataset,
    run: &'a Path,
    writer: RunWriter,
    device: &Device,
) -> Result<Box<dyn Bench + 'a>> {
    config.validate()?;
    device.check(config)?;
    let model = super::init::first_model(config)?;
    let optimizer = Optimizer::new(config, &model.params);
    on_device!(device, (config, &model, optimizer.rule()), |network| {
        let trainer = Trainer::new((config, data, run), model, network, optimizer, writer)?;
        Ok(Box::new(Timed { trainer, at: 0 }))
    })
}

struct Timed<'a, B: TrainingBackend> {
    trainer: Trainer<'a, B>,
    at: u32,
}

impl<B: TrainingBackend> Bench for Timed<'_, B> {
    fn tokens(&self) -> u64 {
        self.trainer.batcher.tokens_per_step()
    }

    fn block(&mut self, steps: usize, telemetry: &dyn Fn(usize) -> Telemetry) -> Result<f64> {
        let started = Instant::now();
        for i in 0..steps {
            self.trainer.step(self.at, telemetry(i), &mut |_| {})?;
            self.at += 1;
        }
        self.trainer.finish_all(&mut |_| {})?;
        Ok(started.elapsed().as_secs_f64() / steps as f64)
    }

    fn probe(&mut self) -> Result<Option<ProbeTime>> {
        let t = &mut self.trainer;
        let (Some(prober), Some(probes)) = (&t.prober, &t.probes) else { return Ok(None) };
        // The first probe of a run has no interval: it is not what probes cost.
        let first = prober.last_step().is_none();
        let host = probes.reads_host();
        for timed in if first { &[false, true][..] } else { &[true] } {
            let started = Instant::now();
            t.catch_up((host, false), &mut |_| {})?;
            if let (Some(prober), Some(probes)) = (&mut t.prober, &mut t.probes) {
                let what = Measurement::Probe { step: self.at, eta: prober.eta().to_vec() };
                probes.begin(t.network.backend(), &t.model, what)?;
                let waited = started.elapsed().as_secs_f64();
                probes.collect(true)?;
                prober.taken(self.at);
                if *timed {
                    return Ok(Some(ProbeTime { took: started.elapsed().as_secs_f64(), waited }));
                }
            }
        }
        Ok(None)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.trainer.writer.flush()?)
    }

    fn launches(&self) -> u64 {
        self.trainer.network.step_launches()
    }

    fn roofline(&self) -> Vec<(&'static str, f64)> {
        self.trainer.network.backend().roofline()
    }
}
