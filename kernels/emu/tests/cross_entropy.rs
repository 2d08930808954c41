//! Softmax cross-entropy against float64.

mod support;

use growthpath_emu::{Bf16, Schedule};
use support::*;

/// Both kernels: the one that holds a row in shared memory, and the one that reads it twice.
const HELD: [bool; 2] = [true, false];

#[allow(clippy::too_many_arguments)]
fn run<S: Storage>(
    held: bool,
    logits: &mut [S],
    v: usize,
    targets: &[u32],
    parts: usize,
    threads: u32,
    scale: f32,
    schedule: Schedule,
) -> (Vec<f32>, Vec<f32>) {
    let n = targets.len();
    let pitch = logits.len() / n;
    let (mut partial, mut rows) = (unwritten::<f32>(2 * parts), unwritten::<f32>(n));
    launch_shared(
        &format!("cross_entropy_{}{}", if held { "held_" } else { "" }, S::NAME),
        [parts as u32, 1, 1],
        [threads, 1, 1],
        if held { pitch * size_of::<S>() } else { 0 },
        schedule,
        &[
            logits.into(),
            (&targets.to_vec()).into(),
            (&mut partial).into(),
            (&mut rows).into(),
            (n as i32).into(),
            (v as i32).into(),
            (pitch as i32).into(),
            scale.into(),
        ],
    );
    (reduce(&partial, 1, parts, 2, 0b10), rows)
}

fn check<S: Storage>(
    held: bool,
    (n, v, parts, threads): (usize, usize, usize, u32),
    std: f64,
    schedule: Schedule,
) {
    let mut rng = Rng((n * 100_003 + v) as u64);
    // Columns past the vocabulary hold anything before and zeros after.
    let pitch = v.next_multiple_of(8) + 8 * (v % 2);
    let mut logits = rng.normals::<S>(n * pitch, 5.0, std);
    let targets: Vec<u32> = (0..n).map(|_| rng.below(v) as u32).collect();
    let before = f64s(&logits);
    let scale = 0.37f32;
    let (totals, rows) = run(held, &mut logits, v, &targets, parts, threads, scale, schedule);
    let (mut loss, mut loss_error, mut peak) = (0.0, 0.0, f64::NEG_INFINITY);
    for r in 0..n {
        let row = &before[r * pitch..r * pitch + v];
        assert!(logits[r * pitch + v..(r + 1) * pitch].iter().all(|x| x.get() == 0.0), "padding");
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
        peak = peak.max(top);
        // Sum of positive terms: v / threads additions, rescalings and ten tree levels, each a rounding; arguments
        // of exp are off by a rounding of the distance.
        let reach = row.iter().map(|x| (x - top).abs()).fold(0.0, f64::max);
        let steps = 3.0 * (v as f64 / f64::from(threads)).ceil() + 20.0 + reach;
        let lse_error = steps * U32 + 2.0 * U32 * (lse.abs() + top.abs());
        let want = lse - row[targets[r] as usize];
        let row_error = lse_error + U32 * want.abs();
        close("row loss", rows[r].get(), want, row_error);
        loss += want;
        loss_error += row_error + U32 * n as f64 * want.abs();
        for c in 0..v {
            let p = (row[c] - lse).exp();
            let hot = f64::from(u8::from(c == targets[r] as usize));
            let want = (p - hot) * f64::from(scale);
            let own = p * (lse_error + 2.0 * U32 * (row[c] - lse).abs() + 4.0 * U32) + 3.0 * U32 * hot;
            close(
                "gradient",
                logits[r * pitch + c].get(),
                want,
                f64::from(scale) * own + 1.01 * S::U * want.abs(),
            );
        }
    }
    close("loss", totals[0].get(), loss, loss_error);
    assert_eq!(totals[1].get(), peak);
}

fn all<S: Storage>() {
    for (n, v, parts, threads) in [
        (1, 1, 1, 32),
        (2, 3, 1, 512),
        (5, 257, 2, 64),
        (3, 1031, 3, 512),
        (7, 512, 4, 128),
        (2, 5003, 3, 512),
    ] {
        for std in [0.1, 1.0, 12.0] {
            for schedule in Schedule::ALL {
                for held in HELD {
                    check::<S>(held, (n, v, parts, threads), std, schedule);
                }
            }
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

/// Rows of `v` columns at a pitch of eight.
fn padded(values: &[f32], v: usize) -> Vec<f32> {
    values.chunks(v).flat_map(|r| r.iter().copied().chain(std::iter::repeat_n(7.0, 8 - v))).collect()
}

#[test]
fn a_row_may_hold_minus_infinity() {
    for held in HELD {
        let mut logits = padded(&[f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 1.0], 4);
        let (totals, _) = run(held, &mut logits, 4, &[1], 1, 32, 1.0, Schedule::Forward);
        close("loss", totals[0].get(), 2f64.ln(), 1e-6);
        assert_eq!(totals[1], 1.0);
        for (got, want) in logits.iter().zip([0.0, -0.5, 0.0, 0.5]) {
            close("gradient", got.get(), want, 1e-6);
        }
    }
}

#[test]
fn a_target_outside_the_vocabulary_or_a_nan_cannot_pass() {
    for held in HELD {
        let mut logits = padded(&[0f32; 10], 5);
        let (totals, rows) = run(held, &mut logits, 5, &[5, 2], 1, 32, 1.0, Schedule::Forward);
        assert!(totals[0].is_nan() && rows[0].is_nan() && rows[1].is_finite());
        assert!(logits[..5].iter().all(|v| v.is_nan()) && logits[5..].iter().all(|v| v.is_finite()));
        let mut logits = padded(&[0.0, f32::NAN, 0.0], 3);
        let (totals, _) = run(held, &mut logits, 3, &[0], 1, 32, 1.0, Schedule::Forward);
        assert!(totals[0].is_nan() && totals[1].is_nan());
    }
}
