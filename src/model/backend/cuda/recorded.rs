//! Training steps as CUDA graphs: one launch instead of hundreds.
//!
//! The first step of a kind (shape of the batch, with statistics or without) runs as ordinary launches, which loads its
//! kernels; after it steps are recorded and launched, later ones launch a recording again. There are two recordings of the
//! same kernels: on one stream, and with the gradients of weights on a second one beside what does not need them; the
//! first launches are timed, and the faster one stays. What differs from step to step - the batch, the learning rate, the
//! bias corrections - is sent ahead of a step, and the statistics are fetched after it, by ordinary copies. Where something
//! cannot be recorded, steps stay ordinary launches. All of these are the same kernels with the same arguments, so the
//! same numbers.

use growthpath_kernels::gpu::{Graph, Recording};
use growthpath_kernels::optimizer::{Rule, Update};

use super::super::Calls;
use super::Cuda;
use super::recordings::Kind;
use crate::error::{Error, Result};

impl Cuda {
    /// See [`super::super::Backend::begin_step`].
    pub(super) fn begin_recorded(&mut self, update: &Update<'_>, clip: f32) -> Result<Calls> {
        if self.unread.len() == self.readbacks.len() {
            return Err(Error::usage("statistics of two steps are waiting: read one first"));
        }
        self.table.send(update, clip)?;
        let adamw = matches!(update.rule, Rule::AdamW { .. });
        let kind = Kind { shape: self.shape, stats: update.stats, adamw };
        self.recorded.kind = Some(kind);
        let wanted = self.gpu.wants_two_streams();
        self.gpu.use_two_streams(false);
        if !self.gpu.uses_graphs() {
            return Ok(Calls::Wanted);
        }
        let Some(known) = self.recorded.of(kind) else {
            // The first of its kind: it loads what the recordings need.
            self.gpu.use_two_streams(wanted != Some(false));
            return Ok(Calls::Wanted);
        };
        let way = known.way(wanted);
        if let Some(graph) = known.graphs[way].take_if(|g| !g.alive()) {
            drop(graph);
        }
        let Some(graph) = &known.graphs[way] else {
            self.gpu.use_two_streams(way == 1);
            match self.gpu.record() {
                Ok(recording) => self.recorded.recording = Some((recording, way)),
                Err(e) => self.gpu.refuse_graphs(e.to_string()),
            }
            return Ok(Calls::Wanted);
        };
        let timed = wanted.is_none() && !known.is_timed();
        if timed {
            known.tried[way] += 1;
            self.watches[1 - self.turn].around(|| graph.launch())?;
        } else {
            graph.launch()?;
        }
        self.start_readback(kind.stats, timed.then_some((kind, way)))?;
        Ok(Calls::Done)
    }

    /// See [`super::super::Backend::end_step`].
    pub(super) fn end_recorded(&mut self, outcome: Result<()>) -> Result<Calls> {
        let Some(kind) = self.recorded.kind else {
            return Err(Error::usage("a step ended that did not begin"));
        };
        self.gpu.use_two_streams(false);
        let graph = match self.recorded.recording.take() {
            None => {
                outcome?;
                None
            }
            Some((recording, way)) => match launched(recording, outcome) {
                Ok(graph) => Some((graph, way)),
                Err(e) => {
                    self.gpu.refuse_graphs(e.to_string());
                    return Ok(Calls::Wanted);
                }
            },
        };
        self.recorded.ran(kind, graph);
        self.start_readback(kind.stats, None)?;
        Ok(Calls::Done)
    }
}

/// The recording of calls that came to `outcome`, launched for the first time. An error may be the recording's alone: the
/// same calls without one will tell.
fn launched(recording: Recording, outcome: Result<()>) -> Result<Graph> {
    outcome?;
    let graph = recording.finish()?;
    graph.launch()?;
    Ok(graph)
}
