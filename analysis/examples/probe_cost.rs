//! Prints what one probe costs at the micro size: `cargo run --release --example probe_cost`.
//!
//! Eight layers of width 128 with four heads, four probe sequences of 128 tokens. Medians over
//! repetitions, all layers, on the threads that rayon uses (`RAYON_NUM_THREADS`).

use std::hint::black_box;
use std::time::Instant;

use faer::Mat;
use growthpath_analysis::statistics::median;
use growthpath_analysis::{
    EnergySensitivity, Geometry, LayerProbe, LayerState, Positions, layer_intervals, prepare_layers,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

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

fn main() -> growthpath_analysis::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, width, positions) in
        [("gpt", WIDTH + 1, Positions::Plain), ("llama", WIDTH, Positions::Rope { base: 1e4 })]
    {
        let geometry = Geometry { heads: HEADS, head_dim: WIDTH / HEADS, positions };
        let (prev, next) = (states(&mut rng, width), states(&mut rng, width));
        let eta = vec![vec![1e-3; HEADS]; LAYERS];
        let before: Vec<LayerProbe> = prepare_layers(prev.clone(), geometry)?;
        let after: Vec<LayerProbe> = prepare_layers(next.clone(), geometry)?;
        layer_intervals(&before, &after, &eta)?;
        let prepare = milliseconds(|| prepare_layers(next.clone(), geometry));
        let interval = milliseconds(|| layer_intervals(&before, &after, &eta));
        let energy = milliseconds(|| {
            before.iter().zip(&after).map(|(a, b)| EnergySensitivity::between(a, b)).collect::<Vec<_>>()
        });
        println!(
            "{name}: prepare {prepare:.1} ms, interval {interval:.1} ms, energy attribution {energy:.1} ms \
             for {LAYERS} layers on {} threads",
            rayon::current_num_threads()
        );
    }
    Ok(())
}
