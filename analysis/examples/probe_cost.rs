//! Prints what one probe costs at the micro size: `cargo run --release --example probe_cost`.
//!
//! Eight layers of width 128 with four heads, four probe sequences of 128 tokens. Medians over
//! repetitions, all layers, on the threads that rayon uses (`RAYON_NUM_THREADS`).

use std::hint::black_box;
use std::time::Instant;

use faer::Mat;
use growthpath_analysis::statistics::median;
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, Geometry, LayerChange, LayerProbe, LayerState, Positions, Result,
    prepare_layers,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const LAYERS: usize = 8;
const WIDTH: usize = 128;
const HEADS: usize = 4;
const LENGTH: usize = 128;
const SEQUENCES: usize = 4;
const REPETITIONS: usize = 15;

fn matrix(rng: &mut ChaCha8Rng, rows: usize, cols: usize, scale: f64) -> Mat<f64> {
    Mat::from_fn(rows, cols, |_, _| scale * (rng.random::<f64>() - 0.5))
}

fn states(rng: &mut ChaCha8Rng, width: usize) -> Vec<LayerState> {
    (0..LAYERS)
        .map(|_| LayerState {
            x: (0..SEQUENCES).map(|_| matrix(rng, LENGTH, width, 3.5)).collect(),
            wq: matrix(rng, width, WIDTH, 0.3),
            wk: matrix(rng, width, WIDTH, 0.3),
        })
        .collect()
}

/// Median milliseconds of a call.
fn milliseconds<T>(mut call: impl FnMut() -> T) -> f64 {
    let times: Vec<f64> = (0..REPETITIONS)
        .map(|_| {
            let start = Instant::now();
            black_box(call());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    median(&times)
}

fn main() -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, width, positions) in
        [("gpt", WIDTH + 1, Positions::Plain), ("llama", WIDTH, Positions::Rope { base: 1e4 })]
    {
        let geometry = Geometry { heads: HEADS, head_dim: WIDTH / HEADS, positions };
        let (prev, next) = (states(&mut rng, width), states(&mut rng, width));
        let eta = vec![1e-3; HEADS];
        let before: Vec<LayerProbe> = prepare_layers(prev.clone(), geometry)?;
        let after: Vec<LayerProbe> = prepare_layers(next.clone(), geometry)?;
        let changes = || {
            before
                .par_iter()
                .zip(&after)
                .map(|(a, b)| a.change_to(b))
                .collect::<Result<Vec<LayerChange<'_>>>>()
        };
        let made = changes()?;
        let intervals = || made.par_iter().map(|c| c.interval(&eta)).collect::<Result<Vec<_>>>();
        intervals()?;
        let costs = [
            ("prepare", milliseconds(|| prepare_layers(next.clone(), geometry))),
            ("change", milliseconds(changes)),
            ("interval", milliseconds(intervals)),
            (
                "energy attribution",
                milliseconds(|| made.par_iter().map(EnergySensitivity::of).collect::<Vec<_>>()),
            ),
            (
                "drift attribution",
                milliseconds(|| made.par_iter().map(DriftSensitivity::of).collect::<Vec<_>>()),
            ),
        ];
        let parts: Vec<String> = costs.iter().map(|(what, ms)| format!("{what} {ms:.1} ms")).collect();
        println!(
            "{name}: {}; {:.1} ms in all for {LAYERS} layers on {} threads",
            parts.join(", "),
            costs.iter().map(|c| c.1).sum::<f64>(),
            rayon::current_num_threads()
        );
    }
    Ok(())
}
