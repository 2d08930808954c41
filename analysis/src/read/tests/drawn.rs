//! `series` against collected rows.

use growthpath_trace::*;

use super::synthetic::Synthetic;
use super::{SMALL, assert_close, run_of};
use crate::read::{Series, Source, analyze, series};

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Distinct steps of rows in order.
fn steps_of<R: Row>(rows: &[R]) -> Vec<u32> {
    let mut steps: Vec<u32> = rows.iter().map(R::step).collect();
    steps.dedup();
    steps
}

#[test]
fn with_points_enough_every_recorded_step_is_a_point() {
    let (_folder, run) = run_of(SMALL);
    let s = series(&run, 10_000).unwrap();
    assert_eq!((s.layers, s.heads, s.attention_source), (5, 3, Source::Heads));
    let steps: Vec<StepRow> = run.read(..).unwrap();
    assert_eq!(s.train_loss.values, steps.iter().map(|r| f64::from(r.loss)).collect::<Vec<_>>());
    let evals: Vec<EvalRow> = run.read(..).unwrap();
    assert_eq!(s.eval_loss.values, evals.iter().map(|r| r.loss).collect::<Vec<_>>());
    assert_eq!(s.eval_loss.stderr, evals.iter().map(|r| r.stderr).collect::<Vec<_>>());

    let heads: Vec<HeadRow> = run.read(..).unwrap();
    let writes: Vec<WriteRow> = run.read(..).unwrap();
    for (i, step) in steps_of(&heads).into_iter().enumerate() {
        assert_eq!(s.spread.steps[i], f64::from(step));
        for l in 0..5 {
            let mine = heads.iter().filter(|r| r.step == step && r.layer == l);
            assert_close!(s.spread.layers[usize::from(l)][i], mean(mine.map(|r| r.spread.into())));
            let write = |site| writes.iter().find(|r| (r.step, r.layer, r.site) == (step, l, site)).unwrap();
            let (attn, ffn) = (write(0), write(1));
            assert_close!(s.writes.attn[usize::from(l)][i], f64::from(attn.energy));
            assert_close!(s.writes.ffn[usize::from(l)][i], f64::from(ffn.energy));
            assert_close!(
                s.writes.ffn_ratio[usize::from(l)][i],
                f64::from(ffn.energy) / f64::from(ffn.h2_before)
            );
        }
        let half = |upper: bool| heads.iter().filter(move |r| r.step == step && (r.layer >= 2) == upper);
        assert_close!(s.entropy.lower[i], mean(half(false).map(|r| r.entropy.into())));
        assert_close!(s.entropy.upper[i], mean(half(true).map(|r| r.entropy.into())));
    }
    probed(&run, &s);
}

fn probed(run: &Run, s: &Series) {
    let rows: Vec<ProbeRow> = run.read(..).unwrap();
    let mut maturity: Vec<MaturityRow> = run.read(..).unwrap();
    maturity.retain(|r| r.lag == SMALL.lag());
    let (steps, settled) = (steps_of(&rows), steps_of(&maturity));
    assert_eq!(s.maturity.steps, settled.iter().map(|s| f64::from(*s)).collect::<Vec<_>>());
    assert_eq!(s.scale.steps, steps.iter().map(|s| f64::from(*s)).collect::<Vec<_>>());
    for upper in [false, true] {
        let pick = |c: &crate::read::HalfCurves, i: usize| if upper { c.upper[i] } else { c.lower[i] };
        let mine = |r: &&ProbeRow| (r.layer >= 2) == upper;
        let cells = if upper { 9.0 } else { 6.0 };
        for (i, &step) in steps.iter().enumerate() {
            let now =
                |of: fn(&ProbeRow) -> f64| mean(rows.iter().filter(mine).filter(|r| r.step == step).map(of));
            assert_close!(pick(&s.scale, i), now(|r| r.a_hat));
            assert_close!(pick(&s.step_term, i), now(|r| r.dm_i / f64::from(r.step - r.prev_step)));
            assert_close!(pick(&s.residual_energy, i), now(|r| r.e));
            assert_close!(pick(&s.coherence, i), now(|r| r.c));
            assert_close!(pick(&s.sharpness, i), now(|r| r.sharpness));
            // Where nothing moved, 0 over 0 is no tightness.
            let tight: Vec<f64> = rows
                .iter()
                .filter(mine)
                .filter(|r| r.step == step && r.ds_w > 0.0)
                .map(|r| r.ds_w / r.bound_tight)
                .collect();
            assert_close!(pick(&s.tightness.median, i), crate::statistics::median(&tight));
            assert_close!(pick(&s.tightness.max, i), tight.iter().copied().fold(f64::NAN, f64::max));
            let until = |of: fn(&ProbeRow) -> f64| {
                let past = rows.iter().filter(mine).filter(|r| r.step <= step && r.prev_step < r.step);
                past.map(of).sum::<f64>() / cells
            };
            assert_close!(pick(&s.growth.measured, i), until(|r| r.gamma));
            assert_close!(pick(&s.growth.predicted, i), until(|r| (r.a_hat / r.a_hat_prev).ln()));
            assert_close!(pick(&s.growth.path_measured, i), until(|r| r.gamma_q + r.gamma_k));
            assert_close!(pick(&s.growth.path_predicted, i), until(|r| r.gamma_q_hat + r.gamma_k_hat));
            assert_close!(pick(&s.growth.bound, i), until(|r| (1.0 + r.bound_tight / r.spread_prev).ln()));
        }
        for (i, &step) in settled.iter().enumerate() {
            let basis = maturity.iter().filter(|r| r.step == step && (r.layer >= 2) == upper);
            assert_close!(pick(&s.maturity, i), mean(basis.map(|r| r.maturity)));
        }
    }
    let whole = analyze(run, None).unwrap();
    for (drawn, split) in s.growth_by_layer.iter().zip(&whole.accounting.layers) {
        assert_close!(drawn.growth, split.growth);
        assert_close!(drawn.parts.query, split.query);
        assert_close!(drawn.parts.key, split.key);
        assert_close!(drawn.parts.features, split.features);
    }
    let pairs: Vec<(f64, f64)> = rows
        .iter()
        .filter(|r| r.prev_step < r.step)
        .map(|r| (r.gamma_q_hat + r.gamma_k_hat, r.gamma_q + r.gamma_k))
        .collect();
    assert_eq!(s.rates.of, pairs.len() as u64);
    assert_eq!(
        s.rates.predicted.iter().copied().zip(s.rates.measured.iter().copied()).collect::<Vec<_>>(),
        pairs
    );
    assert_eq!(s.energy_shares.writes.len(), 10);
    for (w, name) in s.energy_shares.writes.iter().enumerate() {
        for (l, shares) in whole.energy_shares.iter().enumerate() {
            assert_close!(s.energy_shares.shares[w][l], shares.shares.get(name).unwrap_or(f64::NAN));
        }
    }
}

#[test]
fn fewer_points_are_means_over_neighbouring_steps() {
    let (_folder, run) = run_of(Synthetic { steps: 103, ..SMALL });
    let all = series(&run, 1000).unwrap();
    for points in [1, 2, 7, 50, 102] {
        let few = series(&run, points).unwrap();
        assert_eq!(few.train_loss.values.len(), points);
        // Bins are even in recorded steps to within one, and each step is in one bin: the weighted
        // mean of the bins is the mean of the steps.
        let n = all.train_loss.steps.len();
        let bin = |i: usize| i * points / n;
        for b in 0..points {
            let of = |c: &[f64]| mean((0..n).filter(|i| bin(*i) == b).map(|i| c[i]));
            assert_close!(few.train_loss.values[b], of(&all.train_loss.values));
            assert_close!(few.train_loss.steps[b], of(&all.train_loss.steps));
            assert_close!(few.spread.layers[4][b], of(&all.spread.layers[4]));
            assert_close!(few.writes.attn_ratio[0][b], of(&all.writes.attn_ratio[0]));
        }
        for steps in [&few.scale.steps, &few.maturity.steps, &few.entropy.steps, &few.eval_loss.steps] {
            assert!(!steps.is_empty() && steps.len() <= points && steps.is_sorted());
        }
    }
    assert_eq!(series(&run, 0).unwrap().train_loss.values.len(), 1);
}

#[test]
fn the_probe_stands_in_for_missing_telemetry_and_missing_probes_leave_empty_curves() {
    let (_folder, run) = run_of(Synthetic { telemetry_every: 0, ..SMALL });
    let s = series(&run, 100).unwrap();
    assert_eq!((s.attention_source, s.spread.layers.len()), (Source::Probe, 5));
    assert_eq!(s.spread.steps, s.scale.steps);
    assert!(s.writes.steps.is_empty());

    let (_folder, run) = run_of(Synthetic { probe_every: 0, ..SMALL });
    let s = series(&run, 100).unwrap();
    assert!(
        s.growth.bound.steps.is_empty() && s.growth.bound.upper.is_empty() && s.rates.predicted.is_empty()
    );
    assert!(s.energy_shares.writes.is_empty() && s.growth_by_layer.iter().all(|g| g.growth.is_nan()));
    assert!(serde_json::to_string(&s).is_ok());
}
