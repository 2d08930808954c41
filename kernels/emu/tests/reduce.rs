//! Second passes, column sums and bias addition.

mod support;

use growthpath_emu::{Bf16, Schedule};
use support::*;

#[test]
fn partial_rows_add_up_and_masked_columns_take_the_maximum() {
    let mut rng = Rng(1);
    for (slices, rows, columns, mask) in
        [(1, 1, 1, 0), (3, 7, 6, 0b10_0001), (2, 8, 33, 1 << 31), (1, 257, 40, 0), (5, 9, 2, 0b10)]
    {
        let x = rng.normals::<f32>(slices * rows * columns, 0.0, 1.0);
        for schedule in Schedule::ALL {
            let mut out = unwritten::<f32>(slices * columns);
            launch(
                "reduce_partials",
                [blocks(columns, 32), slices as u32, 1],
                [32, 32, 1],
                schedule,
                &[
                    (&x).into(),
                    (&mut out).into(),
                    (rows as i32).into(),
                    (columns as i32).into(),
                    (mask as u32).into(),
                ],
            );
            for s in 0..slices {
                for c in 0..columns {
                    let column = (0..rows).map(|r| x[(s * rows + r) * columns + c].get());
                    let got = out[s * columns + c].get();
                    if c < 32 && mask >> c & 1 == 1 {
                        assert_eq!(got, column.fold(f64::NEG_INFINITY, f64::max));
                    } else {
                        // float64 sums, one rounding to float32
                        let want: f64 = column.sum();
                        close("sum", got, want, 1.01 * U32 * want.abs() + 1e-12);
                    }
                }
            }
        }
    }
}

#[test]
fn a_nan_partial_is_not_lost_in_a_maximum() {
    for at in 0..12 {
        let mut x = vec![1f32; 12];
        x[at] = f32::NAN;
        assert!(reduce(&x, 1, 12, 1, 1)[0].is_nan(), "row {at}");
    }
}

#[test]
fn column_energy_is_the_squared_norm_of_the_mean() {
    let mut rng = Rng(2);
    for (rows, n) in [(1, 1), (3, 255), (2, 256), (5, 1000)] {
        let x = rng.normals::<f32>(rows * n, 3.0, 1.0);
        let mut out = unwritten::<f32>(rows);
        launch(
            "column_energy",
            [rows as u32, 1, 1],
            [256, 1, 1],
            Schedule::Permuted(1),
            &[(&x).into(), (&mut out).into(), (n as i32).into(), 0.125f32.into()],
        );
        for (x, out) in x.chunks(n).zip(&out) {
            let want: f64 = x.iter().map(|v| (v.get() / 8.0).powi(2)).sum();
            // scaling, squaring, n / 256 additions a thread, ten in the trees
            close("energy", out.get(), want, (n as f64 / 256.0 + 13.0) * U32 * want);
        }
    }
}

#[test]
fn rounding_to_bf16_is_to_nearest_even() {
    let mut rng = Rng(8);
    for (n, blocks) in [(4, 1), (1024, 1), (4100, 3), (12, 5)] {
        let x = rng.normals::<f32>(n, 0.1, 7.0);
        let mut out = unwritten::<Bf16>(n);
        launch(
            "round_bf16",
            [blocks, 1, 1],
            [256, 1, 1],
            Schedule::Reverse,
            &[(&x).into(), (&mut out).into(), (n as u64).into()],
        );
        for (x, out) in x.iter().zip(&out) {
            assert_eq!(*out, Bf16::from_f32(*x));
        }
    }
}

fn columns<S: Storage>() {
    let mut rng = Rng(3);
    for (rows, c, parts) in [(1, 4, 1), (5, 8, 3), (37, 520, 4), (64, 36, 64), (3, 1028, 2)] {
        let x = rng.normals::<S>(rows * c, 0.5, 1.0);
        for schedule in Schedule::ALL {
            let mut partial = unwritten::<f32>(parts * c);
            launch(
                &format!("column_sum_{}", S::NAME),
                [blocks(c, columns_a_block(c)), parts as u32, 1],
                [128, 1, 1],
                schedule,
                &[(&x).into(), (&mut partial).into(), (rows as i32).into(), (c as i32).into()],
            );
            let out = reduce(&partial, 1, parts, c, 0);
            for j in 0..c {
                let column = (0..rows).map(|r| x[r * c + j].get());
                let size: f64 = column.clone().map(f64::abs).sum();
                close("column", out[j].get(), column.sum(), (rows as f64 + 1.0) * U32 * size);
            }
        }
    }
}

fn bias<S: Storage>() {
    let mut rng = Rng(4);
    for (rows, c) in [(1, 4), (7, 20), (3, 1040)] {
        let x = rng.normals::<S>(rows * c, 0.0, 1.0);
        let b = rng.normals::<f32>(c, 0.0, 1.0);
        let mut y = x.clone();
        launch(
            &format!("bias_add_{}", S::NAME),
            [blocks(c, columns_a_block(c)), 2, 1],
            [128, 1, 1],
            Schedule::Reverse,
            &[(&mut y).into(), (&b).into(), (rows as i32).into(), (c as i32).into()],
        );
        for (i, (y, x)) in y.iter().zip(&x).enumerate() {
            // one float32 addition, one rounding: reproducible to the bit
            assert_eq!(y.get(), S::new(x.get32() + b[i % c]).get());
        }
    }
}

#[test]
fn column_sums() {
    columns::<f32>();
    columns::<Bf16>();
}

#[test]
fn bias_addition() {
    bias::<f32>();
    bias::<Bf16>();
}
