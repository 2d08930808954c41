//! Second passes, column sums and bias addition.

mod support;

use growthpath_emu::{Bf16, Schedule};
use support::*;

/// One reduction of a launch: slices, rows, columns, row width, columns that take the maximum.
struct Case(usize, usize, usize, usize, u32);

/// All of these in one launch; each is held against its own sums.
fn together(cases: &[Case]) {
    let mut rng = Rng(1);
    let inputs: Vec<Vec<f32>> = cases.iter().map(|c| rng.normals(c.0 * c.1 * c.3, 0.0, 1.0)).collect();
    for schedule in Schedule::ALL {
        let mut outputs: Vec<Vec<f32>> = cases.iter().map(|c| unwritten(c.0 * c.2)).collect();
        let task = |(c, (x, out)): (&Case, (&Vec<f32>, &mut Vec<f32>))| {
            let task = ReduceTask {
                partial: x.as_ptr(),
                out: out.as_mut_ptr(),
                rows: c.1 as i32,
                columns: c.2 as i32,
                pitch: c.3 as i32,
                max_mask: c.4,
            };
            (task, c.0)
        };
        let tasks: Vec<_> = cases.iter().zip(inputs.iter().zip(&mut outputs)).map(task).collect();
        reduce_all(&tasks, schedule);
        for (&Case(slices, rows, columns, pitch, mask), (x, out)) in
            cases.iter().zip(inputs.iter().zip(&outputs))
        {
            for s in 0..slices {
                for c in 0..columns {
                    let column = (0..rows).map(|r| x[(s * rows + r) * pitch + c].get());
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
fn partial_rows_add_up_and_masked_columns_take_the_maximum() {
    let cases = [
        Case(1, 1, 1, 1, 0),
        Case(3, 7, 6, 6, 0b10_0001),
        Case(2, 8, 33, 33, 1 << 31),
        Case(1, 257, 40, 40, 0),
        Case(5, 9, 2, 2, 0b10),
        // columns of wider rows
        Case(1, 70, 32, 64, 0),
        Case(2, 3, 5, 90, 0b100),
    ];
    for c in &cases {
        together(std::slice::from_ref(c));
    }
    together(&cases);
    // as many as a launch takes
    let full: Vec<Case> =
        (0..32).map(|i| Case(1 + i % 3, 1 + 7 * i, 1 + 11 * i, 1 + 12 * i, i as u32)).collect();
    together(&full);
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
