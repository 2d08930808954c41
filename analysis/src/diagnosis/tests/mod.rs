//! Diagnoses of hand-made curves.

mod recommendation;
mod verdicts;

use growthpath_trace::{
    MaturityRow, ProbeRow, RelianceRow, Run, RunInfo, RunWriter, Status, StepRow, WHOLE_LAYER, WriterOptions,
};
use tempfile::TempDir;

use super::{Diagnosis, Thresholds, diagnosis};

pub const LAYERS: u16 = 4;
pub const HEADS: u16 = 2;

/// One probe: the means that the halves are to have.
#[derive(Clone, Copy)]
pub struct Point {
    pub step: u32,
    pub upper_sharpness: f64,
    pub lower_maturity: f64,
    /// Upper half's mean `ln a^`, and the interval's `x c0` and x, the step over the spread.
    pub path: [f64; 3],
}

pub fn point(step: u32, upper_sharpness: f64, lower_maturity: f64) -> Point {
    Point { step, upper_sharpness, lower_maturity, path: [0.0; 3] }
}

/// A run whose halves' means follow the points; single heads and layers scatter around them.
pub fn write(points: &[Point], reliance: &[(u32, f64, f64)], steps: u32) -> (TempDir, Run) {
    let mut info = RunInfo::new(serde_json::json!({"intervention": null}), steps, LAYERS, HEADS);
    info.label = "gpt".into();
    write_with(info, points, reliance)
}

pub fn write_with(mut info: RunInfo, points: &[Point], reliance: &[(u32, f64, f64)]) -> (TempDir, Run) {
    if let Some(config) = info.config.as_object_mut() {
        config.insert("probe".to_owned(), serde_json::json!({"maturity_lag": 0.02}));
    }
    let lag = crate::maturity::lag_steps(0.02, info.steps_planned);
    let (dir, options) =
        (tempfile::tempdir().unwrap(), WriterOptions { flush_rows: 20, ..Default::default() });
    let path = dir.path().join("run");
    let mut writer = RunWriter::create_with(&path, &info, options).unwrap();
    for (i, p) in points.iter().enumerate() {
        let prev_step = if i == 0 { p.step } else { points[i - 1].step };
        let before = if i == 0 { f64::NAN } else { points[i - 1].path[0] };
        let mut rows = Vec::new();
        for (layer, head) in (0..LAYERS).flat_map(|l| (0..HEADS).map(move |h| (l, h))) {
            let upper = layer >= LAYERS / 2;
            // Adds up to zero over a half.
            let off = [-0.01, 0.01][usize::from(head)] * f64::from(1 + layer);
            let [ln_a, along, x] = p.path;
            let a_hat_prev = if upper { (before + off).exp() } else { 9.0 };
            rows.push(ProbeRow {
                step: p.step,
                prev_step,
                layer,
                head,
                spread: 1.0,
                sharpness: off + if upper { p.upper_sharpness } else { 0.3 },
                a_hat: if upper { (ln_a + off).exp() } else { 9.0 },
                a_hat_prev,
                dm_i: if x == 0.0 { 0.0 } else { 2.0 },
                e: if upper { 0.5 * x * a_hat_prev } else { 9.0 },
                c0: if upper { (along + off) / x } else { 9.0 },
                ..ProbeRow::default()
            });
        }
        writer.steps(StepRow { step: p.step, ..StepRow::default() }).unwrap();
        writer.probe(&rows).unwrap();
        let layer_row = |layer: u16| MaturityRow {
            step: p.step,
            layer,
            lag,
            maturity: if layer < LAYERS / 2 {
                p.lower_maturity + [-0.02, 0.02][usize::from(layer)]
            } else {
                0.5
            },
        };
        writer.maturity(&(0..LAYERS).map(layer_row).collect::<Vec<_>>()).unwrap();
    }
    for &(step, delta, stderr) in reliance {
        let row = |scope, layer, delta| RelianceRow {
            sequences: 16,
            step,
            scope,
            layer,
            head: WHOLE_LAYER,
            delta,
            stderr,
            base_loss: 3.0,
        };
        // A layer's and the lower half's reliance must not be taken for the upper half's.
        writer.reliance(&[row(1, 1, -9.0), row(2, 0, -9.0), row(2, 1, delta)]).unwrap();
    }
    writer.finish(Status::Complete).unwrap();
    let run = Run::open(&path).unwrap();
    (dir, run)
}

pub fn diagnose(points: &[Point], reliance: &[(u32, f64, f64)], steps: u32) -> Diagnosis {
    let (_dir, run) = write(points, reliance, steps);
    diagnosis(&run, &Thresholds::default()).unwrap()
}
