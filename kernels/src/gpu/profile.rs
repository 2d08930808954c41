//! What is given to the device: how often each kernel is launched and, when asked for, how long it takes.

use std::collections::BTreeMap;

use cudarc::driver::{result as driver, sys};

use super::failed;
use crate::error::Result;

/// Launches and time of one kernel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KernelUse {
    /// Name; `gemm` for matrix products.
    pub kernel: String,
    /// Number of launches.
    pub launches: u64,
    /// Milliseconds on the device; zero unless timing was on.
    pub milliseconds: f64,
}

/// Timed launches kept before their times are added up.
const MOST_OPEN: usize = 8192;

/// What the device was given since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Submitted {
    /// Kernels launched one by one, products included.
    pub launches: u64,
    /// Graphs launched.
    pub graphs: u64,
    /// Kernels in them.
    pub in_graphs: u64,
    /// Copies from and to the host.
    pub copies: u64,
}

impl Submitted {
    /// What was given since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            launches: self.launches - earlier.launches,
            graphs: self.graphs - earlier.graphs,
            in_graphs: self.in_graphs - earlier.in_graphs,
            copies: self.copies - earlier.copies,
        }
    }
}

#[derive(Default)]
pub(super) struct Profile {
    pub timing: bool,
    pub submitted: Submitted,
    /// Kernels of the graph being recorded, if one is.
    pub recorded: Option<u64>,
    pub counts: BTreeMap<String, (u64, f64)>,
    pub open: Vec<(String, Mark)>,
}

/// Events around a launch.
pub(super) struct Mark {
    start: sys::CUevent,
    end: sys::CUevent,
}

impl Drop for Mark {
    fn drop(&mut self) {
        for e in [self.start, self.end] {
            // SAFETY: created in `before`, dropped once.
            let _ = unsafe { driver::event::destroy(e) };
        }
    }
}

fn event() -> Result<sys::CUevent> {
    driver::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(|e| failed("timing a kernel", e))
}

fn record(event: sys::CUevent, stream: sys::CUstream) -> Result<()> {
    // SAFETY: both handles are live.
    unsafe { driver::event::record(event, stream) }.map_err(|e| failed("timing a kernel", e))
}

impl Profile {
    pub(super) fn before(&mut self, stream: sys::CUstream) -> Result<Option<Mark>> {
        if !self.timing || self.recorded.is_some() {
            return Ok(None);
        }
        let mark = Mark { start: event()?, end: event()? };
        record(mark.start, stream)?;
        Ok(Some(mark))
    }

    pub(super) fn after(&mut self, kernel: &str, mark: Option<Mark>, stream: sys::CUstream) -> Result<()> {
        if let Some(n) = &mut self.recorded {
            *n += 1;
            return Ok(());
        }
        self.submitted.launches += 1;
        match self.counts.get_mut(kernel) {
            Some(c) => c.0 += 1,
            None => {
                self.counts.insert(kernel.to_owned(), (1, 0.0));
            }
        }
        if let Some(mark) = mark {
            record(mark.end, stream)?;
            self.open.push((kernel.to_owned(), mark));
            if self.open.len() >= MOST_OPEN {
                // SAFETY: the stream is live.
                unsafe { driver::stream::synchronize(stream) }.map_err(|e| failed("timing a kernel", e))?;
                self.fold()?;
            }
        }
        Ok(())
    }

    /// Add the times of launches that are done; the stream has been waited for.
    pub(super) fn fold(&mut self) -> Result<()> {
        for (kernel, mark) in std::mem::take(&mut self.open) {
            // SAFETY: both events were recorded on a stream that has been waited for.
            let ms = unsafe { driver::event::elapsed(mark.start, mark.end) }
                .map_err(|e| failed("timing a kernel", e))?;
            if let Some(c) = self.counts.get_mut(&kernel) {
                c.1 += f64::from(ms);
            }
        }
        Ok(())
    }

    pub(super) fn start_recording(&mut self) {
        self.recorded = Some(0);
    }

    /// The number of kernels recorded.
    pub(super) fn end_recording(&mut self) -> u64 {
        self.recorded.take().unwrap_or(0)
    }

    pub(super) fn graph(&mut self, kernels: u64) {
        self.submitted.graphs += 1;
        self.submitted.in_graphs += kernels;
    }

    pub(super) fn copy(&mut self) {
        self.submitted.copies += 1;
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.counts.clear();
    }
}
