//! `verify` on honest and on tampered traces.

use growthpath_trace::*;
use proptest::prelude::*;
use rand::SeedableRng;

use super::synthetic::{Attention, Synthetic, Tamper, interval_row};
use super::{SMALL, run_of, run_with};
use crate::read::{Place, verify};
use crate::recorded;

#[test]
fn an_honest_trace_passes_every_check_and_no_check_is_idle() {
    let (_folder, run) = run_of(SMALL);
    let found = verify(&run).unwrap();
    for check in &found.checks {
        assert_eq!(check.violations, 0, "{check:?}");
        assert!(check.rows > 0 && check.worst.is_some() && check.at.is_some(), "{check:?}");
    }
    assert!(found.ok(), "{:?}", found.integrity.problems);
    let names: std::collections::BTreeSet<_> = found.checks.iter().map(|c| c.name).collect();
    assert_eq!(names.len(), found.checks.len());

    let cells = u64::from(SMALL.layers * SMALL.heads);
    assert_eq!(found.check("euler_q").unwrap().rows, cells * u64::from(SMALL.steps));
    assert_eq!(found.check("weight_norm_k").unwrap().rows, cells * u64::from(SMALL.steps - 1));
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!(json["checks"].as_array().unwrap().len(), names.len());
}

/// Changes the row at one place only.
struct At<R> {
    key: (u32, u16, u16),
    change: fn(&mut R),
}

/// The row that is tampered with: (step, layer, head, site or write). At a probe at which that head has moved, since
/// what stood still satisfies every product.
fn key() -> (u32, u16, u16) {
    static KEY: std::sync::OnceLock<(u32, u16, u16)> = std::sync::OnceLock::new();
    *KEY.get_or_init(|| {
        let (_folder, run) = run_of(SMALL);
        let rows: Vec<ProbeRow> = run.read(9..SMALL.steps).unwrap();
        let moved = rows.iter().find(|r| (r.layer, r.head) == (3, 1) && r.dm_i > 0.0 && r.gamma.abs() < 0.5);
        moved.map(|r| (r.step, r.layer, r.head)).unwrap()
    })
}

macro_rules! tamper_at {
    ($row:ident, $method:ident, $third:expr) => {
        impl Tamper for At<$row> {
            fn $method(&mut self, row: &mut $row) {
                let third: fn(&$row) -> u16 = $third;
                if (row.step, row.layer, third(row)) == self.key {
                    (self.change)(row);
                }
            }
        }
    };
}
tamper_at!(HeadRow, head, |r| r.head);
tamper_at!(WriteRow, write, |r| r.site.into());
tamper_at!(ProbeRow, probe, |r| r.head);
tamper_at!(ShareRow, share, |r| r.write);

/// Asserts that a change to one row is found by one check (at least), where it is.
fn found<R>(check: &str, change: fn(&mut R))
where
    At<R>: Tamper,
{
    let (_folder, run) = run_with(SMALL, &mut At { key: key(), change });
    let found = verify(&run).unwrap();
    let check = found.check(check).unwrap();
    assert!(!found.ok() && check.violations > 0, "{check:?}");
    let Place { step, layer, .. } = check.at.unwrap();
    // A weight norm is found wrong at the step after, too.
    assert!((step == key().0 || step == key().0 + 1) && layer == Some(key().1), "{check:?}");
}

#[test]
fn every_check_on_heads_finds_what_it_is_for() {
    found::<HeadRow>("euler_q", |r| r.wg_q += 0.01);
    found::<HeadRow>("euler_k", |r| r.wg_k += 0.01);
    found::<HeadRow>("euler_q", |r| r.sgs -= 0.01);
    found::<HeadRow>("weight_norm_q", |r| r.w_q2 *= 1.0001);
    found::<HeadRow>("weight_norm_k", |r| r.wd_k += 1e-4);
    found::<HeadRow>("weight_norm_k", |r| r.d_k2 += 1e-4);
    found::<HeadRow>("lse_bracket", |r| r.lse_gap = 1e-3);
    found::<HeadRow>("head_ranges", |r| r.entropy = 1.01);
    found::<HeadRow>("head_ranges", |r| r.top1 = 0.0);
    found::<HeadRow>("head_ranges", |r| r.gs2 = -1e-3);
    found::<HeadRow>("head_ranges", |r| r.spread = -0.1);
    found::<HeadRow>("inner_products", |r| r.gd_q = 2.0 * (r.g_q2 * r.d_q2).sqrt());
    found::<HeadRow>("inner_products", |r| r.g_kmax = 1.01 * r.g_k2.sqrt());
    found::<HeadRow>("signal_ranges", |r| r.sharpness = -1e-3);
    found::<HeadRow>("signal_ranges", |r| r.max_distance = -1.0);
    found::<HeadRow>("signal_ranges", |r| r.k_rms = -1e-3);
    found::<HeadRow>("signal_ranges", |r| r.qk_cos = 1.001);
    found::<HeadRow>("signal_ranges", |r| r.s_min = 1.001 * r.s_max);
    found::<HeadRow>("signal_ranges", |r| r.pressure_k = -1.001);
    found::<HeadRow>("signal_ranges", |r| r.dm_top = 1.001 * r.dm_f);
    found::<HeadRow>("signal_ranges", |r| r.dm_entropy = 1.001);
    found::<HeadRow>("logit_size", |r| r.s_ms = 0.99 * r.spread * r.spread);
}

#[test]
fn every_check_on_writes_and_shares_finds_what_it_is_for() {
    found::<WriteRow>("stream_norm", |r| r.dot += 1e-3);
    found::<WriteRow>("stream_norm", |r| r.energy *= 1.01);
    found::<WriteRow>("stream_chain", |r| r.h2_before *= 1.001);
    found::<WriteRow>("common_mode", |r| r.common = 1.01 * r.energy);
    found::<WriteRow>("common_mode", |r| r.hidden_common = 1.01 * r.hidden_ms);
    found::<ShareRow>("stream_shares", |r| r.stream_share += 0.01);
    found::<ShareRow>("energy_shares", |r| r.energy_share += 1e-4);
    found::<ShareRow>("drift_shares", |r| r.drift_share += 1e-4);
}

#[test]
fn every_check_on_the_probe_finds_what_it_is_for() {
    found::<ProbeRow>("growth_parts", |r| r.gamma_q += 1e-9);
    found::<ProbeRow>("growth_parts", |r| r.gamma_k += 1e-9);
    found::<ProbeRow>("growth_parts", |r| r.gamma_f += 1e-9);
    // The parts may add up to each other and yet not to the growth of the spread.
    found::<ProbeRow>("growth_parts", |r| (r.gamma, r.gamma_f) = (r.gamma + 1e-9, r.gamma_f + 1e-9));
    found::<ProbeRow>("growth_parts", |r| r.gamma += 1e-9);
    found::<ProbeRow>("predicted_parts", |r| r.gamma_q_hat += 1e-8);
    found::<ProbeRow>("predicted_parts", |r| r.gamma_k_hat += 1e-8);
    found::<ProbeRow>("predicted_parts", |r| r.gamma_f_hat += 1e-8);
    found::<ProbeRow>("factor_product", |r| r.c = -r.c);
    found::<ProbeRow>("factor_product", |r| r.c_next *= 1.001);
    found::<ProbeRow>("factor_product", |r| r.e *= 1.001);
    found::<ProbeRow>("factor_product", |r| r.e_next *= 1.001);
    found::<ProbeRow>("factor_product", |r| r.scale *= 1.001);
    found::<ProbeRow>("factor_product", |r| r.scale_next *= 1.001);
    // The parts add up to the growth, but the weights' and the features' are not what they should be.
    found::<ProbeRow>("factor_product", |r| {
        (r.gamma_q_hat, r.gamma_f_hat) = (r.gamma_q_hat + 1e-6, r.gamma_f_hat - 1e-6);
    });
    found::<ProbeRow>("factor_pieces", |r| r.dm_i *= 1.0001);
    found::<ProbeRow>("factor_pieces", |r| r.u *= 1.0001);
    found::<ProbeRow>("factor_pieces", |r| r.eta *= 1.0001);
    found::<ProbeRow>("spread_recursion", |r| r.c0 *= 0.999);
    found::<ProbeRow>("spread_recursion", |r| r.e *= 0.999);
    found::<ProbeRow>("spread_recursion", |r| r.feature_step += 1e-7);
    found::<ProbeRow>("energy_bound", |r| r.e_max = 0.999 * r.e);
    found::<ProbeRow>("cheap_bound", |r| r.bound_cheap = 0.999 * r.ds_w);
    found::<ProbeRow>("cheap_bound", |r| r.bound_s = 0.0);
    found::<ProbeRow>("cheap_bound", |r| r.bound_e *= 0.999 * r.ds_w / r.bound_cheap);
    found::<ProbeRow>("cheap_bound", |r| r.bound_omega = 0.0);
    found::<ProbeRow>("tight_bound", |r| r.bound_tight = 0.999 * r.ds_w);
    found::<ProbeRow>("growth_bound", |r| r.gamma_w_start = (r.bound_tight / r.spread_prev).ln_1p() + 1e-8);
    found::<ProbeRow>("probe_chain", |r| r.spread_prev *= 1.0001);
    found::<ProbeRow>("probe_chain", |r| r.a_hat_prev *= 1.0001);
    found::<ProbeRow>("probe_ranges", |r| r.spread = -1e-3);
    found::<ProbeRow>("probe_ranges", |r| r.a_hat = -1e-3);
    found::<ProbeRow>("probe_ranges", |r| r.ds_w = -1e-3);
    found::<ProbeRow>("probe_ranges", |r| r.entropy = 1.001);
    found::<ProbeRow>("probe_ranges", |r| r.sharpness = -1e-3);
    found::<ProbeRow>("probe_ranges", |r| r.top1 = 1.001);
    found::<ProbeRow>("probe_ranges", |r| r.c = 1.001);
    found::<ProbeRow>("probe_ranges", |r| r.c0 = -1.001);
    found::<ProbeRow>("probe_ranges", |r| r.c_next = 1.001);
    found::<ProbeRow>("probe_ranges", |r| r.cos_theta = 1.001);
}

/// Where no weight moved there are no factors to multiply: the weights' part must be nothing, the features' all.
#[test]
fn weights_that_stand_still_must_not_grow_anything() {
    struct Still {
        rows: u64,
        change: fn(&mut ProbeRow),
    }
    impl Tamper for Still {
        fn probe(&mut self, row: &mut ProbeRow) {
            if row.dm_i == 0.0 {
                self.rows += 1;
                (self.change)(row);
            }
        }
    }
    let violations = |change: fn(&mut ProbeRow), check: &str| {
        let mut still = Still { rows: 0, change };
        let (_folder, run) = run_with(SMALL, &mut still);
        assert!(still.rows > 3);
        (verify(&run).unwrap().check(check).unwrap().violations, still.rows)
    };
    assert_eq!(violations(|_| (), "factor_product").0, 0);
    let (found, rows) = violations(|r| r.gamma_k_hat = 1e-6, "factor_product");
    assert_eq!(found, rows);
    let (found, rows) = violations(|r| r.feature_step += 1e-6, "spread_recursion");
    assert_eq!(found, rows);
    let (found, rows) = violations(|r| r.ds_w = 1e-6, "tight_bound");
    assert_eq!(found, rows);
}

#[test]
fn steps_layers_and_maturity_are_checked() {
    struct Odd {
        layer: fn(&mut ProbeLayerRow),
        maturity: fn(&mut MaturityRow),
    }
    impl Tamper for Odd {
        fn step(&mut self, row: &mut StepRow) {
            row.clip_scale = if row.step == 9 { 0.0 } else { row.clip_scale };
        }
        fn layer(&mut self, row: &mut ProbeLayerRow) {
            if (row.step, row.layer) == (14, 2) {
                (self.layer)(row);
            }
        }
        fn maturity(&mut self, row: &mut MaturityRow) {
            if (row.step, row.layer, row.lag) == (21, 1, 2 * SMALL.lag()) {
                (self.maturity)(row);
            }
        }
    }
    let layers: [fn(&mut ProbeLayerRow); 4] = [
        |r| r.eff_rank = 0.9,
        |r| r.distinct = -0.1,
        |r| r.lambda_sq = 1.001 * (r.tr_sq + 1.0),
        |r| r.lambda_sk = 1.001 * r.tr_sk,
    ];
    let maturities: [fn(&mut MaturityRow); 4] =
        [|r| r.maturity = 1.1, |r| r.maturity = -0.1, |r| r.lag = r.step + 1, |r| r.maturity = 1.0 + 1e-8];
    for (layer, maturity) in layers.into_iter().zip(maturities) {
        let (_folder, run) = run_with(SMALL, &mut Odd { layer, maturity });
        let found = verify(&run).unwrap();
        assert_eq!(found.violations(), 3, "{found:?}");
        let place = |name: &str| found.check(name).unwrap().at;
        assert_eq!(place("clip_scale"), Some(Place { step: 9, layer: None, head: None }));
        assert_eq!(place("basis_ranges"), Some(Place { step: 14, layer: Some(2), head: None }));
        assert_eq!(place("maturity_ranges"), Some(Place { step: 21, layer: Some(1), head: None }));
    }
}

#[test]
fn undefined_columns_are_skipped_and_counted() {
    struct Rope;
    impl Tamper for Rope {
        fn probe(&mut self, row: &mut ProbeRow) {
            row.e_max = f64::NAN;
        }
        fn head(&mut self, row: &mut HeadRow) {
            row.lse_gap = f32::NAN;
        }
    }
    let (_folder, run) = run_with(SMALL, &mut Rope);
    let found = verify(&run).unwrap();
    assert!(found.ok(), "{found:?}");
    for name in ["energy_bound", "lse_bracket"] {
        let check = found.check(name).unwrap();
        assert!(check.rows == 0 && check.skipped > 0 && check.worst.is_none(), "{check:?}");
    }
}

#[test]
fn with_qk_norm_the_inner_products_must_vanish() {
    let (_folder, run) = run_of(Synthetic { qk_norm: true, ..SMALL });
    assert!(verify(&run).unwrap().ok());
    let normal = &mut At::<HeadRow> { key: key(), change: |r| r.wg_q = 0.2 * (r.w_q2 * r.g_q2).sqrt() };
    let (_folder, run) = run_with(Synthetic { qk_norm: true, ..SMALL }, normal);
    assert_eq!(verify(&run).unwrap().check("euler_q").unwrap().violations, 1);
}

#[test]
fn gaps_in_the_record_are_not_weight_steps() {
    let (_folder, run) = run_of(Synthetic { telemetry_every: 3, ..SMALL });
    let found = verify(&run).unwrap();
    assert!(found.ok(), "{found:?}");
    assert_eq!(found.check("weight_norm_q").unwrap().rows, 0);
}

#[test]
fn a_damaged_part_is_a_finding() {
    let (folder, run) = run_of(SMALL);
    let part = run.parts().iter().find(|p| p.table == Table::Probe).unwrap().path(run.dir());
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&part, bytes).unwrap();
    let found = verify(&run).unwrap();
    assert!(!found.ok() && !found.unread.is_empty() && !found.integrity.is_ok(), "{found:?}");
    // Other tables are checked all the same.
    assert!(found.check("euler_q").unwrap().rows > 0);
    drop(folder);
}

proptest! {
    /// What is read off the columns of one interval, for heads of all sizes: the law adds up, the bounds hold, the
    /// recursion (5.4) leads from one end to the other, cut anywhere or not.
    #[test]
    fn any_head_satisfies_law_bounds_and_recursion(
        seed in any::<u64>(), features in -3.0..2.0f64, weights in -3.0..2.0f64,
        moves in prop::array::uniform2(-6.0..1.0f64), fraction in 0.01..0.99f64,
    ) {
        let rng = &mut rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let before = Attention::random(rng, features.exp(), weights.exp());
        let after = before.moved(rng, (features + moves[0]).exp(), (weights + moves[1]).exp());
        let row = interval_row(&before, &after, 1e-3);
        prop_assert!(recorded::additivity(&row) < 1e-10);
        let parts = recorded::parts(&row).unwrap();
        prop_assert!((parts.weights() + parts.features - row.gamma).abs() < 1e-10);
        prop_assert_eq!(recorded::is_long(&row), row.gamma.abs() > 1.0);
        let growth = recorded::predicted_growth(&row);
        prop_assert!((recorded::predicted_parts(&row).unwrap().total() - growth).abs() < 1e-9);
        prop_assert!(recorded::tightness(&row).iter().all(|t| *t > 0.0 && *t < 1.0 + 1e-9));
        prop_assert!(row.gamma_w_start <= recorded::weight_growth_bound(&row) + 1e-9);

        let cell = recorded::path_cell(&row);
        let a = row.a_hat_prev;
        let x = cell.eta * cell.u * cell.e / a;
        let bracket = 1.0 + 2.0 * x * cell.c0 + x * x;
        // A bracket near zero is a difference of squares of size 1 + x^2.
        let tolerance = 1e-12 * (1.0 + x * x) / bracket;
        prop_assert!((cell.reached(a) / row.a_hat - 1.0).abs() < tolerance);
        let [first, second] = cell.cut(fraction, a);
        let middle = 1.0 + 2.0 * fraction * x * cell.c0 + (fraction * x).powi(2);
        let tolerance = tolerance + 1e-12 * (1.0 + x * x) / middle;
        prop_assert!((second.reached(first.reached(a)) / row.a_hat - 1.0).abs() < 10.0 * tolerance);
        prop_assert!((first.eta + second.eta - cell.eta).abs() < 1e-15);
        prop_assert!((first.features + second.features - cell.features).abs() < 1e-14 * (1.0 + cell.features.abs()));
    }
}
