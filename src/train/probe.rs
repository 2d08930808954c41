//! Probes: the exact accounting, the prediction, the bound and the shares on a fixed batch of held-out text.

use faer::Mat;
use growthpath_analysis::eigen::lambda_max;
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, Geometry, LayerInterval, LayerProbe, basis, layer_intervals,
    prepare_layers,
};
use growthpath_trace::{ProbeLayerRow, ProbeRow, ShareRow, WRITE_CONSTANT};
use rayon::prelude::*;

use super::capture::{attention_gain, contributions, geometry, layer_state};
use crate::data::Batch;
use crate::error::Result;
use crate::model::{Decoder, Forward, Options};

struct Taken {
    step: u32,
    layers: Vec<LayerProbe>,
    forward: Forward,
    gains: Vec<Vec<f32>>,
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
        let states = layers.clone().map(|l| layer_state(model, &forward, l)).collect::<Result<Vec<_>>>()?;
        let gains = layers.map(|l| attention_gain(model, l)).collect::<Result<Vec<_>>>()?;
        Ok(Taken { step, layers: prepare_layers(states, self.geometry)?, forward, gains })
    }

    /// Probe the model after `step` updates.
    ///
    /// # Errors
    /// When the model's state is not finite or a decomposition fails.
    pub fn probe(&mut self, model: &Decoder, step: u32) -> Result<ProbeRows> {
        let now = self.take(model, step)?;
        let heads = self.geometry.heads;
        let eta: Vec<Vec<f64>> = self.eta.iter().map(|e| vec![*e; heads]).collect();
        let mut rows = ProbeRows::default();
        match &self.last {
            Some(prev) => {
                let intervals = layer_intervals(&prev.layers, &now.layers, &eta)?;
                for (l, i) in intervals.iter().enumerate() {
                    rows.heads.extend(head_rows(step, prev.step, l, i));
                }
                rows.shares = self.shares(model, prev, &now)?;
            }
            None => {
                // An interval of nothing: its predicted spread is the state's.
                let still =
                    layer_intervals(&now.layers, &now.layers, &vec![vec![0.0; heads]; now.layers.len()])?;
                for (l, (p, i)) in now.layers.iter().zip(&still).enumerate() {
                    rows.heads.extend(first_rows(step, l, p, i));
                }
                rows.shares = first_shares(model, &now)?;
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
                    maturity: f64::NAN,
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

    fn shares(&self, model: &Decoder, prev: &Taken, now: &Taken) -> Result<Vec<ShareRow>> {
        let norm = model.config.norm;
        let per_layer: Vec<Vec<ShareRow>> = (0..now.layers.len())
            .into_par_iter()
            .map(|l| {
                let before = contributions(norm, &prev.forward, l, &prev.gains[l])?;
                let after = contributions(norm, &now.forward, l, &now.gains[l])?;
                let (old, new) = (&prev.layers[l], &now.layers[l]);
                let energy = EnergySensitivity::between(old, new)?.shares(&before.writes)?;
                let drift = DriftSensitivity::between(old, new)?.parts(&before.writes, &after.writes)?;
                let row = |write, stream_share, energy_share, drift_share| ShareRow {
                    step: now.step,
                    layer: l as u16,
                    write,
                    stream_share,
                    energy_share,
                    drift_share,
                };
                let parts = energy.writes.iter().zip(&drift.writes).zip(&after.stream_shares).enumerate();
                let mut rows: Vec<ShareRow> =
                    parts.map(|(k, ((e, d), s))| row(k as u16, *s, *e, *d)).collect();
                rows.push(row(WRITE_CONSTANT, f64::NAN, energy.constant, drift.constant));
                Ok(rows)
            })
            .collect::<Result<_>>()?;
        Ok(per_layer.into_iter().flatten().collect())
    }
}

fn first_shares(model: &Decoder, now: &Taken) -> Result<Vec<ShareRow>> {
    let mut rows = Vec::new();
    for l in 0..now.layers.len() {
        let c = contributions(model.config.norm, &now.forward, l, &now.gains[l])?;
        rows.extend(c.stream_shares.iter().enumerate().map(|(k, s)| ShareRow {
            step: now.step,
            layer: l as u16,
            write: k as u16,
            stream_share: *s,
            energy_share: f64::NAN,
            drift_share: f64::NAN,
        }));
    }
    Ok(rows)
}

fn head_rows(step: u32, prev_step: u32, layer: usize, interval: &LayerInterval) -> Vec<ProbeRow> {
    let row = |(h, i): (usize, &growthpath_analysis::HeadInterval)| {
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
            g_d: a.g_d,
            g_d2: a.g_d2,
            g_f: a.g_f,
            rho2: a.rho2,
            gamma: a.gamma,
            r_d: a.r_d,
            acct_residual: a.residual,
            a_hat: p.a_hat_next,
            a_hat_prev: p.a_hat,
            g_hat: p.g_hat,
            r_hat: p.r_hat,
            gf_hat: p.gf_hat,
            eta: f.eta,
            u: f.u,
            e: f.e,
            c: f.c,
            dm_i: p.dm_i,
            bound_s: b.s,
            bound_e: b.e,
            bound_omega: b.omega,
            bound_rms: b.r_d,
            e_max: interval.e_max,
        }
    };
    interval.heads.iter().enumerate().map(row).collect()
}

fn first_rows(step: u32, layer: usize, probe: &LayerProbe, still: &LayerInterval) -> Vec<ProbeRow> {
    let nan = f64::NAN;
    let mut rows = head_rows(step, step, layer, still);
    for (r, s) in rows.iter_mut().zip(probe.observe()) {
        (r.spread, r.entropy, r.sharpness, r.top1, r.s_max) =
            (s.spread, s.entropy, s.sharpness, s.top1, s.s_max);
        (r.spread_prev, r.g_d, r.g_d2, r.g_f, r.rho2, r.gamma, r.r_d, r.acct_residual) =
            (nan, nan, nan, nan, nan, nan, nan, nan);
        (r.a_hat_prev, r.g_hat, r.r_hat, r.gf_hat) = (nan, nan, nan, nan);
        (r.eta, r.u, r.e, r.c, r.dm_i) = (nan, nan, nan, nan, nan);
        (r.bound_s, r.bound_e, r.bound_omega, r.bound_rms, r.e_max) = (nan, nan, nan, nan, nan);
    }
    rows
}
