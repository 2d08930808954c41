//! The causal average against float64.

mod support;

use growthpath_emu::{Bf16, Schedule};
use support::*;

fn check<S: Storage>(batch: usize, seq: usize, heads: usize, dh: usize) {
    let mut rng = Rng((batch * 1000 + seq) as u64);
    let width = heads * dh;
    let qkv = rng.normals::<S>(batch * seq * 3 * width, 0.2, 1.0);
    let flags: Vec<u32> = (0..heads as u32).map(|h| h % 2).collect();
    for schedule in Schedule::ALL {
        let mut out = unwritten::<S>(batch * seq * width);
        launch(
            &format!("attention_uniform_{}", S::NAME),
            [heads as u32, batch as u32, 1],
            [dh as u32, 1, 1],
            schedule,
            &[
                (&qkv).into(),
                (&flags).into(),
                (&mut out).into(),
                (heads as i32).into(),
                (seq as i32).into(),
                (dh as i32).into(),
            ],
        );
        for (b, h, c) in
            (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..dh).map(move |c| (b, h, c))))
        {
            let mut sum = 0.0;
            for t in 0..seq {
                let token = b * seq + t;
                sum += qkv[token * 3 * width + 2 * width + h * dh + c].get();
                let got = out[token * width + h * dh + c].get();
                if flags[h] == 0 {
                    assert!(got.is_nan(), "a head that is not marked keeps what it holds");
                    continue;
                }
                let want = sum / (t + 1) as f64;
                // one float64 sum, rounded to float32 and to the storage type
                close("mean", got, want, (U32 + S::U) * want.abs() * 1.01 + 1e-12);
            }
        }
    }
}

#[test]
fn float() {
    check::<f32>(2, 37, 3, 32);
    check::<f32>(1, 5, 2, 128);
}

#[test]
fn bf16() {
    check::<Bf16>(2, 20, 2, 64);
}
