//! Embeddings and their gradients.

mod support;

use growthpath_emu::{Arg, Bf16, Schedule};
use support::*;

fn forward<S: Storage>(batch: usize, seq: usize, v: usize, d: usize, positions: bool, schedule: Schedule) {
    let mut rng = Rng((seq * 1000 + d) as u64);
    let n = batch * seq;
    let wte = rng.normals::<f32>(v * d, 0.0, 1.0);
    let wpe = positions.then(|| rng.normals::<f32>(seq * d, 0.0, 1.0));
    let tokens: Vec<u32> = (0..n).map(|_| rng.below(v) as u32).collect();
    let mut out = unwritten::<S>(n * d);
    launch(
        &format!("embedding_fwd_{}", S::NAME),
        [blocks(d, 512), n.min(3) as u32, 1],
        [128, 1, 1],
        schedule,
        &[
            (&tokens).into(),
            (&wte).into(),
            wpe.as_ref().into(),
            (&mut out).into(),
            (n as i32).into(),
            (d as i32).into(),
            (seq as i32).into(),
        ],
    );
    for i in 0..n {
        for c in 0..d {
            let p = wpe.as_ref().map_or(0.0, |p| p[i % seq * d + c]);
            // one addition and one rounding: to the bit
            assert_eq!(out[i * d + c].get(), S::new(wte[tokens[i] as usize * d + c] + p).get());
        }
    }
}

fn backward<S: Storage>(batch: usize, seq: usize, v: usize, d: usize, schedule: Schedule) {
    let mut rng = Rng(5 + (seq * 1000 + d) as u64);
    let n = batch * seq;
    // Skewed, so that some tokens come often and some never.
    let tokens: Vec<u32> = (0..n).map(|_| (rng.uniform().powi(3) * v as f64) as u32).collect();
    let dout = rng.normals::<S>(n * d, 0.0, 1.0);
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|i| tokens[*i as usize]);
    let mut segments = Vec::new();
    for (k, i) in order.iter().enumerate() {
        if segments.last() != Some(&tokens[*i as usize]) {
            segments.extend([k as u32, tokens[*i as usize]]);
        }
    }
    let count = vec![segments.len() as u32 / 2];
    segments.push(n as u32);
    // As with a tied head: a gradient is there already, also in rows of absent tokens.
    let old = rng.normals::<f32>(v * d, 0.0, 1.0);
    let mut dwte = old.clone();
    launch(
        &format!("embedding_bwd_{}", S::NAME),
        // fewer blocks than segments, as many, more: all come to the same
        [1 + rng.below(2 * count[0] as usize) as u32, blocks(d, 128), 1],
        [32, 8, 1],
        schedule,
        &[
            (&dout).into(),
            (&order).into(),
            (&segments).into(),
            (&count).into(),
            (&mut dwte).into(),
            (d as i32).into(),
        ],
    );
    for t in 0..v {
        let rows: Vec<usize> = (0..n).filter(|i| tokens[*i] as usize == t).collect();
        for c in 0..d {
            let terms = rows.iter().map(|i| dout[i * d + c].get()).chain([old[t * d + c].get()]);
            let size: f64 = terms.clone().map(f64::abs).sum();
            close("dwte", dwte[t * d + c].get(), terms.sum(), rows.len() as f64 * U32 * size);
        }
    }
    let mut dwpe = unwritten::<f32>(seq * d);
    let sizes: [Arg<'_>; 3] = [(batch as i32).into(), (seq as i32).into(), (d as i32).into()];
    launch(
        &format!("position_bwd_{}", S::NAME),
        [blocks(d, 512), seq.min(4) as u32, 1],
        [128, 1, 1],
        schedule,
        &[(&dout).into(), (&mut dwpe).into(), sizes[0], sizes[1], sizes[2]],
    );
    for t in 0..seq {
        for c in 0..d {
            let terms = (0..batch).map(|b| dout[(b * seq + t) * d + c].get());
            let size: f64 = terms.clone().map(f64::abs).sum();
            close("dwpe", dwpe[t * d + c].get(), terms.sum(), batch as f64 * U32 * size);
        }
    }
}

fn all<S: Storage>() {
    for (batch, seq, v, d) in [(1, 1, 1, 4), (2, 7, 11, 8), (3, 50, 17, 136), (1, 33, 5, 520)] {
        for schedule in Schedule::ALL {
            forward::<S>(batch, seq, v, d, true, schedule);
            forward::<S>(batch, seq, v, d, false, schedule);
            backward::<S>(batch, seq, v, d, schedule);
        }
    }
}

#[test]
fn float() {
    all::<f32>();
}

#[test]
fn bf16() {
    all::<Bf16>();
}
