//! `verify` on honest and on tampered traces.

use growthpath_trace::*;
use proptest::prelude::*;
use rand::SeedableRng;

use super::synthetic::{Synthetic, Tamper, interval_row, rms};
use super::{SMALL, run_of, run_with};
use crate::read::{Place, interval, verify};

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

const KEY: (u32, u16, u16) = (16, 3, 1);

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
    let (_folder, run) = run_with(SMALL, &mut At { key: KEY, change });
    let found = verify(&run).unwrap();
    let check = found.check(check).unwrap();
    assert!(!found.ok() && check.violations > 0, "{check:?}");
    let Place { step, layer, .. } = check.at.unwrap();
    // A weight norm is found wrong at the step after, too.
    assert!((step == KEY.0 || step == KEY.0 + 1) && layer == Some(KEY.1), "{check:?}");
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
    found::<ProbeRow>("path_sum", |r| r.acct_residual = -1e-6);
    found::<ProbeRow>("growth_rates", |r| r.g_f += 1e-5);
    found::<ProbeRow>("growth_rates", |r| r.rho2 += 1e-5);
    // Where the growth is nearly nothing, m comes from its series and the shares no longer add up
    // by construction.
    found::<ProbeRow>("growth_shares", |r| {
        r.g_d = -r.g_d2 - r.g_f - 0.5 * r.rho2 + 1e-6;
    });
    found::<ProbeRow>("factor_product", |r| r.g_hat *= 1.0001);
    found::<ProbeRow>("factor_product", |r| r.c = -r.c);
    found::<ProbeRow>("factor_pieces", |r| r.dm_i *= 1.0001);
    found::<ProbeRow>("factor_pieces", |r| r.r_hat *= 1.0001);
    found::<ProbeRow>("energy_bound", |r| r.e_max = 0.999 * r.e);
    found::<ProbeRow>("path_bound_rms", |r| r.bound_rms = 0.999 * r.r_d);
    found::<ProbeRow>("path_bound_rms", |r| r.bound_s = 0.0);
    found::<ProbeRow>("path_bound_rate", |r| r.g_d = -1.01 * r.bound_rms / r.spread_prev);
    found::<ProbeRow>("product_bound", |r| r.spread = 2.0 * r.spread_prev);
    found::<ProbeRow>("probe_chain", |r| r.spread_prev *= 1.0001);
    found::<ProbeRow>("probe_chain", |r| r.a_hat_prev *= 1.0001);
    found::<ProbeRow>("probe_ranges", |r| r.sharpness = -1e-3);
    found::<ProbeRow>("probe_ranges", |r| r.c = 1.001);
    found::<ProbeRow>("probe_ranges", |r| r.g_d = 1.001 * r.r_d / r.spread_prev);
}

#[test]
fn steps_and_layers_are_checked() {
    struct Clip;
    impl Tamper for Clip {
        fn step(&mut self, row: &mut StepRow) {
            row.clip_scale = if row.step == 9 { 0.0 } else { row.clip_scale };
        }
        fn layer(&mut self, row: &mut ProbeLayerRow) {
            row.maturity = if row.step == 14 && row.layer == 2 { 1.1 } else { row.maturity };
        }
    }
    let (_folder, run) = run_with(SMALL, &mut Clip);
    let found = verify(&run).unwrap();
    assert_eq!(found.violations(), 2);
    assert_eq!(found.check("clip_scale").unwrap().at, Some(Place { step: 9, layer: None, head: None }));
    assert_eq!(found.check("basis_ranges").unwrap().at, Some(Place { step: 14, layer: Some(2), head: None }));
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
    let normal = &mut At::<HeadRow> { key: KEY, change: |r| r.wg_q = 0.2 * (r.w_q2 * r.g_q2).sqrt() };
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
    /// (6.2) from recorded columns, against vectors of which every part is known.
    #[test]
    fn the_product_form_bounds_every_interval(
        vectors in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64, -1.0..1.0f64, -1.0..1.0f64), 2..9),
        sizes in prop::array::uniform4(-6.0..3.0f64),
        slack in 1.0..2.0f64,
    ) {
        let [s, d, d2, f] = [0, 1, 2, 3].map(|k| -> Vec<f64> {
            let scale = sizes[k].exp();
            vectors.iter().map(|v| scale * [v.0, v.1, v.2, v.3][k]).collect()
        });
        prop_assume!(rms(&s) > 1e-6);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let mut row = interval_row(&s, &d, &d2, &f, 1.0, &mut rng);
        row.bound_rms = row.r_d * slack;
        let rest: Vec<f64> = d2.iter().zip(&f).map(|(a, b)| a + b).collect();
        let factor = interval::bound_factor(&row);
        // The feature term is at least the size of all that is not D; the root halves the digits.
        let scale = 1.0 + (row.rho2.sqrt() + row.r_d / row.spread_prev);
        prop_assert!(factor >= 1.0 + (row.bound_rms + rms(&rest)) / rms(&s) - 1e-7 * scale);
        prop_assert!(row.spread / row.spread_prev <= factor * (1.0 + 1e-7));
        // The shares add up to the growth (3.3), and (3.2) gives it.
        prop_assert!((interval::gamma_from_rates(&row) - row.gamma).abs() <= 1e-12 * interval::cancellation(&row));
        let total = interval::path_shares(&row).unwrap().total();
        prop_assert!((total - row.gamma).abs() <= 1e-12 * interval::cancellation(&row));
    }
}
