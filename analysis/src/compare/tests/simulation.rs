//! Simulated studies: two arms that differ in nothing that matters, trained with several seeds. Used by tests and by
//! the example `simulated_studies`.
//!
//! The two runs of a seed share what the seed does to both (order of the data), and each has chance of its own
//! (initialization, rounding), drawn from one distribution for both arms: the true value of every difference between the
//! arms is zero. Losses are a common trend, plus what is the run's, plus the difficulty of each evaluation
//! sequence, which both runs meet, plus noise of each sequence and evaluation.

use std::path::Path;

use growthpath_trace::{EvalLossRow, EvalRow, ProbeRow, Run, RunInfo, RunWriter, Status};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Sequences of an evaluation.
pub const SEQUENCES: u32 = 16;
/// Steps between evaluations, and their number.
const EVERY: u32 = 50;
const EVALUATIONS: u32 = 13;
const TOKENS_A_STEP: u64 = 2048;
const LAYERS: u16 = 2;
const HEADS: u16 = 2;
const PROBES: [u32; 4] = [0, 2, 5, 10];

/// One run, not yet written.
pub struct SimulatedRun {
    pub info: RunInfo,
    pub probes: Vec<ProbeRow>,
    pub evals: Vec<EvalRow>,
    pub losses: Vec<EvalLossRow>,
    /// The loss at each evaluation over infinitely many sequences.
    pub truth: Vec<EvalRow>,
}

fn normal(rng: &mut ChaCha8Rng, deviation: f64) -> f64 {
    let z: f64 = StandardNormal.sample(rng);
    deviation * z
}

/// The two runs of one seed of one study. The same numbers give the same runs.
pub fn pair(study: u64, seed: u64) -> [SimulatedRun; 2] {
    let rng = &mut ChaCha8Rng::seed_from_u64(study * 1_000 + seed);
    let shared = [normal(rng, 0.03), normal(rng, 0.3)];
    // The same sequences in every study, as a validation set is.
    let mut of_text = ChaCha8Rng::seed_from_u64(0);
    let difficulty: Vec<f64> = (0..SEQUENCES).map(|_| normal(&mut of_text, 0.35)).collect();
    ["A", "B"].map(|label| {
        let (evals, losses, truth) = evaluations(rng, shared[0], &difficulty);
        let probes = probes(rng, shared[1]);
        let config = serde_json::json!({"seed": seed, "model": {"layers": LAYERS, "context": 128}});
        let mut info = RunInfo::new(config, EVERY * (EVALUATIONS - 1), LAYERS, HEADS);
        info.label = label.to_owned();
        info.seeds.insert("model".into(), seed);
        info.data_blake3.insert("streams".into(), "simulated".into());
        SimulatedRun { info, probes, evals, losses, truth }
    })
}

fn evaluations(
    rng: &mut ChaCha8Rng,
    shared: f64,
    difficulty: &[f64],
) -> (Vec<EvalRow>, Vec<EvalLossRow>, Vec<EvalRow>) {
    let own = normal(rng, 0.02);
    let taste: Vec<f64> = difficulty.iter().map(|_| normal(rng, 0.02)).collect();
    let (mut evals, mut losses, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for step in (0..EVALUATIONS).map(|i| i * EVERY) {
        let tokens = u64::from(step) * TOKENS_A_STEP;
        let trained = f64::from(step) / f64::from(EVERY * (EVALUATIONS - 1));
        let trend = 2.4 + 3.8 * (1.0 + tokens as f64 / 20_000.0).powf(-0.6);
        let loss = trend + trained.sqrt() * (shared + own + normal(rng, 0.008));
        let each: Vec<f64> =
            difficulty.iter().zip(&taste).map(|(d, t)| loss + d + t + normal(rng, 0.03)).collect();
        let n = each.len() as f64;
        let mean = each.iter().sum::<f64>() / n;
        let variance = each.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let row = EvalRow { step, tokens, loss: mean, stderr: (variance / n).sqrt(), sequences: SEQUENCES };
        evals.push(row);
        truth.push(EvalRow { loss, ..row });
        losses.extend((0..).zip(&each).map(|(sequence, loss)| EvalLossRow { step, sequence, loss: *loss }));
    }
    (evals, losses, truth)
}

/// Factors of growth, lognormal around the seed's and the run's, and predicted spreads that follow their recursion
/// (5.4); measured growth is the predicted one but for noise.
fn probes(rng: &mut ChaCha8Rng, shared: f64) -> Vec<ProbeRow> {
    let own: [f64; 4] = std::array::from_fn(|_| normal(rng, 0.2));
    let mut spreads = vec![0.5 * (shared + own[3]).exp(); usize::from(LAYERS * HEADS)];
    let mut rows = Vec::new();
    for (i, &step) in PROBES.iter().enumerate() {
        for (layer, head) in (0..LAYERS).flat_map(|l| (0..HEADS).map(move |h| (l, h))) {
            let a = &mut spreads[usize::from(layer * HEADS + head)];
            let mut row = ProbeRow { step, layer, head, a_hat: *a, ..ProbeRow::undefined() };
            row.prev_step = PROBES[i.saturating_sub(1)];
            // The first probe has no interval before it.
            if i > 0 {
                let mut factor = |run: f64| (shared + run + normal(rng, 0.1)).exp();
                (row.eta, row.u, row.e) = (1e-3, factor(own[0]), 10.0 * factor(own[1]));
                row.c0 = 0.3 + 0.2 * own[2] + 0.1 * shared + normal(rng, 0.03);
                row.feature_step = normal(rng, 0.02);
                row.dm_i = row.eta * row.u;
                let x = row.dm_i * row.e / *a;
                let growth = 0.5 * (2.0 * x * row.c0 + x * x).ln_1p() + row.feature_step;
                row.a_hat_prev = *a;
                *a *= growth.exp();
                row.a_hat = *a;
                (row.gamma_q, row.gamma_k) =
                    (0.6 * growth + normal(rng, 0.01), 0.5 * growth + normal(rng, 0.01));
                row.gamma_f = -0.1 * growth + normal(rng, 0.01);
                row.gamma = row.gamma_q + row.gamma_k + row.gamma_f;
            }
            row.spread = row.a_hat;
            row.spread_prev = row.a_hat_prev;
            rows.push(row);
        }
    }
    rows
}

impl SimulatedRun {
    /// Writes the run to a new directory and opens it.
    pub fn write(&self, dir: &Path) -> growthpath_trace::Result<Run> {
        let mut writer = RunWriter::create(dir, &self.info)?;
        writer.probe(&self.probes)?;
        writer.eval_losses(&self.losses)?;
        for eval in &self.evals {
            writer.evals(*eval)?;
        }
        writer.finish(Status::Complete)?;
        Run::open(dir)
    }
}
