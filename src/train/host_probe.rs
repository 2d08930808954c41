//! Probes on the host's processor.

use candle_core::Tensor;
use growthpath_analysis::probe_rows::{first_rows, first_share_rows, head_rows, layer_row, share_rows};
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, Geometry, LayerChange, LayerProbe, Moments, prepare_layers,
};
use growthpath_trace::{ProbeRow, ShareRow};
use rayon::prelude::*;

use super::activations::{all_writes, attention_gain, geometry, layer_state, stream_norm, stream_shares};
use super::moments::KeyMoments;
use super::probe::{Measured, Measurement, ProbeRows, Probes, ProbesOn};
use crate::data::Batch;
use crate::error::Result;
use crate::model::backend::Backend;
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

/// Probes on the host's processor.
pub(super) struct HostProbes {
    batch: Batch,
    geometry: Geometry,
    last: Option<Taken>,
    /// Copies of the parameters at the last probe.
    probed: Vec<Tensor>,
}

impl HostProbes {
    /// Probes of `model` over fixed sequences.
    pub(super) fn new(model: &Decoder, batch: Batch) -> Self {
        Self { batch, geometry: geometry(model), last: None, probed: Vec::new() }
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

    /// Rows of heads and of shares, layer by layer, for the interval between two probes.
    fn intervals(
        &self,
        norm: Norm,
        (prev, now): (&Taken, &Taken),
        eta: &[f64],
    ) -> Result<Vec<(Vec<ProbeRow>, Vec<ShareRow>)>> {
        (0..now.layers.len())
            .into_par_iter()
            .map(|l| {
                let change = prev.layers[l].change_to(&now.layers[l])?;
                let interval = change.interval(&vec![eta[l]; self.geometry.heads])?;
                Ok((
                    head_rows(now.step, prev.step, l, &interval),
                    interval_shares(norm, prev, now, l, &change)?,
                ))
            })
            .collect()
    }
}

impl HostProbes {
    /// Measure `model`; what is kept of its parameters is the caller's affair.
    ///
    /// # Errors
    /// As [`Probes::begin`].
    pub(super) fn measure(&mut self, model: &Decoder, what: &Measurement) -> Result<Measured> {
        let (rows, moments) = match what {
            Measurement::Probe { step, eta } => {
                let (rows, moments) = self.probe(model, *step, eta)?;
                (Some(rows), moments)
            }
            Measurement::Moments { step } => (None, self.capture(model, *step)?),
        };
        Ok(Measured { rows, moments, seconds_beside: 0.0 })
    }

    fn probe(&mut self, model: &Decoder, step: u32, eta: &[f64]) -> Result<(ProbeRows, KeyMoments)> {
        let now = self.take(model, step)?;
        let mut rows = ProbeRows::default();
        match &self.last {
            Some(prev) => {
                for (heads, shares) in self.intervals(model.config.norm, (prev, &now), eta)? {
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
        let moments = KeyMoments::pack(step, now.layers.iter().map(|p| &p.moments().sk));
        self.last = Some(now);
        Ok((rows, moments))
    }

    fn capture(&self, model: &Decoder, step: u32) -> Result<KeyMoments> {
        let forward = model.forward(&self.batch.inputs, self.batch.context, &Options::default())?;
        let moments = (0..model.config.layers)
            .into_par_iter()
            .map(|l| Ok(Moments::new(&layer_state(model, &forward, l)?.x)?.sk))
            .collect::<Result<Vec<_>>>()?;
        Ok(KeyMoments::pack(step, moments.iter()))
    }

    /// Become the state that a probe of `model` at `step` leaves.
    ///
    /// # Errors
    /// As [`Probes::begin`].
    pub(super) fn remember(&mut self, model: &Decoder, step: u32) -> Result<()> {
        self.last = Some(self.take(model, step)?);
        Ok(())
    }
}

impl<B: Backend> Probes<B> for HostProbes {
    fn on(&self) -> ProbesOn {
        ProbesOn::Host
    }

    fn reads_host(&self) -> bool {
        true
    }

    fn begin(&mut self, _: &B, model: &Decoder, what: Measurement) -> Result<Option<Measured>> {
        let measured = self.measure(model, &what)?;
        if matches!(what, Measurement::Probe { .. }) {
            self.probed = copies(model)?;
        }
        Ok(Some(measured))
    }

    fn restore(&mut self, probed: &Decoder, step: u32) -> Result<()> {
        self.remember(probed, step)?;
        self.probed = copies(probed)?;
        Ok(())
    }

    fn probed(&self) -> Result<Vec<Tensor>> {
        Ok(self.probed.clone())
    }
}

/// Copies of every parameter, in the model's order.
fn copies(model: &Decoder) -> Result<Vec<Tensor>> {
    Ok(model.params.vars.iter().map(|v| v.as_tensor().copy()).collect::<candle_core::Result<_>>()?)
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
