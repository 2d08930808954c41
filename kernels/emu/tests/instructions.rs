//! The emulator's matrix instructions and asynchronous copies against the PTX manual's tables.

#[path = "support/mod.rs"]
mod support;

use growthpath_emu::{Arg, Bf16, Launch, Schedule};
use support::*;

/// Where element (row, column) of a fragment lies: lane and register, and which half of it. From the figures of
/// `mma.m16n8k16` in the manual: groups of four lanes are rows, registers walk down by 8 rows, then right by 8 columns.
fn place_a(row: usize, column: usize) -> (usize, usize, usize) {
    (row % 8 * 4 + column % 8 / 2, row / 8 + 2 * (column / 8), column % 2)
}
fn place_b(row: usize, column: usize) -> (usize, usize, usize) {
    (column * 4 + row % 8 / 2, row / 8, row % 2)
}
fn place_d(row: usize, column: usize) -> (usize, usize) {
    (row % 8 * 4 + column / 2, row / 8 * 2 + column % 2)
}

fn bits(v: Bf16) -> u32 {
    v.to_f32().to_bits() >> 16
}

#[test]
fn ldmatrix_gives_every_lane_its_two_neighbours() {
    let input: Vec<Bf16> = (0..256u16).map(|i| Bf16::from_f32(f32::from(i))).collect();
    for transposed in [false, true] {
        for schedule in Schedule::ALL {
            let mut out = vec![0u32; 128];
            let args = [(&input).into(), (&mut out).into(), i32::from(transposed).into()];
            launch("instruction_ldmatrix", [1, 1, 1], [32, 1, 1], schedule, &args);
            for lane in 0..32 {
                for tile in 0..4 {
                    let at = |row: usize, column: usize| bits(input[(8 * tile + row) * 8 + column]);
                    let (g, t) = (lane / 4, lane % 4);
                    let want = if transposed {
                        at(2 * t, g) | at(2 * t + 1, g) << 16
                    } else {
                        at(g, 2 * t) | at(g, 2 * t + 1) << 16
                    };
                    assert_eq!(out[4 * lane + tile], want, "lane {lane}, tile {tile}, {transposed}");
                }
            }
        }
    }
}

#[test]
fn the_matrix_instruction_multiplies() {
    let mut rng = Rng(11);
    let a: Vec<Bf16> = rng.normals(16 * 16, 0.0, 1.0);
    let b: Vec<Bf16> = rng.normals(16 * 8, 0.0, 1.0);
    let c: Vec<f32> = rng.normals(16 * 8, 0.0, 1.0);
    let (mut ra, mut rb, mut rd) = (vec![0u32; 128], vec![0u32; 64], vec![0f32; 128]);
    for row in 0..16 {
        for k in 0..16 {
            let (lane, register, half) = place_a(row, k);
            ra[4 * lane + register] |= bits(a[16 * row + k]) << (16 * half);
        }
        for column in 0..8 {
            let (lane, register, half) = place_b(row, column);
            rb[2 * lane + register] |= bits(b[8 * row + column]) << (16 * half);
            let (lane, register) = place_d(row, column);
            rd[4 * lane + register] = c[8 * row + column];
        }
    }
    let args = [(&ra).into(), (&rb).into(), (&mut rd).into()];
    launch("instruction_mma", [1, 1, 1], [32, 1, 1], Schedule::Permuted(3), &args);
    for row in 0..16 {
        for column in 0..8 {
            let (lane, register) = place_d(row, column);
            let terms = (0..16).map(|k| a[16 * row + k].get() * b[8 * k + column].get());
            let size: f64 = terms.clone().map(f64::abs).sum::<f64>() + c[8 * row + column].get().abs();
            let want = terms.sum::<f64>() + c[8 * row + column].get();
            close("product", rd[4 * lane + register].get(), want, 17.0 * U32 * size); // 17 additions
        }
    }
}

fn run(kernel: &str, shared: usize, schedule: Schedule, args: &[Arg<'_>]) -> Result<(), String> {
    let launch = Launch { grid: [1, 1, 1], block: [64, 1, 1], shared, schedule };
    // SAFETY: the fixtures read at most 256 elements of the input and write at most 320.
    unsafe { launch.run(kernel, args) }.map_err(|e| e.to_string())
}

#[test]
fn copies_are_there_after_the_wait_and_the_barrier() {
    let input: Vec<f32> = (0..256u16).map(f32::from).collect();
    for schedule in Schedule::ALL {
        let mut out = vec![f32::NAN; 320];
        let args = [(&input).into(), (&mut out).into(), 40i32.into()];
        run("instruction_copy_async", 1280, schedule, &args).expect("runs");
        for i in 0..64 {
            let next = (i + 1) % 64;
            assert_eq!(out[4 * i..4 * i + 4], input[4 * next..4 * next + 4], "{schedule:?}");
            assert_eq!(out[256 + i], if next < 40 { input[next] } else { 0.0 }, "{schedule:?}");
        }
    }
}

#[test]
fn faulty_copies_show_in_some_order() {
    let input: Vec<f32> = (0..256u16).map(f32::from).collect();
    let outputs = |kernel: &str| {
        Schedule::ALL.map(|schedule| {
            let mut out = vec![0f32; 320];
            run(kernel, 0, schedule, &[(&input).into(), (&mut out).into()]).expect(kernel);
            out
        })
    };
    // As late as allowed: what was there before the copy, which is a NaN.
    assert!(outputs("fault_copy_not_awaited")[0][..64].iter().all(|v| v.is_nan()));
    // At once: the neighbour's copy has come before the read.
    let [late, early, _] = outputs("fault_copy_too_early");
    assert!(late[..63].iter().all(|v| *v == -1.0)); // the last thread's neighbour has waited already
    assert!(early[..64].iter().any(|v| *v != -1.0));
}

#[test]
fn faulty_copies_and_parts_are_refused() {
    let input = vec![1f32; 256];
    for (kernel, shared, says) in [
        ("fault_copy_left_under_way", 0, "ends with asynchronous copies under way"),
        ("fault_copy_unaligned", 0, "not aligned"),
        ("fault_copy_past_the_end", 0, "outside shared memory"),
        ("fault_overlapping_parts", 1024, "overlap"),
        ("fault_overlapping_parts", 300, "the launch gave 300"),
        ("fault_none", 240_000, "dynamic shared memory, not 240000"),
    ] {
        let mut out = vec![0f32; 320];
        let error =
            run(kernel, shared, Schedule::Forward, &[(&input).into(), (&mut out).into()]).expect_err(kernel);
        assert!(error.contains(says), "{kernel}: {error}");
    }
}
