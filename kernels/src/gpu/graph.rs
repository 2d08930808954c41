//! Launches recorded once and repeated as one: a CUDA graph.
//!
//! A graph holds the launches of a piece of work, device-to-device copies and products included, with their arguments.
//! What differs from one repetition to the next has to lie in device memory, sent there ahead of it by an ordinary copy.
//! While a thread records, nothing runs, and whatever would wait, reserve, free or copy to or from the host is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::{result as driver, sys};

use super::graphs::me;
use super::{Gpu, failed};
use crate::error::Result;

/// Launches being recorded; dropped, they are forgotten.
pub struct Recording {
    gpu: Gpu,
    open: bool,
}

/// Recorded launches.
pub struct Graph {
    gpu: Gpu,
    exec: sys::CUgraphExec,
    kernels: u64,
    alive: Arc<AtomicBool>,
}

// SAFETY: the handle is the value's own, and is launched under the lock of `lives`.
unsafe impl Send for Graph {}

impl Gpu {
    /// Whether work should be recorded: it is wanted, never failed, and launches are not being timed one by one.
    pub fn uses_graphs(&self) -> bool {
        let graphs = &self.inner().graphs;
        graphs.wanted.load(Ordering::Relaxed) && graphs.refused.lock().is_none() && !self.is_timing()
    }

    /// Record work, or launch everything one by one: for comparing the two. Returns what it was.
    pub fn want_graphs(&self, wanted: bool) -> bool {
        self.inner().graphs.wanted.swap(wanted, Ordering::Relaxed)
    }

    /// Note why something could not be recorded: nothing more will be.
    pub fn refuse_graphs(&self, why: String) {
        self.inner().graphs.refused.lock().get_or_insert(why);
    }

    /// Why something could not be recorded, if so.
    pub fn graphs_refused(&self) -> Option<String> {
        self.inner().graphs.refused.lock().clone()
    }

    /// Record what this thread launches from here to [`Recording::finish`], instead of running it. Whatever it launches
    /// has to have run once before: a kernel's first use loads it, which cannot be recorded.
    ///
    /// # Errors
    /// When something is being recorded already, or the driver refuses.
    pub fn record(&self) -> Result<Recording> {
        self.enter()?;
        self.outside_recording("recording a graph")?;
        self.join()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is live.
        unsafe { driver::stream::begin_capture(self.inner().stream, mode) }
            .map_err(|e| failed("recording a graph", e))?;
        let inner = self.inner();
        inner.graphs.lives.lock().used.clear();
        inner.graphs.recording.store(me(), Ordering::Relaxed);
        inner.profile.lock().start_recording();
        Ok(Recording { gpu: self.clone(), open: true })
    }

    /// Refuse what cannot be part of a graph while one is recorded.
    pub(super) fn outside_recording(&self, what: &str) -> Result<()> {
        if self.inner().graphs.recording.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        Err(failed(what, "a graph is being recorded, and this cannot be part of one"))
    }
}

impl Recording {
    /// End the recording of the stream: the graph, null if what was recorded cannot be one, and its number of kernels.
    fn end(&mut self) -> Result<(sys::CUgraph, u64)> {
        self.open = false;
        let inner = self.gpu.inner();
        // What ran beside has to come back, or there is no graph.
        let entered = self.gpu.enter().and_then(|()| self.gpu.join());
        // SAFETY: the stream is live and records.
        let graph = unsafe { driver::stream::end_capture(inner.stream) };
        inner.graphs.recording.store(0, Ordering::Relaxed);
        let kernels = inner.profile.lock().end_recording();
        entered?;
        Ok((graph.map_err(|e| failed("recording a graph", e))?, kernels))
    }

    /// Make what was recorded launchable.
    ///
    /// # Errors
    /// When something in between could not be recorded, or the device has too little memory for it.
    pub fn finish(mut self) -> Result<Graph> {
        const WHAT: &str = "recording a graph";
        let (graph, kernels) = self.end()?;
        if graph.is_null() {
            return Err(failed(WHAT, "the driver made nothing of it"));
        }
        // SAFETY: the graph was just made; it is destroyed once, the executable form does not need it.
        let exec = unsafe {
            let exec = driver::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0));
            let _ = driver::graph::destroy(graph);
            exec
        }
        .map_err(|e| failed(WHAT, e))?;
        let alive = Arc::new(AtomicBool::new(true));
        let mut lives = self.gpu.inner().graphs.lives.lock();
        let used = std::mem::take(&mut lives.used);
        lives.graphs.push((used, Arc::downgrade(&alive)));
        drop(lives);
        Ok(Graph { gpu: self.gpu.clone(), exec, kernels, alive })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.open
            && let Ok((graph, _)) = self.end()
            && !graph.is_null()
        {
            // SAFETY: just made, used no more.
            let _ = unsafe { driver::graph::destroy(graph) };
        }
    }
}

impl Graph {
    /// Whether it may be launched: all the memory that it uses is still there.
    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Number of kernels, products included.
    pub fn kernels(&self) -> u64 {
        self.kernels
    }

    /// Run it in stream order; nothing is waited for.
    ///
    /// # Errors
    /// Memory that was freed since it was recorded, or what the driver refuses.
    pub fn launch(&self) -> Result<()> {
        const WHAT: &str = "launching a graph";
        self.gpu.enter()?;
        self.gpu.outside_recording(WHAT)?;
        let inner = self.gpu.inner();
        // Held, so that no buffer goes between the question and the launch.
        let lives = inner.graphs.lives.lock();
        if !self.alive() {
            return Err(failed(WHAT, "memory that it uses was freed since it was recorded"));
        }
        // SAFETY: both handles are live, and so is every buffer whose address the graph can hold.
        unsafe { driver::graph::launch(self.exec, inner.stream) }.map_err(|e| failed(WHAT, e))?;
        drop(lives);
        inner.profile.lock().graph(self.kernels);
        Ok(())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // Not while it runs. Errors have nowhere to go.
        if self.gpu.synchronize().is_ok() {
            // SAFETY: made in `finish`, destroyed once, runs no more.
            let _ = unsafe { driver::graph::exec_destroy(self.exec) };
        }
    }
}
