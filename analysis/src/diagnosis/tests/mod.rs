//! Diagnoses of hand-made runs.

mod brackets;
mod recommendation;
mod verdicts;

use growthpath_trace::{
    MaturityRow, ProbeRow, RelianceRow, Run, RunInfo, RunWriter, SettlingRow, Status, StepRow, WHOLE_LAYER,
    WriterOptions,
};
use tempfile::TempDir;

use super::{Diagnosis, Thresholds, diagnosis};

pub const LAYERS: u16 = 4;
pub const HEADS: u16 = 2;

/// One head's path over an interval: `ln a^` at its end, then `u e` with a step size of one, c0, and R.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub ln_predicted: f64,
    pub step: f64,
    pub c0: f64,
    pub features: f64,
}

/// One probe: the means that the halves are to have.
#[derive(Clone)]
pub struct Point {
    pub step: u32,
    pub upper_sharpness: f64,
    pub lower_maturity: f64,
    /// Of each head of the upper half, layer by layer.
    pub cells: [Cell; 4],
    /// `ln a - ln a^` of every head.
    pub missed: f64,
}

pub fn point(step: u32, upper_sharpness: f64, lower_maturity: f64) -> Point {
    let cell = Cell { ln_predicted: 0.0, step: 0.0, c0: 0.0, features: 0.0 };
    Point { step, upper_sharpness, lower_maturity, cells: [cell; 4], missed: 0.0 }
}

/// The upper half's reliance: step, delta, standard error; over sixteen sequences.
pub type Reliance = (u32, f64, f64);

/// What [`write_with`] writes beside probes.
#[derive(Default)]
pub struct Beside<'a> {
    pub reliance: &'a [Reliance],
    /// Step and the lower half's cosine to the end.
    pub settling: &'a [(u32, f64)],
    /// Further maturities: step, lag, the lower half's mean.
    pub lags: &'a [(u32, u32, f64)],
}

/// Lag of the runs written here: 1 % of a hundred steps.
pub const LAG: u32 = 1;

pub fn info(steps: u32) -> RunInfo {
    let mut info = RunInfo::new(serde_json::json!({"intervention": null}), steps, LAYERS, HEADS);
    info.label = "gpt".into();
    info
}

fn probe_rows(points: &[Point], i: usize) -> Vec<ProbeRow> {
    let (p, before) = (&points[i], i.checked_sub(1).map(|b| &points[b]));
    let mut rows = Vec::new();
    for (layer, head) in (0..LAYERS).flat_map(|l| (0..HEADS).map(move |h| (l, h))) {
        let upper = layer >= LAYERS / 2;
        let at = usize::from(layer % (LAYERS / 2) * HEADS + head);
        let cell = p.cells[at];
        // Adds up to zero over a half.
        let off = [-0.01, 0.01][usize::from(head)] * f64::from(1 + layer);
        let moved = cell.step != 0.0;
        rows.push(ProbeRow {
            step: p.step,
            prev_step: before.map_or(p.step, |b| b.step),
            layer,
            head,
            spread: (cell.ln_predicted + p.missed).exp(),
            sharpness: off + if upper { p.upper_sharpness } else { 0.3 },
            a_hat: if upper { cell.ln_predicted.exp() } else { 9.0 },
            a_hat_prev: before.map_or(f64::NAN, |b| b.cells[at].ln_predicted.exp()),
            eta: 1.0,
            u: cell.step,
            e: if moved { 1.0 } else { f64::NAN },
            c0: if moved { cell.c0 } else { f64::NAN },
            feature_step: cell.features,
            ..ProbeRow::undefined()
        });
    }
    rows
}

/// A run whose halves' means follow the points; single heads and layers scatter around them.
pub fn write_with(info: RunInfo, points: &[Point], beside: &Beside) -> (TempDir, Run) {
    let (dir, options) =
        (tempfile::tempdir().unwrap(), WriterOptions { flush_rows: 20, ..Default::default() });
    let path = dir.path().join("run");
    let mut writer = RunWriter::create_with(&path, &info, options).unwrap();
    // A layer's share of a half's mean.
    let off = |layer: u16| if layer < LAYERS / 2 { [-0.02, 0.02][usize::from(layer)] } else { 0.0 };
    for (i, p) in points.iter().enumerate() {
        writer.steps(StepRow { step: p.step, ..StepRow::default() }).unwrap();
        writer.probe(&probe_rows(points, i)).unwrap();
    }
    let mut maturity: Vec<(u32, u32, f64)> =
        points.iter().filter(|p| p.step > 0).map(|p| (p.step, LAG, p.lower_maturity)).collect();
    maturity.extend(beside.lags);
    let mut rows: Vec<MaturityRow> = Vec::new();
    for &(step, lag, mean) in &maturity {
        let of = |layer| if layer < LAYERS / 2 { mean + off(layer) } else { 0.5 };
        rows.extend((0..LAYERS).map(|layer| MaturityRow { step, layer, lag, maturity: of(layer) }));
    }
    rows.sort_by_key(|r| (r.step, r.layer, r.lag));
    writer.maturity(&rows).unwrap();
    for &(step, mean) in beside.settling {
        let row = |layer| SettlingRow { step, layer, final_cosine: mean + off(layer) };
        writer.settling(&(0..LAYERS).map(row).collect::<Vec<_>>()).unwrap();
    }
    for &(step, delta, stderr) in beside.reliance {
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

pub fn diagnose_with(info: RunInfo, points: &[Point], beside: &Beside) -> Diagnosis {
    let (_dir, run) = write_with(info, points, beside);
    diagnosis(&run, &Thresholds::default()).unwrap()
}

pub fn diagnose(points: &[Point], reliance: &[Reliance], steps: u32) -> Diagnosis {
    diagnose_with(info(steps), points, &Beside { reliance, ..Default::default() })
}
