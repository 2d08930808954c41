//! Layers and heads of a run as indices.

use growthpath_trace::Run;

use crate::error::{AnalysisError, Result};

/// More than any model has: what `run.json` claims decides how much memory is set aside.
const MOST_LAYERS: u16 = 1024;
const MOST_HEADS: u16 = 1024;

/// The (layer, head) cells of a model, in row order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub layers: usize,
    pub heads: usize,
}

impl Grid {
    /// The grid of a run.
    pub fn of(run: &Run) -> Result<Self> {
        let (layers, heads) = (run.info().layers, run.info().heads);
        if layers > MOST_LAYERS || heads > MOST_HEADS {
            return Err(AnalysisError::Geometry(format!(
                "run.json of {} claims {layers} layers of {heads} heads; at most {MOST_LAYERS} of {MOST_HEADS} are read",
                growthpath_trace::shown_path(run.dir())
            )));
        }
        Ok(Self { layers: layers.into(), heads: heads.into() })
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.layers * self.heads
    }

    /// Index of a layer; `None` outside the model.
    pub fn layer(&self, layer: u16) -> Option<usize> {
        Some(usize::from(layer)).filter(|l| *l < self.layers)
    }

    /// Index of a cell; `None` outside the model.
    pub fn cell(&self, layer: u16, head: u16) -> Option<usize> {
        let head = Some(usize::from(head)).filter(|h| *h < self.heads)?;
        Some(self.layer(layer)? * self.heads + head)
    }

    /// 0 for a layer of the lower half, 1 for the upper.
    pub fn half(&self, layer: usize) -> usize {
        usize::from(layer >= self.layers / 2)
    }

    /// Layers of each half.
    pub fn half_layers(&self) -> [usize; 2] {
        let lower = self.layers / 2;
        [lower, self.layers - lower]
    }
}
