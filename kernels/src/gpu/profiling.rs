//! Asking a device what it was given.

use super::Gpu;
use super::profile::{KernelUse, Submitted};
use crate::error::Result;

impl Gpu {
    /// Start counting afresh; with `timing`, every launch is timed too, which slows a step a little.
    pub fn profile_start(&self, timing: bool) {
        let mut p = self.inner().profile.lock();
        p.clear();
        p.timing = timing;
    }

    /// Whether every launch is being timed, which graphs do not allow.
    pub fn is_timing(&self) -> bool {
        self.inner().profile.lock().timing
    }

    /// Kernels run so far, those in graphs included.
    pub fn launches(&self) -> u64 {
        let s = self.submitted();
        s.launches + s.in_graphs
    }

    /// What the device was given so far.
    pub fn submitted(&self) -> Submitted {
        self.inner().profile.lock().submitted
    }

    /// Counts (and times) since [`Gpu::profile_start`], longest first; waits for the device.
    ///
    /// # Errors
    /// When an earlier launch failed.
    pub fn profile_end(&self) -> Result<Vec<KernelUse>> {
        self.synchronize()?;
        let mut p = self.inner().profile.lock();
        p.timing = false;
        p.fold()?;
        let mut out: Vec<KernelUse> = p
            .counts
            .iter()
            .map(|(k, c)| KernelUse { kernel: k.clone(), launches: c.0, milliseconds: c.1 })
            .collect();
        out.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds).then(b.launches.cmp(&a.launches)));
        Ok(out)
    }
}
