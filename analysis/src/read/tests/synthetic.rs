//! Random traces that satisfy every identity and bound: each head carries real vectors for `S~`, D, D2
//! and F, and all columns of `probe` are computed from them.

use std::path::Path;

use growthpath_trace::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Entries of the vectors that stand for the logits of a head.
const PAIRS: usize = 5;

/// Size and cadence of a synthetic run.
#[derive(Debug, Clone, Copy)]
pub struct Synthetic {
    pub layers: u16,
    pub heads: u16,
    pub steps: u32,
    /// 0 = none.
    pub telemetry_every: u32,
    /// 0 = none; else also the steps 0, 1, 2, 4, 8, ...
    pub probe_every: u32,
    pub qk_norm: bool,
    /// Rows after which a part ends; 0 = the writer's own.
    pub part_rows: usize,
    pub seed: u64,
}

/// Changes rows before they are written.
#[allow(unused_variables)]
pub trait Tamper {
    fn step(&mut self, row: &mut StepRow) {}
    fn head(&mut self, row: &mut HeadRow) {}
    fn write(&mut self, row: &mut WriteRow) {}
    fn probe(&mut self, row: &mut ProbeRow) {}
    fn layer(&mut self, row: &mut ProbeLayerRow) {}
    fn share(&mut self, row: &mut ShareRow) {}
}

/// Changes nothing.
pub struct Honest;

impl Tamper for Honest {}

struct Head {
    w2: [f64; 2],
    logits: [f64; PAIRS],
    a_hat: f64,
}

/// Writes a run.
pub fn write(dir: &Path, size: Synthetic, tamper: &mut dyn Tamper) -> Result<()> {
    let config = serde_json::json!({"model": {"qk_norm": size.qk_norm}});
    let mut info = RunInfo::new(config, size.steps, size.layers, size.heads);
    info.label = "synthetic".to_owned();
    info.telemetry_every = Some(size.telemetry_every);
    let mut options = WriterOptions::default();
    if size.part_rows > 0 {
        options.flush_rows = size.part_rows;
    }
    let mut out = RunWriter::create_with(dir, &info, options)?;
    let mut rng = ChaCha8Rng::seed_from_u64(size.seed);
    let mut heads: Vec<Head> = (0..usize::from(size.layers) * usize::from(size.heads))
        .map(|_| Head {
            w2: [rng.random_range(1.0..3.0), rng.random_range(1.0..3.0)],
            logits: std::array::from_fn(|_| rng.random_range(-0.2..0.2)),
            a_hat: rng.random_range(0.05..0.2),
        })
        .collect();
    let mut last_probe = None;
    for step in 0..=size.steps {
        let due = size.probe_every > 0 && (step.is_multiple_of(size.probe_every) || step.is_power_of_two());
        if due || (size.probe_every > 0 && step == size.steps) {
            probe(&mut out, size, step, last_probe, &mut heads, &mut rng, tamper)?;
            last_probe = Some(step);
        }
        if step.is_multiple_of(50) || step == size.steps {
            let loss = 5.0 - f64::from(step) / f64::from(size.steps) + rng.random_range(-0.01..0.01);
            out.evals(EvalRow { step, tokens: 64 * u64::from(step), loss, stderr: 0.02, sequences: 8 })?;
        }
        if step == size.steps {
            break;
        }
        let mut row = StepRow {
            step,
            tokens: 64 * (u64::from(step) + 1),
            loss: 5.0 - step as f32 / size.steps as f32 + rng.random_range(-0.1..0.1),
            lr: 1e-3,
            qk_mult: 1.0,
            grad_norm: rng.random_range(0.5..2.0),
            clip_scale: rng.random_range(0.5..1.0),
            step_ms: rng.random_range(9.0..11.0),
        };
        tamper.step(&mut row);
        out.steps(row)?;
        telemetry(&mut out, size, step, &mut heads, &mut rng, tamper)?;
    }
    out.finish(Status::Complete)?;
    Ok(())
}

fn telemetry(
    out: &mut RunWriter,
    size: Synthetic,
    step: u32,
    heads: &mut [Head],
    rng: &mut ChaCha8Rng,
    tamper: &mut dyn Tamper,
) -> Result<()> {
    let recorded = size.telemetry_every > 0 && step.is_multiple_of(size.telemetry_every);
    let mut rows = Vec::with_capacity(heads.len());
    for (cell, head) in heads.iter_mut().enumerate() {
        // Weights move at every step, recorded or not.
        let d2: [f64; 2] = std::array::from_fn(|_| rng.random_range(1e-4..2e-4));
        let wd: [f64; 2] =
            std::array::from_fn(|i| rng.random_range(-0.05..0.05) * (head.w2[i] * d2[i]).sqrt());
        if recorded {
            let g2: [f64; 2] = [rng.random_range(0.1..1.0), rng.random_range(0.1..1.0)];
            let size_of = (head.w2[0] * g2[0]).min(head.w2[1] * g2[1]).sqrt();
            let sgs = rng.random_range(-0.4..0.4) * size_of;
            let mut wg = |i: usize| {
                let euler = if size.qk_norm { 0.0 } else { sgs };
                euler + rng.random_range(-1e-6..1e-6) * (head.w2[i] * g2[i]).sqrt()
            };
            let (wg_q, wg_k) = (wg(0), wg(1));
            let spread = rng.random_range(0.1..2.0f64);
            let mut row = HeadRow {
                step,
                layer: (cell / usize::from(size.heads)) as u16,
                head: (cell % usize::from(size.heads)) as u16,
                g_q2: g2[0] as f32,
                g_k2: g2[1] as f32,
                g_qmax: (0.1 * g2[0].sqrt()) as f32,
                g_kmax: (0.1 * g2[1].sqrt()) as f32,
                w_q2: head.w2[0] as f32,
                w_k2: head.w2[1] as f32,
                d_q2: d2[0] as f32,
                d_k2: d2[1] as f32,
                wg_q: wg_q as f32,
                wg_k: wg_k as f32,
                wd_q: wd[0] as f32,
                wd_k: wd[1] as f32,
                gd_q: (-0.3 * (g2[0] * d2[0]).sqrt()) as f32,
                gd_k: (-0.3 * (g2[1] * d2[1]).sqrt()) as f32,
                lr: 1e-3,
                s_max: (4.0 * spread) as f32,
                s_min: (-4.0 * spread) as f32,
                s_ms: (spread * spread * rng.random_range(1.0001..2.0)) as f32,
                spread: spread as f32,
                entropy: rng.random_range(0.2..0.95),
                sharpness: rng.random_range(0.05..0.8),
                top1: rng.random_range(0.05..0.8),
                max_distance: rng.random_range(0.0..30.0),
                q_rms: rng.random_range(0.5..2.0),
                k_rms: rng.random_range(0.5..2.0),
                qk_cos: rng.random_range(-0.5..0.5),
                gs2: rng.random_range(0.0..1.0),
                sgs: sgs as f32,
                lse_gap: rng.random_range(-1.0..0.0),
                pressure_q: (-wg_q / (head.w2[0] * g2[0]).sqrt()) as f32,
                pressure_k: (-wg_k / (head.w2[1] * g2[1]).sqrt()) as f32,
                dm_f: 0.02,
                dm_top: rng.random_range(0.005..0.02),
                dm_entropy: rng.random_range(0.2..0.9),
            };
            tamper.head(&mut row);
            rows.push(row);
        }
        for i in 0..2 {
            head.w2[i] += 2.0 * wd[i] + d2[i];
        }
    }
    out.heads(&rows)?;
    if !recorded {
        return Ok(());
    }
    let mut h2 = rng.random_range(0.5..1.5f64);
    let mut rows = Vec::with_capacity(2 * usize::from(size.layers));
    for place in 0..2 * size.layers {
        let energy = rng.random_range(0.1..1.0f64);
        let dot = rng.random_range(-0.3..0.5) * (energy * h2).sqrt();
        let after = h2 + 2.0 * dot + energy;
        let (hidden_ms, hidden_common) = match place % 2 {
            0 => (f32::NAN, f32::NAN),
            _ => (0.4, rng.random_range(0.0..0.3)),
        };
        let mut row = WriteRow {
            step,
            layer: place / 2,
            site: (place % 2) as u8,
            energy: energy as f32,
            common: (energy * rng.random_range(0.0..0.9)) as f32,
            dot: dot as f32,
            h2_before: h2 as f32,
            h2_after: after as f32,
            hidden_ms,
            hidden_common,
        };
        tamper.write(&mut row);
        rows.push(row);
        h2 = after;
    }
    out.writes(&rows)
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// RMS over pairs.
pub fn rms(a: &[f64]) -> f64 {
    (dot(a, a) / a.len() as f64).sqrt()
}

/// The columns of one interval from the vectors of its paths: `S~`, D, D2 and F. Bounds, predictions
/// and factors are random, within what they must satisfy.
pub fn interval_row(
    s: &[f64],
    d: &[f64],
    d2: &[f64],
    f: &[f64],
    a_hat_prev: f64,
    rng: &mut impl Rng,
) -> ProbeRow {
    let next: Vec<f64> = (0..s.len()).map(|i| s[i] + d[i] + d2[i] + f[i]).collect();
    let change: Vec<f64> = next.iter().zip(s).map(|(a, b)| a - b).collect();
    let ss = dot(s, s);
    let (spread, spread_prev, r_d) = (rms(&next), rms(s), rms(d));
    let g_d = dot(s, d) / ss;
    let gamma = (spread / spread_prev).ln();
    let a_hat = a_hat_prev * (gamma + rng.random_range(-0.01..0.01)).exp();
    let g_hat = g_d * rng.random_range(0.9..1.1);
    let c = rng.random_range(0.2..0.9) * g_hat.signum();
    let r_hat = g_hat * a_hat_prev / c;
    let (e, eta) = (rng.random_range(0.5..2.0), rng.random_range(1e-3..2e-3));
    let dm_i = r_hat / e;
    let (bound_e, bound_omega) = (rng.random_range(1.0..2.0), rng.random_range(1.0..2.0));
    let bound_rms = r_d * rng.random_range(1.5..9.0);
    ProbeRow {
        spread,
        spread_prev,
        g_d,
        g_d2: dot(s, d2) / ss,
        g_f: dot(s, f) / ss,
        rho2: dot(&change, &change) / ss,
        gamma,
        r_d,
        acct_residual: 1e-14,
        a_hat,
        a_hat_prev,
        g_hat,
        r_hat,
        gf_hat: dot(s, f) / ss * rng.random_range(0.9..1.1),
        eta,
        u: dm_i / eta,
        e,
        c,
        dm_i,
        bound_s: bound_rms / (bound_e * bound_omega),
        bound_e,
        bound_omega,
        bound_rms,
        e_max: e * rng.random_range(1.01..3.0),
        ..ProbeRow::default()
    }
}

fn probe(
    out: &mut RunWriter,
    size: Synthetic,
    step: u32,
    prev: Option<u32>,
    heads: &mut [Head],
    rng: &mut ChaCha8Rng,
    tamper: &mut dyn Tamper,
) -> Result<()> {
    let nan = f64::NAN;
    let mut rows = Vec::with_capacity(heads.len());
    let mut feature = vec![0.0; size.layers.into()];
    for (cell, head) in heads.iter_mut().enumerate() {
        let layer = cell / usize::from(size.heads);
        let mut vector = |scale: f64, pull: f64| -> [f64; PAIRS] {
            std::array::from_fn(|i| rng.random_range(-0.1..0.1) * scale + pull * head.logits[i])
        };
        // The pull keeps a long run's spread within bounds: it grows towards 1, and shrinks above.
        let pull = 0.02 * (1.0 - rms(&head.logits));
        let (d, d2, f) = (vector(0.1, pull), vector(0.01, 0.0), vector(0.05, 0.0));
        let mut row = match prev {
            Some(_) => interval_row(&head.logits, &d, &d2, &f, head.a_hat, rng),
            None => ProbeRow {
                spread: rms(&head.logits),
                spread_prev: nan,
                g_d: nan,
                g_d2: nan,
                g_f: nan,
                rho2: nan,
                gamma: nan,
                r_d: nan,
                acct_residual: nan,
                a_hat: head.a_hat,
                a_hat_prev: nan,
                g_hat: nan,
                r_hat: nan,
                gf_hat: nan,
                eta: nan,
                u: nan,
                e: nan,
                c: nan,
                dm_i: nan,
                bound_s: nan,
                bound_e: nan,
                bound_omega: nan,
                bound_rms: nan,
                e_max: nan,
                ..ProbeRow::default()
            },
        };
        if prev.is_some() {
            for i in 0..PAIRS {
                head.logits[i] += d[i] + d2[i] + f[i];
            }
            head.a_hat = row.a_hat;
            feature[layer] += row.gf_hat / f64::from(size.heads);
        }
        row.step = step;
        row.prev_step = prev.unwrap_or(step);
        (row.layer, row.head) = (layer as u16, (cell % usize::from(size.heads)) as u16);
        row.entropy = rng.random_range(0.2..0.95);
        row.sharpness = rng.random_range(0.0..0.5);
        row.top1 = rng.random_range(0.05..0.8);
        row.s_max = 4.0 * row.spread;
        tamper.probe(&mut row);
        rows.push(row);
    }
    out.probe(&rows)?;
    for layer in 0..size.layers {
        let mut row = ProbeLayerRow {
            step,
            layer,
            maturity: if prev.is_some() { rng.random_range(0.5..1.0) } else { nan },
            eff_rank: rng.random_range(2.0..9.0),
            distinct: rng.random_range(0.1..0.9),
            tr_sq: 8.0,
            tr_sk: 4.0,
            lambda_sq: 3.0,
            lambda_sk: 1.0,
            lambda_x: 3.0,
        };
        tamper.layer(&mut row);
        out.probe_layers(&[row])?;
        shares(out, (step, layer), prev.is_some(), feature[usize::from(layer)], rng, tamper)?;
    }
    Ok(())
}

fn shares(
    out: &mut RunWriter,
    (step, layer): (u32, u16),
    interval: bool,
    feature: f64,
    rng: &mut ChaCha8Rng,
    tamper: &mut dyn Tamper,
) -> Result<()> {
    let nan = f64::NAN;
    let writes = 2 * usize::from(layer) + 1;
    // Numbers of one sign's majority that add up to `total`, the last one being the rest.
    let mut parts = |count: usize, total: f64| -> Vec<f64> {
        let mut parts: Vec<f64> = (1..count).map(|_| rng.random_range(-0.2..0.8)).collect();
        parts.push(total - parts.iter().sum::<f64>());
        parts
    };
    let (stream, energy, drift) = (parts(writes, 1.0), parts(writes + 1, 1.0), parts(writes + 1, feature));
    for write in 0..=writes {
        let constant = write == writes;
        // The first probe of a run has no interval, and the constant part is no write of the stream.
        let mut row = ShareRow {
            step,
            layer,
            write: if constant { WRITE_CONSTANT } else { write as u16 },
            stream_share: if constant { nan } else { stream[write] },
            energy_share: if interval { energy[write] } else { nan },
            drift_share: if interval { drift[write] } else { nan },
        };
        if constant && !interval {
            continue;
        }
        tamper.share(&mut row);
        out.shares(&[row])?;
    }
    Ok(())
}
