//! The recordings of a network's training steps, by kind of step.

use growthpath_kernels::Stats;
use growthpath_kernels::attention::Shape;
use growthpath_kernels::gpu::{Graph, Recording};

/// Launches of each recording that are timed before one is chosen.
const TRIALS: usize = 5;
/// Kinds of steps kept: with statistics and without, of two shapes. The one longest unused makes room.
const MOST: usize = 4;

/// What the steps that one recording stands for have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub shape: Shape,
    pub stats: Stats,
    pub adamw: bool,
}

/// A launch that was timed: of which kind of step, and on how many streams less one.
pub(super) type Timed = (Kind, usize);

/// A kind of steps that has run.
pub(super) struct Known {
    pub kind: Kind,
    /// On one stream, and on two.
    pub graphs: [Option<Graph>; 2],
    /// Launches for timing, and what they took.
    pub tried: [usize; 2],
    ms: [Vec<f32>; 2],
}

impl Known {
    pub fn is_timed(&self) -> bool {
        self.ms.iter().all(|ms| ms.len() >= TRIALS)
    }

    /// Number of streams of the next step, less one: as `wanted`, or the faster one, or the one less known.
    pub fn way(&self, wanted: Option<bool>) -> usize {
        let fastest = |ms: &[f32]| ms.iter().copied().fold(f32::INFINITY, f32::min);
        usize::from(match wanted {
            Some(two) => two,
            None if self.is_timed() => fastest(&self.ms[1]) < fastest(&self.ms[0]),
            None => self.tried[1] < self.tried[0],
        })
    }
}

/// The recordings of one network's steps.
#[derive(Default)]
pub(super) struct Recorded {
    /// The last used is last.
    known: Vec<Known>,
    /// The step under way, and the recording of it.
    pub kind: Option<Kind>,
    pub recording: Option<(Recording, usize)>,
}

impl Recorded {
    /// What is known of a kind; it counts as used.
    pub fn of(&mut self, kind: Kind) -> Option<&mut Known> {
        let at = self.known.iter().position(|k| k.kind == kind)?;
        let known = self.known.remove(at);
        self.known.push(known);
        self.known.last_mut()
    }

    /// Note that a step of this kind has run, and its recording if it was one.
    pub fn ran(&mut self, kind: Kind, graph: Option<(Graph, usize)>) {
        if self.of(kind).is_none() {
            self.known.push(Known {
                kind,
                graphs: [None, None],
                tried: [0; 2],
                ms: [Vec::new(), Vec::new()],
            });
            if self.known.len() > MOST {
                self.known.remove(0);
            }
        }
        if let (Some(known), Some((graph, way))) = (self.of(kind), graph) {
            known.graphs[way] = Some(graph);
        }
    }

    /// Take note of what a timed launch took.
    pub fn took(&mut self, (kind, way): Timed, ms: f32) {
        if let Some(known) = self.of(kind) {
            known.ms[way].push(ms);
        }
    }
}
