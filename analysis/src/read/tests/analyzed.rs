//! `analyze` against a naive recomputation from collected rows.

use std::collections::BTreeMap;

use growthpath_trace::*;

use super::synthetic::{Synthetic, Tamper};
use super::{SMALL, assert_close, run_of, run_with};
use crate::AnalysisError;
use crate::read::{Analysis, PartPrediction, analyze, write_name};
use crate::statistics::{median, pearson};

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Everything again, by collecting rows and following the definitions.
#[expect(clippy::too_many_lines, reason = "one recomputation, column by column")]
fn check(run: &Run, got: &Analysis, from: u32, to: u32) {
    let (layers, heads) = (run.info().layers, f64::from(run.info().heads));
    let states: Vec<ProbeRow> = run.read(from..=to).unwrap();
    let intervals: Vec<&ProbeRow> =
        states.iter().filter(|r| r.prev_step >= from && r.prev_step < r.step).collect();
    assert!(intervals.len() > 20);
    let telemetry: Vec<HeadRow> = run.read(from..to).unwrap();
    let writes: Vec<WriteRow> = run.read(from..to).unwrap();
    let basis: Vec<ProbeLayerRow> = run.read(from..=to).unwrap();
    let maturity: Vec<MaturityRow> = run.read(from..=to).unwrap();
    let (first, last) = (states[0].step, states[states.len() - 1].step);

    assert_eq!(got.layers.len(), usize::from(layers));
    for l in 0..layers {
        let layer = got.layers[usize::from(l)];
        assert_eq!(layer.layer, l);
        let mine = || intervals.iter().filter(|r| r.layer == l);
        let growth: f64 = mine().map(|r| (r.spread / r.spread_prev).ln()).sum::<f64>() / heads;
        assert_close!(layer.growth, growth);
        assert_close!(layer.growth_factor, growth.exp());
        let split = got.accounting.layers[usize::from(l)];
        assert_eq!(split.layer, l);
        assert_close!(split.growth, growth);
        assert_close!(split.query + split.key + split.features, growth);
        let part = |term: fn(&ProbeRow) -> f64| mine().map(|r| term(r)).sum::<f64>() / heads;
        assert_close!(split.query, part(|r| r.gamma_q));
        assert_close!(split.key, part(|r| r.gamma_k));
        assert_close!(split.features, part(|r| r.gamma_f));
        // Every head has as many intervals: the mean of means is the mean.
        assert_close!(split.turning, mean(mine().map(|r| 1.0 - r.cos_theta)));
        assert_eq!(split.long, mine().filter(|r| r.gamma.abs() > 1.0).count() as u64);

        let at = |step: u32, of: fn(&ProbeRow) -> f64| {
            mean(states.iter().filter(|r| r.layer == l && r.step == step).map(of))
        };
        assert_close!(layer.spread_first, at(first, |r| r.spread));
        assert_close!(layer.spread_last, at(last, |r| r.spread));
        assert_close!(layer.entropy_first, at(first, |r| r.entropy));
        assert_close!(layer.entropy_last, at(last, |r| r.entropy));
        assert_close!(layer.top1_last, at(last, |r| r.top1));
        let pressure = telemetry.iter().filter(|r| r.layer == l);
        assert_close!(
            layer.sharpening_pressure,
            -mean(pressure.map(|r| 0.5 * (f64::from(r.wg_q) + f64::from(r.wg_k))))
        );
        let write = |site: u8| writes.iter().rfind(|r| r.layer == l && r.site == site).unwrap();
        for (site, [energy, ratio, common]) in [
            [layer.attn_energy, layer.attn_ratio, layer.attn_common],
            [layer.ffn_energy, layer.ffn_ratio, layer.ffn_common],
        ]
        .into_iter()
        .enumerate()
        {
            let row = write(site as u8);
            assert_close!(energy, f64::from(row.energy));
            assert_close!(ratio, f64::from(row.energy) / f64::from(row.h2_before));
            assert_close!(common, f64::from(row.common) / f64::from(row.energy));
        }
        let basis = basis.iter().rfind(|r| r.layer == l).unwrap();
        let maturity = maturity.iter().rfind(|r| (r.layer, r.lag) == (l, SMALL.lag()));
        assert_close!(layer.maturity, maturity.unwrap().maturity);
        assert_close!(layer.eff_rank, basis.eff_rank);
        assert_close!(layer.distinct, basis.distinct);

        let factors = got.factors.layers[usize::from(l)];
        assert_close!(factors.eta, mine().map(|r| r.eta).sum::<f64>() / heads);
        assert_close!(factors.step_term, mean(mine().map(|r| r.eta * r.u)));
        let moved = || mine().filter(|r| r.u > 0.0);
        let length = |r: &&&ProbeRow| f64::from(r.step - r.prev_step);
        assert_close!(
            factors.residual_energy,
            moved().map(|r| r.e * length(&r)).sum::<f64>() / moved().map(|r| length(&r)).sum::<f64>()
        );
        assert_close!(factors.coherence, mean(moved().map(|r| r.c)));
        assert_close!(factors.persistent_coherence, mean(moved().map(|r| r.c0)));
        assert_close!(factors.scale_last, at(last, |r| r.a_hat));
    }
    assert_eq!((got.accounting.intervals, got.accounting.undefined), (intervals.len() as u64, 0));
    assert_eq!(got.accounting.long, intervals.iter().filter(|r| r.gamma.abs() > 1.0).count() as u64);
    let longest = intervals.iter().map(|r| r.step - r.prev_step).max().unwrap();
    assert_eq!(got.accounting.longest_steps, longest);
    predictions(got, &intervals);
    bounds(got, &intervals);
    shares(run, got, from, to, &intervals.iter().map(|r| r.step).collect::<Vec<_>>());

    let steps: Vec<StepRow> = run.read(from..to).unwrap();
    let evals: Vec<EvalRow> = run.read(from..=to).unwrap();
    assert_eq!(got.steps, steps.len() as u64);
    assert_close!(got.train_loss_last, f64::from(steps[steps.len() - 1].loss));
    assert_close!(got.val_loss, evals[evals.len() - 1].loss);
    assert_close!(got.val_perplexity, got.val_loss.exp());
    let cost = got.cost.unwrap();
    assert_close!(cost.seconds, steps.iter().map(|s| f64::from(s.step_ms)).sum::<f64>() / 1e3);
    assert_close!(cost.tokens, steps[steps.len() - 1].tokens as f64);
    let later: f64 = steps[1..].iter().map(|s| f64::from(s.step_ms)).sum();
    assert_close!(cost.tokens_per_second, 64e3 * (steps.len() - 1) as f64 / later);
}

/// Of one part: predicted and measured.
type Pair = fn(&ProbeRow) -> (f64, f64);

fn predictions(got: &Analysis, intervals: &[&ProbeRow]) {
    let p = &got.prediction;
    assert_eq!(p.intervals, intervals.len() as u64);
    let parts: [(PartPrediction, Pair); 4] = [
        (p.query, |r| (r.gamma_q_hat, r.gamma_q)),
        (p.key, |r| (r.gamma_k_hat, r.gamma_k)),
        (p.features, |r| (r.gamma_f_hat, r.gamma_f)),
        (p.total, |r| (r.a_hat.ln() - r.a_hat_prev.ln(), r.gamma)),
    ];
    for (part, pair) in parts {
        let (predicted, measured): (Vec<f64>, Vec<f64>) = intervals.iter().map(|r| pair(r)).unzip();
        assert_close!(part.correlation, pearson(&predicted, &measured).unwrap());
        let error = |l: u16| {
            let sum = |side: fn((f64, f64)) -> f64| -> f64 {
                intervals.iter().filter(|r| r.layer == l).map(|r| side(pair(r))).sum()
            };
            (sum(|p| p.0) - sum(|p| p.1)).abs() / f64::from(SMALL.heads)
        };
        let worst = part.worst_layer.unwrap();
        assert_close!(part.worst_cumulative, error(worst));
        assert!((0..SMALL.layers).all(|l| error(l) <= error(worst)) && error(worst) > 0.0);
    }
}

fn bounds(got: &Analysis, intervals: &[&ProbeRow]) {
    assert_eq!(got.bound.violations, 0);
    let moved = || intervals.iter().filter(|r| r.ds_w > 0.0);
    for (found, tightness) in [
        (got.bound.cheap, moved().map(|r| r.ds_w / r.bound_cheap).collect::<Vec<f64>>()),
        (got.bound.tight, moved().map(|r| r.ds_w / r.bound_tight).collect()),
    ] {
        assert!(tightness.len() < intervals.len());
        assert_close!(found.median, median(&tightness));
        assert_close!(found.max, tightness.into_iter().fold(0.0, f64::max));
    }
    let sums = |keep: &dyn Fn(u16) -> bool| {
        let mine = || intervals.iter().filter(|r| keep(r.layer));
        let cells = (0..SMALL.layers).filter(|l| keep(*l)).count() as f64 * f64::from(SMALL.heads);
        let bound = |r: &&&ProbeRow| (1.0 + r.bound_tight / r.spread_prev).ln();
        (mine().map(|r| r.gamma_w_start).sum::<f64>() / cells, mine().map(|r| bound(&r)).sum::<f64>() / cells)
    };
    let middle = SMALL.layers / 2;
    for (half, (weights, bound)) in
        [(got.bound.lower, sums(&|l| l < middle)), (got.bound.upper, sums(&|l| l >= middle))]
    {
        assert_close!(half.weights, weights);
        assert_close!(half.bound, bound);
        assert_close!(half.coherent_share, weights / bound);
        assert!(half.weights < half.bound);
    }
    let (weights, bound) = sums(&|_| true);
    assert_close!(got.bound.coherent_share, weights / bound);
}

fn shares(run: &Run, got: &Analysis, from: u32, to: u32, steps: &[u32]) {
    let mut by_write: BTreeMap<(u16, u16), (Vec<f64>, f64)> = BTreeMap::new();
    for row in run.read::<ShareRow>(from..=to).unwrap().iter().filter(|r| steps.contains(&r.step)) {
        let (energy, drift) = by_write.entry((row.layer, row.write)).or_default();
        energy.push(row.energy_share);
        *drift += row.drift_share;
    }
    let entries: usize = got.energy_shares.iter().map(|l| l.shares.0.len()).sum();
    assert_eq!(entries, by_write.len());
    for ((layer, write), (energy, drift)) in by_write {
        let name = write_name(write);
        assert_close!(got.energy_shares[usize::from(layer)].shares.get(&name).unwrap(), mean(energy));
        assert_close!(got.drift_shares[usize::from(layer)].shares.get(&name).unwrap(), drift);
    }
    for layer in &got.energy_shares {
        assert_close!(layer.shares.0.iter().map(|s| s.1).sum::<f64>(), 1.0);
        assert_eq!(layer.shares.0[0].0, "embedding");
    }
}

#[test]
fn the_whole_run_and_a_window_agree_with_a_naive_recomputation() {
    let (_folder, run) = run_of(SMALL);
    let whole = analyze(&run, None).unwrap();
    assert_eq!((whole.window.start, whole.window.end), (0, SMALL.steps));
    check(&run, &whole, 0, SMALL.steps);
    // Neither end is a probe; the first interval begins before the window.
    check(&run, &analyze(&run, Some(5..57)).unwrap(), 5, 57);
    // A window that reaches past the record.
    check(&run, &analyze(&run, Some(3..900)).unwrap(), 3, 900);
    assert!(whole.euler.max_rel_residual > 0.0 && whole.euler.max_rel_residual < 1e-5);
    assert!(whole.accounting.max_residual > 0.0 && whole.accounting.max_residual < 1e-13);
    // Nothing of this is idle: some intervals are too long, in some weights stand still, some heads shrink.
    let (long, all) = (whole.accounting.long, whole.accounting.intervals);
    assert!(long >= 3 && long < all / 4, "{long} of {all}");
    let rows: Vec<ProbeRow> = run.read(..).unwrap();
    let count = |of: fn(&ProbeRow) -> bool| rows.iter().filter(|r| r.prev_step < r.step && of(r)).count();
    assert!(count(|r| r.dm_i == 0.0) > 3 && count(|r| r.gamma < 0.0) > 20 && count(|r| r.gamma > 0.0) > 20);
}

#[test]
fn one_layer_and_one_head_do() {
    let (_folder, run) = run_of(Synthetic { layers: 1, heads: 1, steps: 200, ..SMALL });
    let got = analyze(&run, None).unwrap();
    assert!(got.bound.lower.weights.is_nan() && got.bound.upper.weights.is_finite());
    assert!(got.layers[0].growth.is_finite());
}

#[test]
fn json_has_null_for_what_is_undefined() {
    let (_folder, run) = run_of(Synthetic { probe_every: 0, ..SMALL });
    let got = analyze(&run, None).unwrap();
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&got).unwrap()).unwrap();
    assert!(json["layers"][0]["growth"].is_null() && json["bound"]["upper"]["coherent_share"].is_null());
    assert!(json["prediction"]["query"]["correlation"].is_null());
    assert!(json["accounting"]["layers"][4]["turning"].is_null());
    assert!(json["layers"][0]["maturity"].is_null());
    // Attention at the ends comes from the training batch then.
    let rows: Vec<HeadRow> = run.read(..).unwrap();
    let last = rows.iter().filter(|r| r.step == SMALL.steps - 1 && r.layer == 2);
    assert_close!(got.layers[2].spread_last, mean(last.map(|r| f64::from(r.spread))));
    assert!(json["energy_shares"].as_array().unwrap().is_empty());

    let (_folder, run) = run_of(Synthetic { telemetry_every: 0, ..SMALL });
    let got = analyze(&run, None).unwrap();
    assert!(got.layers[2].growth.is_finite() && got.layers[2].sharpening_pressure.is_nan());
    assert!(got.euler.max_rel_residual.is_nan());
}

#[test]
fn undefined_growth_is_left_out_and_counted() {
    struct Uniform;
    impl Tamper for Uniform {
        fn probe(&mut self, row: &mut ProbeRow) {
            if (row.step, row.layer, row.head) == (14, 1, 2) {
                let nan = f64::NAN;
                (row.gamma_q, row.gamma_k, row.gamma_f, row.gamma) = (nan, nan, nan, nan);
                row.gamma_w_start = nan;
            }
        }
    }
    let (_folder, run) = run_with(SMALL, &mut Uniform);
    let honest = run_of(SMALL);
    let (got, whole) = (analyze(&run, None).unwrap(), analyze(&honest.1, None).unwrap());
    assert_eq!((got.accounting.undefined, got.accounting.intervals + 1), (1, whole.accounting.intervals));
    assert_eq!(got.prediction.intervals + 1, whole.prediction.intervals);
    let rows: Vec<ProbeRow> = honest.1.read(14..15).unwrap();
    let lost = rows.iter().find(|r| (r.layer, r.head) == (1, 2)).unwrap();
    let (found, all) = (got.accounting.layers[1], whole.accounting.layers[1]);
    assert_close!(got.layers[1].growth, whole.layers[1].growth - lost.gamma / 3.0);
    assert_close!(found.growth, all.growth - lost.gamma / 3.0);
    assert_close!(found.query, all.query - lost.gamma_q / 3.0);
    assert_close!(found.key, all.key - lost.gamma_k / 3.0);
    assert_close!(found.features, all.features - lost.gamma_f / 3.0);
    // Neither side of the coherent share has it.
    let bound = (1.0 + lost.bound_tight / lost.spread_prev).ln();
    assert_close!(got.bound.lower.weights, whole.bound.lower.weights - lost.gamma_w_start / 6.0);
    assert_close!(got.bound.lower.bound, whole.bound.lower.bound - bound / 6.0);
}

#[test]
fn violated_bounds_are_counted() {
    struct Broken(fn(&mut ProbeRow));
    impl Tamper for Broken {
        fn probe(&mut self, row: &mut ProbeRow) {
            if row.step == 14 && row.layer == 3 {
                (self.0)(row);
            }
        }
    }
    let changes: [fn(&mut ProbeRow); 3] = [
        |r| r.bound_cheap = 0.9 * r.ds_w,
        |r| r.bound_tight = 0.9 * r.ds_w,
        |r| r.gamma_w_start = (1.0 + r.bound_tight / r.spread_prev).ln() + 1e-6,
    ];
    // What stood still has no change to bound from below.
    let (_folder, honest) = run_of(SMALL);
    let rows: Vec<ProbeRow> = honest.read(14..15).unwrap();
    let moved = rows.iter().filter(|r| r.layer == 3 && r.ds_w > 0.0).count() as u64;
    assert!(moved >= 1);
    for (change, expected) in changes.into_iter().zip([moved, moved, 3]) {
        let (_folder, run) = run_with(SMALL, &mut Broken(change));
        assert_eq!(analyze(&run, None).unwrap().bound.violations, expected);
    }
}

#[test]
fn windows_without_steps_or_rows_are_refused() {
    let (_folder, run) = run_of(SMALL);
    let refused = |start: u32, end: u32| analyze(&run, Some(start..end)).unwrap_err();
    assert!(matches!(refused(9, 9), AnalysisError::EmptyWindow { start: 9, end: 9 }));
    let error = refused(1000, 2000);
    assert!(matches!(error, AnalysisError::NothingToAnalyse { .. }), "{error}");
    assert!(error.to_string().contains("1000..2000") && error.to_string().contains("run"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    RunWriter::create(&dir, &RunInfo::new(serde_json::Value::Null, 5, 2, 2)).unwrap();
    let empty = Run::open(&dir).unwrap();
    assert!(matches!(analyze(&empty, None), Err(AnalysisError::NothingToAnalyse { .. })));
    assert!(matches!(crate::read::series(&empty, 10), Err(AnalysisError::NothingToAnalyse { .. })));
}

#[test]
fn a_model_too_large_to_be_true_is_refused_before_memory_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    RunWriter::create(&dir, &RunInfo::new(serde_json::Value::Null, 5, u16::MAX, u16::MAX)).unwrap();
    let run = Run::open(&dir).unwrap();
    assert!(matches!(analyze(&run, None), Err(AnalysisError::Geometry(_))));
}
