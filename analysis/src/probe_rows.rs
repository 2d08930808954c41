//! From what the analysis of one layer found at a probe to the rows of the trace: one place for every program that
//! takes probes.

use faer::Mat;
use growthpath_trace::{ProbeLayerRow, ProbeRow, ShareRow, WRITE_CONSTANT};

use crate::accounting::HeadState;
use crate::error::Result;
use crate::interval::{HeadInterval, Largest, LayerInterval, LayerProbe};
use crate::maturity::basis;
use crate::moments::Moments;
use crate::writes::WriteShares;

/// Rows of `probe`, one a head, for the interval from `prev_step` to `step`.
pub fn head_rows(step: u32, prev_step: u32, layer: usize, interval: &LayerInterval) -> Vec<ProbeRow> {
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
pub fn first_rows(step: u32, layer: usize, probe: &LayerProbe) -> Vec<ProbeRow> {
    state_rows(step, layer, &probe.observe(), &probe.predicted_spreads())
}

/// The same from the heads' states and predicted spreads.
pub fn state_rows(step: u32, layer: usize, states: &[HeadState], spreads: &[f64]) -> Vec<ProbeRow> {
    let states = states.iter().zip(spreads).enumerate();
    states
        .map(|(h, (s, &a_hat))| ProbeRow {
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

/// The row of `probe_layers` of one layer.
///
/// # Errors
/// [`crate::AnalysisError::Decomposition`] when an eigenvalue solver does not converge.
pub fn layer_row(step: u32, layer: usize, probe: &LayerProbe) -> Result<ProbeLayerRow> {
    Ok(row_of(step, layer, probe.moments(), &probe.state().lengths(), probe.largest()?))
}

/// The same of attention inputs `x` (`T x d` a sequence) and their moments alone: nothing in it depends on how logits
/// are made of them.
///
/// # Errors
/// As [`layer_row`].
pub fn basis_row(step: u32, layer: usize, m: &Moments, x: &[Mat<f64>]) -> Result<ProbeLayerRow> {
    let lengths: Vec<usize> = x.iter().map(Mat::nrows).collect();
    Ok(row_of(step, layer, m, &lengths, Largest::of(m, x)?))
}

fn row_of(step: u32, layer: usize, m: &Moments, lengths: &[usize], largest: Largest) -> ProbeLayerRow {
    let b = basis(m);
    ProbeLayerRow {
        step,
        layer: layer as u16,
        eff_rank: b.effective_rank,
        distinct: b.token_distinct,
        tr_sq: m.trace_q(),
        tr_sk: m.trace_k(),
        lambda_sq: largest.sq,
        lambda_sk: largest.sk,
        lambda_x: largest.energy * to_lambda(lengths),
    }
}

/// `E = lambda_x sqrt(2 T / (T + 1))`: the factor from E to lambda_x; with sequences of several lengths T is that of the pairs and
/// tokens together.
pub(crate) fn to_lambda(lengths: &[usize]) -> f64 {
    let (tokens, squares) = lengths.iter().fold((0.0, 0.0), |(n, s), &t| {
        let t = t as f64;
        (n + t, s + t * t)
    });
    ((squares + tokens) / (2.0 * squares)).sqrt()
}

/// Rows of `shares` of one layer: its writes' shares of the stream (2.3), of the energy (5.3) and of the features' part
/// of the growth (4.3), then the constant part.
pub fn share_rows(
    step: u32,
    layer: usize,
    stream: &[f64],
    energy: &WriteShares,
    drift: &WriteShares,
) -> Vec<ShareRow> {
    let row = |write, stream_share, energy_share, drift_share| ShareRow {
        step,
        layer: layer as u16,
        write,
        stream_share,
        energy_share,
        drift_share,
    };
    let parts = energy.writes.iter().zip(&drift.writes).zip(stream).enumerate();
    let mut rows: Vec<ShareRow> = parts.map(|(k, ((e, d), s))| row(k as u16, *s, *e, *d)).collect();
    rows.push(row(WRITE_CONSTANT, f64::NAN, energy.constant, drift.constant));
    rows
}

/// Rows of `shares` at a run's first probe, when only the stream is known.
pub fn first_share_rows(step: u32, layer: usize, stream: &[f64]) -> Vec<ShareRow> {
    let row = |(k, stream_share): (usize, &f64)| ShareRow {
        step,
        layer: layer as u16,
        write: k as u16,
        stream_share: *stream_share,
        energy_share: f64::NAN,
        drift_share: f64::NAN,
    };
    stream.iter().enumerate().map(row).collect()
}
