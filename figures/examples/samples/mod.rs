//! Synthetic but consistent runs, written as real traces: four small arms whose heads follow the recursion (5.4).

use std::path::{Path, PathBuf};

use growthpath_figures::Material;
use growthpath_trace::*;
use serde_json::{Value, json};

pub const LAYERS: u16 = 6;
pub const HEADS: u16 = 2;
pub const STEPS: u32 = 400;

/// A small deterministic generator (xorshift), enough for pictures.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// An arm: label, architecture, whether its upper half is slowed.
#[derive(Clone, Copy)]
pub struct Arm {
    pub label: &'static str,
    pub llama: bool,
    pub slowed: bool,
}

pub const ARMS: [Arm; 4] = [
    Arm { label: "gpt", llama: false, slowed: false },
    Arm { label: "gpt+slow-qk", llama: false, slowed: true },
    Arm { label: "llama", llama: true, slowed: false },
    Arm { label: "llama+slow-qk", llama: true, slowed: true },
];

impl Arm {
    fn config(&self) -> Value {
        let model = match self.llama {
            false => json!({"norm": "layernorm", "ffn": "gelu", "bias": true, "pos": "learned"}),
            true => json!({"norm": "rmsnorm", "ffn": "swiglu", "bias": false, "pos": "rope"}),
        };
        let slow = self.slowed.then(|| json!({"target": "upper-qk", "multiplier": 0.25}));
        json!({"model": model, "intervention": slow, "steps": STEPS, "probe": {"maturity_lag": 0.02}})
    }

    /// Multiplier of the upper half's learning rate.
    fn multiplier(&self, step: u32) -> f64 {
        match step {
            _ if !self.slowed => 1.0,
            0..40 => 0.25,
            40..48 => 0.25 + 0.75 * f64::from(step - 39) / 9.0,
            _ => 1.0,
        }
    }
}

/// A rise from 0 to 1 centred at step `at`.
fn rise(step: u32, at: f64) -> f64 {
    1.0 / (1.0 + (-(f64::from(step.max(1)).ln() - at.ln()) / 0.5).exp())
}

fn probe_due(step: u32) -> bool {
    step < 3 || step.is_power_of_two() || step.is_multiple_of(20)
}

/// Writes all arms into `folder`; returns their directories.
pub fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    ARMS.iter()
        .enumerate()
        .map(|(k, arm)| {
            let dir = folder.join(arm.label);
            one(&dir, *arm, &mut Noise::new(k as u64 + 1))?;
            Ok(dir)
        })
        .collect()
}

/// All arms read, each compared with the first, and llama with its slowed twin.
pub fn material(folder: &Path) -> Material {
    let runs: Vec<Run> =
        write(folder).expect("writable").iter().map(|d| Run::open(d).expect("a run")).collect();
    let mut material = Material::read(&runs, &[(0, 1), (0, 2), (2, 3)], None).expect("readable");
    material.floor = Some(1.2);
    material
}

fn one(dir: &Path, arm: Arm, noise: &mut Noise) -> Result<()> {
    let mut info = RunInfo::new(arm.config(), STEPS, LAYERS, HEADS);
    info.label = arm.label.into();
    let mut out = RunWriter::create(dir, &info)?;
    let cells = usize::from(LAYERS * HEADS);
    // Measured and predicted spread of each head.
    let mut spread = vec![0.05; cells];
    let mut previous = 0;
    for step in 0..=STEPS {
        if probe_due(step) {
            let rows: Vec<ProbeRow> =
                (0..cells).map(|c| probe(arm, step, previous, c, &mut spread[c], noise)).collect();
            out.push(&rows)?;
            beside(&mut out, arm, step, noise)?;
            previous = step;
        }
        if step.is_multiple_of(50) {
            let loss = 1.6 + 3.0 * (1.0 - rise(step, 30.0)) - 0.1 * f64::from(u8::from(arm.llama));
            out.push(&[EvalRow { step, tokens: u64::from(step), loss, stderr: 0.02, sequences: 8 }])?;
        }
        if step < STEPS {
            telemetry(&mut out, arm, step, &spread, noise)?;
        }
    }
    out.finish(Status::Complete)?;
    Ok(())
}

fn telemetry(out: &mut RunWriter, arm: Arm, step: u32, spread: &[f64], noise: &mut Noise) -> Result<()> {
    let loss = 1.55 + 3.0 * (1.0 - rise(step, 30.0)) + 0.05 * noise.normal();
    out.push(&[StepRow {
        step,
        tokens: u64::from(step) + 1,
        loss: loss as f32,
        lr: 1e-3,
        qk_mult: arm.multiplier(step) as f32,
        clip_scale: 1.0,
        ..StepRow::default()
    }])?;
    let heads: Vec<HeadRow> = spread
        .iter()
        .enumerate()
        .map(|(c, a)| HeadRow {
            step,
            layer: c as u16 / HEADS,
            head: c as u16 % HEADS,
            spread: (a * (0.03 * noise.normal()).exp()) as f32,
            entropy: (1.0 - 0.3 * a / (1.0 + a)) as f32,
            ..HeadRow::default()
        })
        .collect();
    out.push(&heads)?;
    let writes: Vec<WriteRow> = (0..LAYERS)
        .flat_map(|layer| (0..2u8).map(move |site| (layer, site)))
        .map(|(layer, site)| {
            let top = if site == 1 { 20.0 } else { 2.0 } * 0.8f64.powi(layer.into());
            let energy = (top * (1e-3 + rise(step, 40.0)) * (0.1 * noise.normal()).exp()) as f32;
            WriteRow { step, layer, site, energy, h2_before: 30.0, h2_after: 31.0, ..WriteRow::default() }
        })
        .collect();
    out.push(&writes)
}

/// One head over one interval, by the recursion (5.4).
fn probe(arm: Arm, step: u32, prev_step: u32, cell: usize, spread: &mut f64, noise: &mut Noise) -> ProbeRow {
    let (layer, head) = (cell as u16 / HEADS, cell as u16 % HEADS);
    let upper = layer >= LAYERS / 2;
    let a = *spread;
    let steps = f64::from(step - prev_step);
    let multiplier = if upper { arm.multiplier(prev_step) } else { 1.0 };
    let eta = 1e-3 * multiplier * steps;
    let at = if arm.llama { 90.0 } else { 45.0 } * (1.0 + 0.06 * f64::from(layer));
    let u = 3.0 / (1.0 + steps / 40.0);
    let e = if arm.llama { 4.0 } else { 9.0 } * (1.0 + 0.2 * noise.normal()).abs();
    let c0 = 0.55 * rise(step, at) * (1.0 - 0.8 * rise(step, 6.0 * at)) + 0.02 * noise.normal();
    let d = eta * u * e;
    let inside = a * a + 2.0 * a * d * c0 + d * d;
    let feature_step = -0.35 * 0.5 * (inside / (a * a)).ln() + 0.01 * noise.normal();
    let weights = 0.5 * (inside / (a * a)).ln();
    let next = inside.sqrt() * feature_step.exp();
    let first = step == prev_step;
    let opt = |v: f64| if first { f64::NAN } else { v };
    let error = |noise: &mut Noise| 0.003 * noise.normal();
    let (q, k, f) = (0.42 * weights, 0.58 * weights, feature_step);
    let (gamma_q, gamma_k, gamma_f) = (q + error(noise), k + error(noise), f + error(noise));
    let now = if first { a } else { a * (gamma_q + gamma_k + gamma_f).exp() };
    *spread = now;
    let entropy = 1.0 - 0.3 * now / (1.0 + now);
    ProbeRow {
        step,
        prev_step,
        layer,
        head,
        spread: now,
        spread_prev: opt(a),
        entropy,
        sharpness: 1.0 - entropy,
        top1: 0.2,
        s_max: 3.0 * now,
        gamma: opt(gamma_q + gamma_k + gamma_f),
        gamma_q: opt(gamma_q),
        gamma_k: opt(gamma_k),
        gamma_f: opt(gamma_f),
        cos_theta: opt(0.9),
        a_hat: if first { a } else { next },
        a_hat_prev: opt(a),
        gamma_q_hat: opt(q),
        gamma_k_hat: opt(k),
        gamma_f_hat: opt(f),
        eta: opt(eta),
        u: opt(u),
        dm_i: opt(eta * u),
        e: opt(e),
        c: opt(c0 + 0.1),
        c0: opt(c0),
        scale: opt((a * inside.sqrt()).sqrt()),
        e_next: opt(e),
        c_next: opt(c0 + 0.1),
        scale_next: opt((a * inside.sqrt()).sqrt()),
        feature_step: opt(feature_step),
        ds_w: opt(d),
        gamma_w_start: opt(weights),
        bound_s: opt(1.0),
        bound_e: opt(1.0),
        bound_omega: opt(1.0),
        bound_cheap: opt(d * (40.0 + 20.0 * noise.uniform())),
        bound_tight: opt(d * (1.25 + 0.4 * noise.uniform())),
        e_max: f64::NAN,
    }
}

/// What is measured beside the heads at a probe.
fn beside(out: &mut RunWriter, arm: Arm, step: u32, noise: &mut Noise) -> Result<()> {
    let maturity: Vec<MaturityRow> = (0..LAYERS)
        .flat_map(|layer| [4u32, 8, 16].map(|lag| (layer, lag)))
        .map(|(layer, lag)| {
            let settled = rise(step, if arm.llama { 60.0 } else { 110.0 });
            let cosine = 0.4 + 0.58 * settled - 0.002 * f64::from(lag) + 0.004 * f64::from(layer);
            MaturityRow { step, layer, lag, maturity: if step < lag { f64::NAN } else { cosine } }
        })
        .collect();
    out.push(&maturity)?;
    let layers: Vec<ProbeLayerRow> = (0..LAYERS)
        .map(|layer| ProbeLayerRow { step, layer, eff_rank: 12.0, distinct: 0.8, ..Default::default() })
        .collect();
    out.push(&layers)?;
    let shares: Vec<ShareRow> = (0..LAYERS)
        .flat_map(|layer| (0..=2 * layer).chain([WRITE_CONSTANT]).map(move |write| (layer, write)))
        .map(|(layer, write)| {
            let share = match write {
                WRITE_CONSTANT => 0.0,
                _ => 1.0 / f64::from(2 * layer + 1),
            };
            ShareRow { step, layer, write, stream_share: share, energy_share: share, drift_share: 0.0 }
        })
        .collect();
    out.push(&shares)?;
    let delta = 0.04 * rise(step, if arm.llama { 140.0 } else { 60.0 }) + 0.001 * noise.normal();
    let half = |layer: u16, delta: f64| RelianceRow {
        step,
        scope: 2,
        layer,
        head: WHOLE_LAYER,
        delta,
        stderr: 0.002,
        base_loss: 2.0,
        sequences: 8,
    };
    out.push(&[half(0, 0.5 * delta), half(1, delta)])
}
