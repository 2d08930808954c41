//! Probes: the exact accounting, the prediction, the bound and the shares on a fixed batch of held-out text.

use faer::Mat;
use growthpath_analysis::probe_rows::{first_rows, first_share_rows, head_rows, layer_row, share_rows};
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, Geometry, LayerChange, LayerProbe, prepare_layers,
};
use growthpath_trace::{ProbeLayerRow, ProbeRow, ShareRow};
use rayon::prelude::*;

use super::activations::{all_writes, attention_gain, geometry, layer_state, stream_norm, stream_shares};
use crate::data::Batch;
use crate::error::Result;
use crate::model::config::Norm;
use crate::model::{Decoder, Forward, Options};

struct Taken {
    step: u32,
    layers: Vec<LayerProbe>,
    forward: Forward,
    /// Every write that a layer's attention reads, as it stands in the stream.
    writes: Vec<Vec<f32>>,
    gains: Vec<Vec<f32>>,
}

impl Taken {
    fn writes_before(&self, layer: usize) -> Vec<&[f32]> {
        self.writes[..=2 * layer].iter().map(Vec::as_slice).collect()
    }
}

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

/// Takes probes and remembers the last one.
pub struct Prober {
    batch: Batch,
    geometry: Geometry,
    last: Option<Taken>,
    /// Learning rate times multiplier of each layer's Q/K, summed since the last probe.
    eta: Vec<f64>,
}

impl Prober {
    /// A prober over fixed sequences.
    pub fn new(model: &Decoder, batch: Batch) -> Self {
        Self { batch, geometry: geometry(model), last: None, eta: vec![0.0; model.config.layers] }
    }

    /// Count one update's step size for `layer`.
    pub fn add_step(&mut self, layer: usize, lr: f64) {
        self.eta[layer] += lr;
    }

    /// Step of the last probe.
    pub fn last_step(&self) -> Option<u32> {
        self.last.as_ref().map(|t| t.step)
    }

    /// Step sizes summed since the last probe, one entry a layer.
    pub fn eta(&self) -> &[f64] {
        &self.eta
    }

    /// Key moments of the last probe, one `d x d` matrix a layer.
    pub fn key_moments(&self) -> impl Iterator<Item = &Mat<f64>> {
        self.last.iter().flat_map(|t| &t.layers).map(|p| &p.moments().sk)
    }

    /// After a resume: become the state that a probe of `model` at `step` left, without its rows, and the step sizes
    /// summed since then.
    ///
    /// # Errors
    /// As [`Prober::probe`].
    pub fn restore(&mut self, model: &Decoder, step: u32, eta: &[f64]) -> Result<()> {
        self.last = Some(self.take(model, step)?);
        self.eta.copy_from_slice(eta);
        Ok(())
    }

    fn take(&self, model: &Decoder, step: u32) -> Result<Taken> {
        let options = Options { keep_writes: true, ..Options::default() };
        let forward = model.forward(&self.batch.inputs, self.batch.context, &options)?;
        let layers = 0..model.config.layers;
        let states = layers.clone().into_par_iter().map(|l| layer_state(model, &forward, l));
        let states = states.collect::<Result<Vec<_>>>()?;
        let gains = layers.map(|l| attention_gain(model, l)).collect::<Result<Vec<_>>>()?;
        let writes = all_writes(&forward, model.config.layers - 1)?;
        Ok(Taken { step, layers: prepare_layers(states, self.geometry)?, forward, writes, gains })
    }

    /// Probe the model after `step` updates.
    ///
    /// # Errors
    /// When the model's state is not finite or a decomposition fails.
    pub fn probe(&mut self, model: &Decoder, step: u32) -> Result<ProbeRows> {
        let now = self.take(model, step)?;
        let mut rows = ProbeRows::default();
        match &self.last {
            Some(prev) => {
                for (heads, shares) in self.intervals(model.config.norm, prev, &now)? {
                    rows.heads.extend(heads);
                    rows.shares.extend(shares);
                }
            }
            None => {
                for (l, probe) in now.layers.iter().enumerate() {
                    rows.heads.extend(first_rows(step, l, probe));
                    let stream = stream_shares(&now.forward, l, &now.writes);
                    rows.shares.extend(first_share_rows(step, l, &stream));
                }
            }
        }
        let layers = now.layers.par_iter().enumerate().map(|(l, probe)| layer_row(step, l, probe));
        rows.layers = layers.collect::<growthpath_analysis::Result<_>>()?;
        self.last = Some(now);
        self.eta.fill(0.0);
        Ok(rows)
    }

    /// Rows of heads and of shares, layer by layer, for the interval between two probes.
    fn intervals(
        &self,
        norm: Norm,
        prev: &Taken,
        now: &Taken,
    ) -> Result<Vec<(Vec<ProbeRow>, Vec<ShareRow>)>> {
        (0..now.layers.len())
            .into_par_iter()
            .map(|l| {
                let change = prev.layers[l].change_to(&now.layers[l])?;
                let interval = change.interval(&vec![self.eta[l]; self.geometry.heads])?;
                Ok((
                    head_rows(now.step, prev.step, l, &interval),
                    interval_shares(norm, prev, now, l, &change)?,
                ))
            })
            .collect()
    }
}

/// What each write before a layer supplied to it over an interval (2.3), (4.3), (5.3).
fn interval_shares(
    norm: Norm,
    prev: &Taken,
    now: &Taken,
    layer: usize,
    change: &LayerChange<'_>,
) -> Result<Vec<ShareRow>> {
    let (before, after) = (prev.writes_before(layer), now.writes_before(layer));
    let norm_before = stream_norm(norm, &prev.forward, layer, &prev.gains[layer]);
    let norm_after = stream_norm(norm, &now.forward, layer, &now.gains[layer]);
    let energy = EnergySensitivity::of(change).shares_of_stream(&norm_before, &before)?;
    let drift =
        DriftSensitivity::of(change).parts_of_stream((&norm_before, &before), (&norm_after, &after))?;
    let stream = stream_shares(&now.forward, layer, &now.writes);
    Ok(share_rows(now.step, layer, &stream, &energy, &drift))
}
