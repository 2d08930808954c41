//! Whole synthetic traces, written and read back.

mod analyzed;
mod drawn;
mod hostile;
mod signals;
mod synthetic;
mod verified;

use growthpath_trace::Run;
use synthetic::{Honest, Synthetic, Tamper};

/// A small run with every table.
const SMALL: Synthetic = Synthetic {
    layers: 5,
    heads: 3,
    steps: 60,
    telemetry_every: 1,
    probe_every: 7,
    qk_norm: false,
    part_rows: 0,
    seed: 11,
};

/// A run in a folder of its own, which lasts as long as the first part of the answer.
fn run_with(size: Synthetic, tamper: &mut dyn Tamper) -> (tempfile::TempDir, Run) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    synthetic::write(&dir, size, tamper).unwrap();
    let run = Run::open(&dir).unwrap();
    (folder, run)
}

fn run_of(size: Synthetic) -> (tempfile::TempDir, Run) {
    run_with(size, &mut Honest)
}

/// Equal to rounding of sums in another order, NaN equal to NaN.
fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-11 * (1.0 + a.abs().max(b.abs()))
}

macro_rules! assert_close {
    ($a:expr, $b:expr) => {
        let (a, b) = ($a, $b);
        assert!(crate::read::tests::close(a, b), "{} is {a}, expected {b}", stringify!($a));
    };
}
use assert_close;
