//! `series` against collected rows.

use growthpath_trace::*;

use super::synthetic::Synthetic;
use super::{SMALL, assert_close, run_of};
use crate::read::{Series, analyze, series, series_in};
use crate::source::AttentionSource;

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
    assert_eq!((s.layers, s.heads, s.attention_source), (5, 3, AttentionSource::Telemetry));
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
    let steps = steps_of(&rows);
    assert_eq!(s.factors.scale.steps, steps.iter().map(|s| f64::from(*s)).collect::<Vec<_>>());
    for upper in [false, true] {
        let pick = |c: &crate::read::HalfCurves, i: usize| if upper { c.upper[i] } else { c.lower[i] };
        let mine = |r: &&ProbeRow| (r.layer >= 2) == upper;
        let cells = if upper { 9.0 } else { 6.0 };
        for (i, &step) in steps.iter().enumerate() {
            let now = |of: fn(&ProbeRow) -> f64| {
                let interval = |r: &&ProbeRow| r.step == step && r.prev_step < step;
                mean(rows.iter().filter(mine).filter(interval).map(of))
            };
            let f = &s.factors;
            assert_close!(pick(&f.step_term, i), now(|r| r.eta * r.u / f64::from(r.step - r.prev_step)));
            assert_close!(pick(&f.residual_energy, i), now(|r| r.e));
            assert_close!(pick(&f.coherence, i), now(|r| r.c));
            assert_close!(pick(&f.persistent, i), now(|r| r.c0));
            assert_close!(pick(&f.scale, i), now(|r| r.scale));
            let over = |bound: fn(&ProbeRow) -> f64| -> Vec<f64> {
                let interval = |r: &&ProbeRow| r.step == step && r.prev_step < step;
                let ratios = rows.iter().filter(mine).filter(interval).map(|r| r.ds_w / bound(r));
                let mut ratios: Vec<f64> = ratios.filter(|v| v.is_finite()).collect();
                ratios.sort_by(f64::total_cmp);
                ratios
            };
            let tight = over(|r| r.bound_tight);
            assert_close!(pick(&s.tightness.tight, i), crate::statistics::median(&tight));
            assert_close!(pick(&s.tightness.tight_max, i), tight.last().copied().unwrap_or(f64::NAN));
            let cheap = over(|r| r.bound_cheap);
            assert_close!(pick(&s.tightness.cheap, i), crate::statistics::median(&cheap));
            let until = |of: fn(&ProbeRow) -> f64| {
                let past = rows.iter().filter(mine).filter(|r| r.step <= step && r.prev_step < r.step);
                past.map(of).sum::<f64>() / cells
            };
            assert_close!(pick(&s.growth.measured, i), until(|r| r.gamma));
            assert_close!(pick(&s.growth.predicted, i), until(|r| (r.a_hat / r.a_hat_prev).ln()));
            assert_close!(pick(&s.growth.weights, i), until(|r| r.gamma_w_start));
            assert_close!(pick(&s.growth.bound, i), until(|r| (1.0 + r.bound_tight / r.spread_prev).ln()));
            assert!(pick(&s.growth.bound, i) >= pick(&s.growth.weights, i));
        }
        // Joined, the long intervals cover each row's own and nothing else.
        let long = if upper { &s.long_intervals.upper } else { &s.long_intervals.lower };
        assert!(long.windows(2).all(|w| w[0].1 < w[1].0), "{long:?}");
        for row in rows.iter().filter(mine) {
            let covered = long.iter().any(|l| l.0 <= row.prev_step && row.step <= l.1);
            assert!(row.gamma.abs() <= 1.0 || covered || row.gamma.is_nan());
        }
        let ends = |l: &(u32, u32)| {
            let is_long = |r: &ProbeRow| r.gamma.abs() > 1.0 && (r.layer >= 2) == upper;
            rows.iter().any(|r| is_long(r) && r.prev_step == l.0)
                && rows.iter().any(|r| is_long(r) && r.step == l.1)
        };
        assert!(long.iter().all(ends));
    }
    let intervals: Vec<&ProbeRow> = rows.iter().filter(|r| r.prev_step < r.step).collect();
    assert_eq!(s.prediction.of, intervals.len() as u64);
    type Of = fn(&ProbeRow) -> (f64, f64);
    let parts: [(&crate::read::Pairs, Of); 3] = [
        (&s.prediction.query, |r| (r.gamma_q_hat, r.gamma_q)),
        (&s.prediction.key, |r| (r.gamma_k_hat, r.gamma_k)),
        (&s.prediction.features, |r| (r.gamma_f_hat, r.gamma_f)),
    ];
    for (pairs, of) in parts {
        let (predicted, measured): (Vec<f64>, Vec<f64>) = intervals.iter().map(|r| of(r)).unzip();
        assert_eq!((&pairs.predicted, &pairs.measured), (&predicted, &measured));
        assert_close!(pairs.correlation, crate::statistics::pearson(&predicted, &measured).unwrap());
    }
    let whole = analyze(run, None).unwrap();
    assert_eq!(s.energy_shares.writes.len(), 10);
    for (w, name) in s.energy_shares.writes.iter().enumerate() {
        for (l, shares) in whole.energy_shares.iter().enumerate() {
            assert_close!(s.energy_shares.shares[w][l], shares.shares.get(name).unwrap_or(f64::NAN));
        }
    }
}

#[test]
fn a_window_is_the_whole_cut_to_it() {
    let (_folder, run) = run_of(SMALL);
    let whole = series(&run, 10_000).unwrap();
    let (start, end) = (whole.train_loss.steps.len() as u32 / 4, whole.train_loss.steps.len() as u32 / 2);
    let cut = series_in(&run, Some(start..end), 10_000).unwrap();
    assert_eq!((cut.window.start, cut.window.end), (start, end));
    let inside = |steps: &[f64], last: u32| {
        let kept = steps.iter().filter(|s| (f64::from(start)..=f64::from(last)).contains(s));
        kept.copied().collect::<Vec<f64>>()
    };
    // Updates start..end, states start..=end.
    assert_eq!(cut.train_loss.steps, inside(&whole.train_loss.steps, end - 1));
    assert_eq!(cut.eval_loss.steps, inside(&whole.eval_loss.steps, end));
    assert_eq!(cut.growth.measured.steps, inside(&whole.growth.measured.steps, end));
    let rows: Vec<ProbeRow> = run.read(..).unwrap();
    let held = rows.iter().filter(|r| r.prev_step >= start && r.step <= end && r.prev_step < r.step);
    assert_eq!(cut.prediction.of, held.count() as u64);
    assert!(matches!(series_in(&run, Some(start..start), 10), Err(crate::AnalysisError::EmptyWindow { .. })));
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
        for steps in
            [&few.factors.scale.steps, &few.growth.bound.steps, &few.entropy.steps, &few.eval_loss.steps]
        {
            assert!(!steps.is_empty() && steps.len() <= points && steps.is_sorted());
        }
    }
    assert_eq!(series(&run, 0).unwrap().train_loss.values.len(), 1);
}

#[test]
fn the_probe_stands_in_for_missing_telemetry_and_missing_probes_leave_empty_curves() {
    let (_folder, run) = run_of(Synthetic { telemetry_every: 0, ..SMALL });
    let s = series(&run, 100).unwrap();
    assert_eq!((s.attention_source, s.spread.layers.len()), (AttentionSource::Probe, 5));
    assert_eq!(s.spread.steps, s.factors.scale.steps);
    assert!(s.writes.steps.is_empty());

    let (_folder, run) = run_of(Synthetic { probe_every: 0, ..SMALL });
    let s = series(&run, 100).unwrap();
    assert!(
        s.growth.bound.steps.is_empty()
            && s.growth.bound.upper.is_empty()
            && s.prediction.query.predicted.is_empty()
    );
    assert!(s.energy_shares.writes.is_empty() && s.maturity.halves.steps.is_empty());
    assert!(serde_json::to_string(&s).is_ok());
}

#[test]
fn heads_split_as_their_layers_do_and_the_last_ablation_stays() {
    let (_folder, run) = run_of(SMALL);
    let s = series(&run, 100).unwrap();
    let a = analyze(&run, None).unwrap();
    assert_eq!(s.splits.len(), 5);
    for (heads, layer) in s.splits.iter().zip(&a.accounting.layers) {
        assert_eq!(heads.len(), 3);
        assert_close!(mean(heads.iter().map(|h| h.growth)), layer.growth);
        assert_close!(mean(heads.iter().map(|h| h.query)), layer.query);
        assert_close!(mean(heads.iter().map(|h| h.features)), layer.features);
        for h in heads {
            assert!((h.query + h.key + h.features - h.growth).abs() < 1e-9, "{h:?}");
        }
    }
    let rows: Vec<RelianceRow> = run.read(..).unwrap();
    for (half, found) in s.ablations.halves.iter().enumerate() {
        let last = rows.iter().rfind(|r| r.scope == 2 && usize::from(r.layer) == half);
        assert_eq!(found.map(|e| (e.step, e.delta)), last.map(|r| (r.step, r.delta)));
    }
    for (layer, found) in s.ablations.layers.iter().enumerate() {
        let last = rows.iter().rfind(|r| r.scope == 1 && usize::from(r.layer) == layer);
        assert_eq!(found.map(|e| (e.step, e.delta)), last.map(|r| (r.step, r.delta)));
    }
}
