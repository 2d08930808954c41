//! Gated and ungated feed-forward writes at initialization against their closed forms.

use candle_core::Device;
use growthpath::model::params::Role;
use growthpath::model::{Decoder, Forward, ModelConfig, Options};
use growthpath_analysis::statistics::estimate;
use growthpath_kernels::Stats;

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `E[f(s Z)]`, Z standard normal: the trapezoidal rule on a smooth integrand that has decayed to e^-72 at the ends.
fn normal_mean(s: f64, f: impl Fn(f64) -> f64) -> f64 {
    const H: f64 = 1.0 / 256.0;
    let at = |i: i32| f64::from(i) * H;
    (-3072..=3072).map(|i| H * f(s * at(i)) * (-0.5 * at(i).powi(2)).exp()).sum::<f64>()
        / (2.0 * std::f64::consts::PI).sqrt()
}

/// `E[(act(g) u)^2]` for a gate act, or `E[gelu(g)^2]` without one; g, u ~ N(0, s^2).
fn hidden_square(preset: &str, s: f64) -> f64 {
    match preset {
        "gpt" => normal_mean(s, |g| gelu(g).powi(2)),
        "gpt+geglu" => s * s * normal_mean(s, |g| gelu(g).powi(2)),
        "gpt+swiglu" => s * s * normal_mean(s, |g| silu(g).powi(2)),
        other => panic!("no closed form for {other}"),
    }
}

const TOKENS: usize = 256;

/// A fresh model of one layer and its forward over `TOKENS` different tokens in one sequence.
fn fresh(preset: &str, width: usize, init_std: f64, seed: u64, attention: bool) -> (Decoder, Forward) {
    let mut config = ModelConfig::preset(preset, "nano").unwrap().0;
    (config.width, config.layers, config.context, config.vocab) = (width, 1, TOKENS, TOKENS);
    // Small against the stream's variance (8e-4 and more): the normalised stream has unit RMS to 1e-6.
    (config.init_std, config.norm_eps) = (init_std, 1e-9);
    let model = Decoder::new(config, seed, &Device::Cpu).unwrap();
    if !attention {
        let out = &model.params.vars[model.params.index(Role::AttnOut, Some(0)).unwrap()];
        out.set(&out.zeros_like().unwrap()).unwrap();
    }
    let tokens: Vec<u32> = (0..TOKENS as u32).collect();
    let forward =
        model.forward(&tokens, TOKENS, &Options { stats: Stats::Taken, ..Options::default() }).unwrap();
    (model, forward)
}

#[test]
fn gating_suppresses_initial_writes_by_the_closed_form() {
    const SEEDS: u64 = 24;
    const SIGMA: f64 = 0.02;
    for width in [128, 256, 512] {
        let s = SIGMA * (width as f64).sqrt();
        let measure = |preset: &str| -> (Vec<f64>, f64) {
            let mut closed = 0.0;
            let energies = (0..SEEDS).map(|seed| {
                let (model, forward) = fresh(preset, width, SIGMA, 7000 + seed, true);
                let f = model.config.hidden_width() as f64;
                // d rows of W_down with deviation sigma / sqrt(2 L), L = 1.
                closed = width as f64 * SIGMA * SIGMA / 2.0 * f * hidden_square(preset, s);
                forward.stats()[0].writes[1].energy
            });
            (energies.collect(), closed)
        };
        let (plain, plain_closed) = measure("gpt");
        let mean = estimate(&plain).mean;
        for preset in ["gpt+geglu", "gpt+swiglu"] {
            let (gated, gated_closed) = measure(preset);
            let (ratio, want) = (estimate(&gated).mean / mean, gated_closed / plain_closed);
            // Ratio of paired means: its error is that of the mean of (gated - ratio plain) / mean(plain).
            let rest: Vec<f64> = gated.iter().zip(&plain).map(|(g, p)| (g - ratio * p) / mean).collect();
            let error = estimate(&rest).error;
            println!(
                "write energy at init, d {width}, s {s:.3}: {preset} {:.5e} (closed form {gated_closed:.5e}), gpt {mean:.5e} ({plain_closed:.5e}), ratio {ratio:.5} +- {error:.5}, closed form {want:.5}",
                estimate(&gated).mean
            );
            assert!((ratio - want).abs() < 3.0 * error, "{preset} d {width}: {ratio} +- {error}, not {want}");
            // An error bar too wide to tell arms apart would prove nothing.
            assert!(error < 0.02 * want, "{preset} d {width}: error {error} of a ratio {ratio}");
            for (name, energies, closed) in [("gpt", &plain, plain_closed), (preset, &gated, gated_closed)] {
                let e = estimate(energies);
                assert!(
                    (e.mean - closed).abs() < 3.0 * e.error,
                    "{name}: {} +- {}, not {closed}",
                    e.mean,
                    e.error
                );
            }
        }
    }
}

#[test]
fn closed_forms_are_the_numbers_that_are_quoted() {
    let matched = |preset: &str, s: f64| 2.0 / 3.0 * hidden_square(preset, s) / hidden_square("gpt", s);
    for (d, want) in [(256, 0.068), (768, 0.205), (1024, 0.273)] {
        let got = matched("gpt+geglu", 0.02 * f64::from(d).sqrt());
        assert!((got - want).abs() < 5e-4, "d {d}: {got}");
    }
    // Where gating stops suppressing: quoted to three digits.
    for (preset, s) in [("gpt+geglu", 1.22), ("gpt+swiglu", 1.32)] {
        assert!(matched(preset, s - 0.01) < 1.0 && matched(preset, s + 0.01) > 1.0, "{preset}");
    }
    let common =
        |act: &dyn Fn(f64) -> f64, s| normal_mean(s, act).powi(2) / normal_mean(s, |g| act(g).powi(2));
    assert!((common(&gelu, 0.64) - 0.13).abs() < 0.005, "{}", common(&gelu, 0.64));
}

#[test]
fn an_independent_gate_removes_the_common_mode() {
    // s = sigma sqrt(d) = 0.64 at d = 256.
    let share = |preset: &str, attention: bool| {
        let shares: Vec<f64> = (0..6)
            .map(|seed| {
                let h = fresh(preset, 256, 0.04, 300 + seed, attention).1.stats()[0].hidden;
                h.hidden_common / h.hidden_ms
            })
            .collect();
        estimate(&shares).mean
    };
    let limit = normal_mean(0.64, gelu).powi(2) / hidden_square("gpt", 0.64);
    let (plain, gated) = (share("gpt", false), share("gpt+geglu", false));
    let (plain_mixed, gated_mixed) = (share("gpt", true), share("gpt+geglu", true));
    println!(
        "common mode of the hidden activations at s 0.64: gpt {plain:.4} (closed form {limit:.4}), gpt+geglu {gated:.4}; with the attention write {plain_mixed:.4}, {gated_mixed:.4}"
    );
    // N tokens: the mean of N independent values keeps 1/N; tokens are not orthogonal, rho^2 = 1/d, which adds
    // terms of order 1/d each.
    let (n, d) = (1.0 / TOKENS as f64, 1.0 / 256.0);
    assert!((plain - limit).abs() < 2.0 * (n + d), "{plain} against {limit}");
    assert!(gated < 2.0 * (n + d), "{gated}");
    // The closed form is about tokens that have nothing in common. Attention's averages are alike from one token
    // to the next, and what they add is shared by both arms; the gate removes most of it, not all.
    assert!(plain_mixed > plain && gated < gated_mixed && gated_mixed < 0.5 * plain_mixed);
}
