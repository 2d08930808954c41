//! Comparisons of synthetic runs against brute force.

mod brute;
mod losses;
mod refusals;
mod results;
mod simulated;
mod simulation;

use growthpath_trace::{
    EvalLossRow, EvalRow, ProbeRow, Run, RunInfo, RunWriter, Status, StepRow, WriterOptions,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::compare::{Comparison, Layers, compare};

/// A run to be written.
pub struct Plan {
    pub info: RunInfo,
    /// Steps of the probes.
    pub probes: Vec<u32>,
    pub rows: Vec<ProbeRow>,
    pub evals: Vec<EvalRow>,
    /// Losses of single sequences.
    pub losses: Vec<EvalLossRow>,
}

/// A plausible run: factors from wide ranges, rates that are their products.
pub fn plan(seed: u64, layers: u16, heads: u16, probes: &[u32]) -> Plan {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut info =
        RunInfo::new(serde_json::json!({"seed": seed, "model": {"layers": layers}}), 100, layers, heads);
    info.label = format!("arm-{seed}");
    info.data_blake3.insert("streams".into(), "d1".into());
    info.tokenizer_blake3 = Some("t1".into());
    let mut rows = Vec::new();
    for (i, &step) in probes.iter().enumerate() {
        let prev_step = if i == 0 { step } else { probes[i - 1] };
        for (layer, head) in (0..layers).flat_map(|l| (0..heads).map(move |h| (l, h))) {
            rows.push(random_row(&mut rng, (prev_step, step), layer, head));
        }
    }
    Plan { info, probes: probes.to_vec(), rows, evals: Vec::new(), losses: Vec::new() }
}

fn random_row(rng: &mut ChaCha8Rng, (prev_step, step): (u32, u32), layer: u16, head: u16) -> ProbeRow {
    let mut row = ProbeRow { step, prev_step, layer, head, a_hat: 1.0, ..ProbeRow::default() };
    if prev_step == step {
        let nan = f64::NAN;
        (row.eta, row.u, row.e, row.c, row.g_hat, row.gamma, row.a_hat_prev) =
            (nan, nan, nan, nan, nan, nan, nan);
        return row;
    }
    row.eta = rng.random_range(1e-4..1e-2);
    row.u = rng.random_range(0.1..10.0);
    row.e = rng.random_range(0.5..50.0);
    row.c = rng.random_range(-1.0..1.0);
    row.a_hat_prev = rng.random_range(0.01..3.0);
    row.gamma = rng.random_range(-0.5..0.5);
    row.g_hat = row.eta * row.u * row.e * row.c / row.a_hat_prev;
    row
}

impl Plan {
    /// Row of a (probe, layer, head).
    pub fn row(&mut self, probe: usize, layer: u16, head: u16) -> &mut ProbeRow {
        let step = self.probes[probe];
        self.rows.iter_mut().find(|r| (r.step, r.layer, r.head) == (step, layer, head)).unwrap()
    }

    /// Writes the run in many small parts, so that probes straddle batches.
    pub fn write(&self) -> (TempDir, Run) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let options = WriterOptions { flush_rows: 40, ..WriterOptions::default() };
        let mut writer = RunWriter::create_with(&path, &self.info, options).unwrap();
        for (i, chunk) in self.rows.chunks(3).enumerate() {
            writer.steps(StepRow { step: i as u32, ..StepRow::default() }).unwrap();
            writer.probe(chunk).unwrap();
        }
        writer.eval_losses(&self.losses).unwrap();
        for eval in &self.evals {
            writer.evals(*eval).unwrap();
        }
        writer.finish(Status::Complete).unwrap();
        let run = Run::open(&path).unwrap();
        (dir, run)
    }
}

pub fn eval(step: u32, loss: f64, stderr: f64) -> EvalRow {
    EvalRow { step, tokens: 1000 * u64::from(step), loss, stderr, sequences: 8 }
}

/// Equal to a relative tolerance, of the larger or of a scale for differences that cancel.
pub fn close(a: f64, b: f64, scale: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs()).max(scale)
}

/// Writes two runs and compares all their layers.
pub fn compared(a: &Plan, b: &Plan) -> Comparison {
    let ((_a, run_a), (_b, run_b)) = (a.write(), b.write());
    compare(&run_a, &run_b, Layers::All, ..).unwrap()
}
