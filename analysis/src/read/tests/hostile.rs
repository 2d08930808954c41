//! Traces in many parts, and traces full of what should not be there.

use growthpath_trace::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::synthetic::{Synthetic, Tamper};
use super::{SMALL, run_of, run_with};
use crate::read::{analyze, series, verify};

#[test]
fn where_parts_end_makes_no_difference() {
    let (_one, whole) = run_of(SMALL);
    let (_many, parts) = run_of(Synthetic { part_rows: 40, ..SMALL });
    assert!(parts.parts().len() > 5 * whole.parts().len());
    for window in [None, Some(0..1), Some(5..57), Some(8..14), Some(59..61)] {
        let json = |run: &Run| serde_json::to_string(&analyze(run, window.clone()).unwrap()).unwrap();
        assert_eq!(json(&whole), json(&parts), "{window:?}");
    }
    for points in [1, 13, 500] {
        let json = |run: &Run| serde_json::to_string(&series(run, points).unwrap()).unwrap();
        assert_eq!(json(&whole), json(&parts));
    }
    assert_eq!(verify(&whole).unwrap().checks, verify(&parts).unwrap().checks);
}

/// Puts NaN, infinities, huge, tiny and negative numbers into every column.
struct Chaos(ChaCha8Rng);

impl Chaos {
    fn shake<R: Row>(&mut self, row: &mut R) {
        let mut bits = row.bits();
        for (cell, column) in bits.iter_mut().zip(R::COLUMNS) {
            if column.role == Role::Key || !self.0.random_bool(0.2) {
                continue;
            }
            let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1e300, -1e-300];
            let value = values[self.0.random_range(0..values.len())];
            *cell = match column.cell {
                CellType::F32 => u64::from((value as f32).to_bits()),
                CellType::F64 => value.to_bits(),
                CellType::U32 => u64::from(self.0.random::<u32>()),
                _ => *cell,
            };
        }
        *row = R::from_bits(&bits).unwrap();
    }
}

impl Tamper for Chaos {
    fn step(&mut self, row: &mut StepRow) {
        self.shake(row);
    }
    fn head(&mut self, row: &mut HeadRow) {
        self.shake(row);
    }
    fn write(&mut self, row: &mut WriteRow) {
        self.shake(row);
    }
    fn probe(&mut self, row: &mut ProbeRow) {
        self.shake(row);
    }
    fn layer(&mut self, row: &mut ProbeLayerRow) {
        self.shake(row);
    }
    fn share(&mut self, row: &mut ShareRow) {
        self.shake(row);
    }
    fn eval(&mut self, row: &mut EvalRow) {
        self.shake(row);
    }
    fn eval_loss(&mut self, row: &mut EvalLossRow) {
        self.shake(row);
    }
    fn maturity(&mut self, row: &mut MaturityRow) {
        self.shake(row);
    }
    fn settling(&mut self, row: &mut SettlingRow) {
        self.shake(row);
    }
    fn reliance(&mut self, row: &mut RelianceRow) {
        self.shake(row);
    }
}

#[test]
fn numbers_that_make_no_sense_are_found_and_break_nothing() {
    for seed in 0..8 {
        let (_folder, run) = run_with(SMALL, &mut Chaos(ChaCha8Rng::seed_from_u64(seed)));
        assert!(!verify(&run).unwrap().ok());
        for window in [None, Some(8..40)] {
            assert!(serde_json::to_string(&analyze(&run, window).unwrap()).is_ok());
        }
        let drawn = series(&run, 20).unwrap();
        assert!(drawn.train_loss.values.len() == 20 && serde_json::to_string(&drawn).is_ok());
    }
}

#[test]
fn rows_outside_the_model_are_left_out() {
    // The rows are those of a larger model than run.json says.
    let (folder, run) = run_of(SMALL);
    growthpath_trace::RunInfo::rewrite(run.dir(), |i| (i["layers"], i["heads"]) = (2.into(), 2.into()))
        .unwrap();
    let small = Run::open(run.dir()).unwrap();
    assert!(!verify(&small).unwrap().ok());
    let (got, all) = (analyze(&small, None).unwrap(), analyze(&run, None).unwrap());
    assert_eq!(got.layers.len(), 2);
    assert!(got.layers[1].growth.is_finite() && all.layers.len() == 5);
    assert!(series(&small, 20).unwrap().train_loss.values.len() == 20);
    drop(folder);
}
