//! Probes on the host while a device trains on: of a copy of the parameters, by threads of their own.
//!
//! One measurement is under way at most: a second copy of the parameters and no more, and a measurement compares with the one
//! before it. The pool is its own for two reasons. The thread that trains belongs to the program's pool and would take up
//! pieces of a probe wherever it waits for a product of its own; and a pool of that thread alone (`--threads 1`) would never
//! work on a probe that it waits for.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Instant;

use candle_core::Tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::host_probe::HostProbes;
use super::probe::{Measured, Measurement, Probes, ProbesOn};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::model::backend::Backend;

/// The probes' state on its way back from the pool, with what came of the measurement; or the panic in it.
type Returning = Receiver<thread::Result<(HostProbes, Result<Measured>)>>;

/// Probes on the host that training does not wait for.
pub(super) struct ProbesBeside {
    pool: ThreadPool,
    on: ProbesOn,
    /// None while a measurement is under way.
    probes: Option<HostProbes>,
    under_way: Option<Returning>,
    /// Parameters at the last probe, which nothing changes any more.
    probed: Vec<Tensor>,
}

impl ProbesBeside {
    /// Probes of `model` over fixed sequences; `on`: why not where the model trains.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn new(model: &Decoder, batch: Batch, on: ProbesOn) -> Result<Self> {
        // The thread that trains keeps a core to itself where there are several.
        let threads = rayon::current_num_threads().saturating_sub(1).max(1);
        let named = |i| format!("growthpath-probe-{i}");
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build();
        let pool = pool.map_err(|e| Error::format("threads for probes", e.to_string()))?;
        Ok(Self {
            pool,
            on,
            probes: Some(HostProbes::new(model, batch)),
            under_way: None,
            probed: Vec::new(),
        })
    }

    /// The state, which is here while nothing is under way.
    fn take(&mut self) -> Result<HostProbes> {
        self.probes.take().ok_or_else(|| Error::usage("a probe began before the last one was collected"))
    }
}

impl<B: Backend> Probes<B> for ProbesBeside {
    fn on(&self) -> ProbesOn {
        self.on
    }

    fn reads_host(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &B, host: &Decoder, what: Measurement) -> Result<Option<Measured>> {
        let model = host.copy()?;
        let mut probes = self.take()?;
        if matches!(what, Measurement::Probe { .. }) {
            self.probed = model.params.vars.iter().map(|v| v.as_detached_tensor()).collect();
        }
        let (sender, returning) = sync_channel(1);
        self.under_way = Some(returning);
        self.pool.spawn(move || {
            let begun = Instant::now();
            let measured = catch_unwind(AssertUnwindSafe(|| probes.measure(&model, &what)));
            let seconds_beside = begun.elapsed().as_secs_f64();
            let measured =
                measured.map(|m| (probes, m.map(|measured| Measured { seconds_beside, ..measured })));
            // A run that ended by an error waits for none.
            let _ = sender.send(measured);
        });
        Ok(None)
    }

    fn collect(&mut self, wait: bool) -> Result<Option<Measured>> {
        let Some(returning) = &self.under_way else { return Ok(None) };
        let returned = if wait {
            returning.recv().ok()
        } else {
            match returning.try_recv() {
                Err(TryRecvError::Empty) => return Ok(None),
                returned => returned.ok(),
            }
        };
        self.under_way = None;
        match returned {
            Some(Ok((probes, measured))) => {
                self.probes = Some(probes);
                measured.map(Some)
            }
            // As if it had happened here.
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(Error::usage("a probe was lost")),
        }
    }

    fn restore(&mut self, probed: &Decoder, step: u32) -> Result<()> {
        let mut probes = self.take()?;
        self.pool.install(|| probes.remember(probed, step))?;
        self.probes = Some(probes);
        self.probed = probed.copy()?.params.vars.iter().map(|v| v.as_detached_tensor()).collect();
        Ok(())
    }

    fn probed(&self) -> Result<Vec<Tensor>> {
        Ok(self.probed.clone())
    }
}

#[cfg(test)]
#[path = "beside_tests.rs"]
pub(super) mod tests;
