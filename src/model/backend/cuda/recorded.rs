//! Training steps as CUDA graphs: one launch instead of hundreds.
//!
//! The first step of a kind (shape of the batch, with statistics or without) runs as ordinary launches, which loads its
//! kernels; the second is recorded and launched, later ones launch the recording again. What differs from step to step -
//! the batch, the learning rate, the bias corrections - is sent ahead of it, and the statistics are fetched after it, by
//! ordinary copies. Where something cannot be recorded, steps stay ordinary launches: the same kernels with the same
//! arguments, so the same numbers.

use growthpath_kernels::attention::Shape;
use growthpath_kernels::gpu::{Graph, Recording};
use growthpath_kernels::optimizer::{Rule, Update};

use super::super::Calls;
use super::Cuda;
use crate::error::{Error, Result};

/// What the steps that one recording stands for have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    shape: Shape,
    stats: bool,
    adamw: bool,
}

/// Recordings kept: with statistics and without, of two shapes. The one longest unused makes room.
const MOST: usize = 4;

/// The recordings of one network's steps.
#[derive(Default)]
pub(super) struct Recorded {
    /// Kinds of steps that have run, and their graphs once recorded; the last used is last.
    known: Vec<(Kind, Option<Graph>)>,
    /// The step under way.
    kind: Option<Kind>,
    recording: Option<Recording>,
}

impl Recorded {
    /// The graph of a kind, if it was recorded and may still be launched; it counts as used.
    fn graph(&mut self, kind: Kind) -> Option<&Graph> {
        let at = self.known.iter().position(|k| k.0 == kind)?;
        let mut known = self.known.remove(at);
        known.1 = known.1.filter(Graph::alive);
        self.known.push(known);
        self.known.last()?.1.as_ref()
    }

    fn has_run(&self, kind: Kind) -> bool {
        self.known.iter().any(|k| k.0 == kind)
    }

    /// Note that a step of this kind has run.
    fn ran(&mut self, kind: Kind, graph: Option<Graph>) {
        if graph.is_none() && self.has_run(kind) {
            return;
        }
        self.known.retain(|k| k.0 != kind);
        self.known.push((kind, graph));
        if self.known.len() > MOST {
            self.known.remove(0);
        }
    }
}

impl Cuda {
    /// See [`super::super::Backend::begin_step`].
    pub(super) fn begin_recorded(&mut self, update: &Update<'_>, clip: f32) -> Result<Calls> {
        if self.pending.len() == self.readbacks.len() {
            return Err(Error::usage("statistics of two steps are waiting: read one first"));
        }
        self.table.send(update, clip)?;
        let adamw = matches!(update.rule, Rule::AdamW { .. });
        let kind = Kind { shape: self.shape, stats: update.stats, adamw };
        self.recorded.kind = Some(kind);
        if !self.gpu.uses_graphs() {
            return Ok(Calls::Wanted);
        }
        if let Some(graph) = self.recorded.graph(kind) {
            graph.launch()?;
            self.start_readback(kind.stats)?;
            return Ok(Calls::Done);
        }
        if self.recorded.has_run(kind) {
            match self.gpu.record() {
                Ok(recording) => self.recorded.recording = Some(recording),
                Err(e) => self.gpu.refuse_graphs(e.to_string()),
            }
        }
        Ok(Calls::Wanted)
    }

    /// See [`super::super::Backend::end_step`].
    pub(super) fn end_recorded(&mut self, outcome: Result<()>) -> Result<Calls> {
        let Some(kind) = self.recorded.kind else {
            return Err(Error::usage("a step ended that did not begin"));
        };
        let graph = match self.recorded.recording.take() {
            None => {
                outcome?;
                None
            }
            Some(recording) => match launched(recording, outcome) {
                Ok(graph) => Some(graph),
                Err(e) => {
                    self.gpu.refuse_graphs(e.to_string());
                    return Ok(Calls::Wanted);
                }
            },
        };
        self.recorded.ran(kind, graph);
        self.start_readback(kind.stats)?;
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
