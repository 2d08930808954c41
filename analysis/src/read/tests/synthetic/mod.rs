//! Random traces that satisfy every identity and bound: each head of `probe` is a real, if tiny, attention head, and all
//! its columns are computed from it.

mod attention;
mod tables;

use std::path::Path;

pub use attention::{Attention, interval_row};
use growthpath_trace::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Fraction of training over which maturity is taken, as the configuration has it.
pub const MATURITY_LAG: f64 = 0.1;

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

impl Synthetic {
    /// The lag of the configuration in steps.
    pub fn lag(&self) -> u32 {
        ((MATURITY_LAG * f64::from(self.steps)).round() as u32).max(1)
    }
}

/// Changes rows before they are written.
#[allow(unused_variables)]
pub trait Tamper {
    fn step(&mut self, row: &mut StepRow) {}
    fn head(&mut self, row: &mut HeadRow) {}
    fn write(&mut self, row: &mut WriteRow) {}
    fn eval(&mut self, row: &mut EvalRow) {}
    fn eval_loss(&mut self, row: &mut EvalLossRow) {}
    fn probe(&mut self, row: &mut ProbeRow) {}
    fn layer(&mut self, row: &mut ProbeLayerRow) {}
    fn share(&mut self, row: &mut ShareRow) {}
    fn maturity(&mut self, row: &mut MaturityRow) {}
    fn settling(&mut self, row: &mut SettlingRow) {}
    fn reliance(&mut self, row: &mut RelianceRow) {}
}

/// Changes nothing.
pub struct Honest;

impl Tamper for Honest {}

struct Head {
    w2: [f64; 2],
    attention: Attention,
}

/// A run being written.
struct Recorder<'a> {
    out: RunWriter,
    size: Synthetic,
    heads: Vec<Head>,
    rng: ChaCha8Rng,
    tamper: &'a mut dyn Tamper,
    /// Steps probed.
    probed: Vec<u32>,
}

/// Writes a run.
pub fn write(dir: &Path, size: Synthetic, tamper: &mut dyn Tamper) -> Result<()> {
    let config =
        serde_json::json!({"model": {"qk_norm": size.qk_norm}, "probe": {"maturity_lag": MATURITY_LAG}});
    let mut info = RunInfo::new(config, size.steps, size.layers, size.heads);
    info.label = "synthetic".to_owned();
    info.telemetry_every = Some(size.telemetry_every);
    let mut options = WriterOptions::default();
    if size.part_rows > 0 {
        options.flush_rows = size.part_rows;
    }
    let out = RunWriter::create_with(dir, &info, options)?;
    let mut rng = ChaCha8Rng::seed_from_u64(size.seed);
    let heads = (0..usize::from(size.layers) * usize::from(size.heads))
        .map(|_| Head {
            w2: [rng.random_range(1.0..3.0), rng.random_range(1.0..3.0)],
            attention: Attention::random(&mut rng, 1.0, 0.5),
        })
        .collect();
    let mut run = Recorder { out, size, heads, rng, tamper, probed: Vec::new() };
    for step in 0..=size.steps {
        let due = size.probe_every > 0 && (step.is_multiple_of(size.probe_every) || step.is_power_of_two());
        if due || (size.probe_every > 0 && step == size.steps) {
            run.probe(step)?;
        }
        if step.is_multiple_of(50) || step == size.steps {
            run.evaluation(step)?;
        }
        if step < size.steps {
            run.training(step)?;
            run.telemetry(step)?;
        }
    }
    run.settling()?;
    run.out.finish(Status::Complete)?;
    Ok(())
}

impl Recorder<'_> {
    fn probe(&mut self, step: u32) -> Result<()> {
        let prev = self.probed.last().copied();
        self.probed.push(step);
        let mut feature = vec![0.0; self.size.layers.into()];
        let mut rows = Vec::with_capacity(self.heads.len());
        for cell in 0..self.heads.len() {
            let (layer, head) = (cell / usize::from(self.size.heads), cell % usize::from(self.size.heads));
            let mut row = match prev {
                Some(prev) => self.interval(cell, step - prev),
                None => {
                    let first = &self.heads[cell].attention;
                    ProbeRow { spread: first.spread(), a_hat: first.predicted(), ..ProbeRow::undefined() }
                }
            };
            feature[layer] += row.gamma_f_hat / f64::from(self.size.heads);
            row.step = step;
            row.prev_step = prev.unwrap_or(step);
            (row.layer, row.head) = (layer as u16, head as u16);
            row.entropy = self.rng.random_range(0.2..0.95);
            row.sharpness = self.rng.random_range(0.0..0.5);
            row.top1 = self.rng.random_range(0.05..0.8);
            row.s_max = 4.0 * row.spread;
            self.tamper.probe(&mut row);
            rows.push(row);
        }
        self.out.probe(&rows)?;
        for layer in 0..self.size.layers {
            self.layer(step, layer)?;
            self.shares((step, layer), prev.is_some(), feature[usize::from(layer)])?;
            self.maturity(step, layer)?;
        }
        self.reliance(step)
    }

    /// Moves a head over an interval. Now and then its weights stand still, or grow too much at once to be trusted.
    fn interval(&mut self, cell: usize, steps: u32) -> ProbeRow {
        let (rng, now) = (&mut self.rng, self.heads[cell].attention);
        let next = match rng.random_range(0..100) {
            0..6 => now.moved(rng, 0.05, 0.0),
            6..10 => now.moved(rng, 0.05, 0.1).scaled(4.0),
            _ => now.moved(rng, 0.05, 0.1),
        };
        let eta = f64::from(steps) * rng.random_range(1e-3..2e-3);
        self.heads[cell].attention = next;
        interval_row(&now, &next, eta)
    }
}
