//! Probes: the exact accounting, the prediction, the bound and the shares on a fixed batch of held-out text.

use faer::Mat;
use growthpath_analysis::eigen::lambda_max;
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, Geometry, HeadInterval, LayerChange, LayerInterval, LayerProbe,
    basis, prepare_layers,
};
use growthpath_trace::{ProbeLayerRow, ProbeRow, ShareRow, WRITE_CONSTANT};
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
                    rows.shares.extend(first_shares(&now, l));
                }
            }
        }
        rows.layers = self.layer_rows(&now)?;
        self.last = Some(now);
        self.eta.fill(0.0);
        Ok(rows)
    }

    fn layer_rows(&self, now: &Taken) -> Result<Vec<ProbeLayerRow>> {
        now.layers
            .par_iter()
            .enumerate()
            .map(|(l, p)| {
                let (m, b) = (p.moments(), basis(p.moments()));
                let t = self.batch.context as f64;
                let e = growthpath_analysis::bound::residual_energy(&p.state().x)?;
                Ok(ProbeLayerRow {
                    step: now.step,
                    layer: l as u16,
                    eff_rank: b.effective_rank,
                    distinct: b.token_distinct,
                    tr_sq: m.trace_q(),
                    tr_sk: m.trace_k(),
                    lambda_sq: lambda_max(m.sq.as_ref())?,
                    lambda_sk: lambda_max(m.sk.as_ref())?,
                    lambda_x: e / (2.0 * t / (t + 1.0)).sqrt(),
                })
            })
            .collect()
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
    let row = |write, stream_share, energy_share, drift_share| ShareRow {
        step: now.step,
        layer: layer as u16,
        write,
        stream_share,
        energy_share,
        drift_share,
    };
    let stream = stream_shares(&now.forward, layer, &now.writes);
    let parts = energy.writes.iter().zip(&drift.writes).zip(&stream).enumerate();
    let mut rows: Vec<ShareRow> = parts.map(|(k, ((e, d), s))| row(k as u16, *s, *e, *d)).collect();
    rows.push(row(WRITE_CONSTANT, f64::NAN, energy.constant, drift.constant));
    Ok(rows)
}

/// At a run's first probe only the stream is known.
fn first_shares(now: &Taken, layer: usize) -> Vec<ShareRow> {
    let row = |(k, stream_share): (usize, f64)| ShareRow {
        step: now.step,
        layer: layer as u16,
        write: k as u16,
        stream_share,
        energy_share: f64::NAN,
        drift_share: f64::NAN,
    };
    stream_shares(&now.forward, layer, &now.writes).into_iter().enumerate().map(row).collect()
}

pub(super) fn head_rows(step: u32, prev_step: u32, layer: usize, interval: &LayerInterval) -> Vec<ProbeRow> {
    let row = |(h, i): (usize, &HeadInterval)| {
        let (a, p, f, b) = (&i.accounting, &i.prediction, &i.factors, &i.bound);
        ProbeRow {
            step,
            prev_step,
            layer: layer as u16,
            head: h as u16,
            spread: a.next.spread,
            spread_prev: a.a_prev,
            entropy: a.next.entropy,
            sharpness: a.next.sharpness,
            top1: a.next.top1,
            s_max: a.next.s_max,
            gamma: a.gamma,
            gamma_q: a.parts.query,
            gamma_k: a.parts.key,
            gamma_f: a.parts.features,
            cos_theta: a.cos_theta,
            a_hat: p.a_hat_next,
            a_hat_prev: p.a_hat,
            gamma_q_hat: p.parts.query,
            gamma_k_hat: p.parts.key,
            gamma_f_hat: p.parts.features,
            eta: f.eta,
            u: f.u,
            dm_i: f.dm_i,
            e: f.start.e,
            c: f.start.c,
            c0: f.start.c0,
            scale: f.start.scale,
            e_next: f.end.e,
            c_next: f.end.c,
            scale_next: f.end.scale,
            feature_step: p.feature_step,
            ds_w: a.ds_w,
            gamma_w_start: a.gamma_w_start,
            bound_s: b.s,
            bound_e: b.e,
            bound_omega: b.omega,
            bound_cheap: b.ds_w(),
            bound_tight: a.bound_tight,
            e_max: interval.e_max,
        }
    };
    interval.heads.iter().enumerate().map(row).collect()
}

/// A run's first probe has a state and no interval.
pub(super) fn first_rows(step: u32, layer: usize, probe: &LayerProbe) -> Vec<ProbeRow> {
    let states = probe.observe().into_iter().zip(probe.predicted_spreads()).enumerate();
    states
        .map(|(h, (s, a_hat))| ProbeRow {
            step,
            prev_step: step,
            layer: layer as u16,
            head: h as u16,
            spread: s.spread,
            entropy: s.entropy,
            sharpness: s.sharpness,
            top1: s.top1,
            s_max: s.s_max,
            a_hat,
            ..ProbeRow::undefined()
        })
        .collect()
}
