//! Synthetic but realistic inputs for every figure, from a small seeded generator.

use growthpath_figures::common::{Halves, Series, StepScale};
use growthpath_figures::*;

/// A small deterministic generator (xorshift), enough for pictures.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

pub const ARMS: [&str; 4] = ["gpt", "gpt+slow-qk", "llama", "llama+slow-qk"];

pub fn steps(n: usize, every: usize) -> Vec<f64> {
    (0..=n / every).map(|i| (i * every) as f64).collect()
}

/// A rise from `low` to `high` centred at step `at`.
fn rise(step: f64, at: f64, width: f64, low: f64, high: f64) -> f64 {
    low + (high - low) / (1.0 + (-(step.max(1.0).ln() - at.ln()) / width).exp())
}

fn series(noise: &mut Noise, steps: &[f64], spread: f64, f: impl Fn(f64) -> f64) -> Series {
    let values: Vec<f64> = steps.iter().map(|s| f(*s) * (1.0 + spread * noise.normal())).collect();
    let edge = |k: f64| values.iter().map(|v| v * (1.0 + k * (spread * 2.0 + 0.03))).collect();
    Series { steps: steps.to_vec(), band: Some((edge(-1.0), edge(1.0))), values }
}

/// When the upper half takes off, arm by arm.
fn onset(arm: usize) -> f64 {
    [30.0, 120.0, 160.0, 240.0][arm % 4] * (1.0 + 0.3 * (arm / 4) as f64)
}

pub fn spread_heatmap() -> spread_heatmap::Input {
    let steps = steps(1000, 5);
    let runs = ARMS[..3]
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(k as u64 + 1);
            let spread = (0..8)
                .map(|l| {
                    let at = if l >= 4 { onset(k) * (1.2 - 0.05 * f64::from(l)) } else { 60.0 };
                    let top = 1.0 + 0.35 * f64::from(l);
                    steps
                        .iter()
                        .map(|s| rise(*s, at, 0.5, 0.02, top) * (1.0 + 0.04 * noise.normal()))
                        .collect()
                })
                .collect();
            spread_heatmap::Run { name: name.to_string(), steps: steps.clone(), spread }
        })
        .collect();
    spread_heatmap::Input { runs, log_colour: true, step_scale: StepScale::Log }
}

pub fn entropy() -> entropy::Input {
    let steps = steps(1000, 10);
    let arms = ARMS
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(20 + k as u64);
            let upper = series(&mut noise, &steps, 0.008, |s| rise(s, onset(k), 0.6, 1.0, 0.52));
            let lower =
                series(&mut noise, &steps, 0.008, |s| rise(s, 90.0, 0.7, 1.0, 0.66 + 0.02 * k as f64));
            let plain = |s: Series| Series { band: None, ..s };
            entropy::Arm { name: name.to_string(), entropy: Halves { lower: plain(lower), upper } }
        })
        .collect();
    entropy::Input { arms, step_scale: StepScale::Linear }
}

pub fn write_energy() -> write_energy::Input {
    let steps = steps(1000, 4);
    let runs = ["gpt", "llama"]
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(40 + k as u64);
            let mut site = |scale: f64| -> Vec<Vec<f64>> {
                (0..8)
                    .map(|l| {
                        let top = scale * 0.8f64.powi(l);
                        steps
                            .iter()
                            .map(|s| rise(*s, 40.0, 0.8, top * 1e-3, top) * (0.15 * noise.normal()).exp())
                            .collect()
                    })
                    .collect()
            };
            let (attn, ffn) = (site([3.0, 0.1][k]), site([60.0, 0.4][k]));
            write_energy::Run { name: name.to_string(), steps: steps.clone(), attn, ffn }
        })
        .collect();
    write_energy::Input { runs, step_scale: StepScale::Log }
}

pub fn loss() -> loss::Input {
    let train_steps = steps(1000, 1);
    let valid_steps = steps(1000, 100);
    let arms = ARMS
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(60 + k as u64);
            let curve = |s: f64| 4.05 + 0.06 * k as f64 + 3.4 * (-(s / 45.0)).exp() + 1.1 / (1.0 + s / 160.0);
            let values = train_steps.iter().map(|s| curve(*s) + 0.07 * noise.normal()).collect();
            let validation =
                Series::new(valid_steps.clone(), valid_steps.iter().map(|s| curve(*s) + 0.05).collect());
            loss::Arm { name: name.to_string(), train: Series::new(train_steps.clone(), values), validation }
        })
        .collect();
    loss::Input { arms, floor: Some(3.617), window: 0, skip: 0.04, step_scale: StepScale::Linear }
}

pub fn growth_shares() -> growth_shares::Input {
    let runs = ARMS
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(80 + k as u64);
            let mut layer = |centre: f64, slope: f64, spread: f64| -> Vec<f64> {
                (0..8).map(|l| centre + slope * f64::from(l) + spread * noise.normal()).collect()
            };
            growth_shares::Run {
                name: name.to_string(),
                weight: layer(2.2 - 0.2 * k as f64, 0.1, 0.2),
                curvature: layer(0.25, 0.0, 0.05),
                feature: layer(-0.9, 0.12, 0.3),
                rotation: layer(0.6, 0.03, 0.06),
            }
        })
        .collect();
    growth_shares::Input { runs }
}

pub fn rate_scatter() -> rate_scatter::Input {
    let arms = ["gpt", "llama", "gpt+geglu"]
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(100 + k as u64);
            let mut arm = rate_scatter::Arm { name: name.to_string(), ..Default::default() };
            for _ in 0..6000 {
                let size = 0.01 * (1.4 * noise.normal()).exp();
                let g = size * if noise.uniform() < 0.7 { 1.0 } else { -1.0 };
                arm.predicted.push(g);
                arm.measured.push(g * (1.0 + 0.1 * noise.normal()) + 0.002 * noise.normal());
            }
            arm
        })
        .collect();
    rate_scatter::Input { arms, scale: rate_scatter::RateScale::SymLog }
}

pub fn growth_bound() -> growth_bound::Input {
    let steps = steps(1000, 10);
    let runs = ["gpt", "llama"]
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(120 + k as u64);
            let mut half = |at: f64| {
                let measured: Vec<f64> =
                    steps.iter().map(|s| rise(*s, at, 0.6, 0.0, 3.4) + 0.03 * noise.normal()).collect();
                growth_bound::Paths {
                    steps: steps.clone(),
                    predicted: measured.iter().map(|m| 0.97 * m + 0.03).collect(),
                    bound: steps.iter().map(|s| 5.5 * (1.0 + s / 40.0).ln()).collect(),
                    measured,
                }
            };
            growth_bound::Run { name: name.to_string(), lower: half(60.0), upper: half(onset(2 * k)) }
        })
        .collect();
    growth_bound::Input { runs, step_scale: StepScale::Linear }
}

pub fn factors() -> factors::Input {
    let steps = steps(1000, 10);
    let arms = ARMS
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(140 + k as u64);
            let slow = |s: f64| if k % 2 == 1 && s < 70.0 { 0.25 } else { 1.0 };
            let rate =
                |s: f64| (s / 40.0).min(1.0) * (0.55 + 0.45 * (s / 1000.0 * std::f64::consts::PI).cos());
            let mut halves = |spread: f64, f: &dyn Fn(f64, bool) -> f64| Halves {
                lower: Series { band: None, ..series(&mut noise, &steps, spread, |s| f(s, false)) },
                upper: Series { band: None, ..series(&mut noise, &steps, spread, |s| f(s, true)) },
            };
            factors::Arm {
                name: name.to_string(),
                step_size: halves(0.05, &|s, up| 0.08 * rate(s) * if up { slow(s) } else { 1.0 }),
                energy: halves(0.06, &|s, up| {
                    rise(s, 40.0, 0.9, 0.4, if k < 2 { 9.0 } else { 3.0 }) * if up { 1.4 } else { 1.0 }
                }),
                coherence: halves(0.3, &|s, up| {
                    0.45 * (-s / 300.0).exp() - 0.03 + if up { 0.05 } else { 0.0 }
                }),
                scale: halves(0.03, &|s, up| rise(s, if up { onset(k) } else { 70.0 }, 0.6, 0.03, 2.4)),
            }
        })
        .collect();
    factors::Input { arms, step_scale: StepScale::Linear }
}

pub fn energy_shares() -> energy_shares::Input {
    let runs = ["gpt", "llama"]
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(160 + k as u64);
            let layers = 8;
            let mut writes = vec!["embedding".to_string()];
            writes.extend((0..layers - 1).flat_map(|l| [format!("attn_{l}"), format!("ffn_{l}")]));
            let mut shares = vec![vec![f64::NAN; layers]; writes.len()];
            for layer in 0..layers {
                let raw: Vec<f64> = (0..=2 * layer)
                    .map(|w| match (w, w % 2) {
                        (0, _) => 1.0,
                        (_, 0) => 0.7 * (0.6 + 0.5 * noise.normal()),
                        _ => 0.28 * (0.6 + 0.5 * noise.normal()),
                    })
                    .collect();
                let total: f64 = raw.iter().sum();
                for (row, value) in shares.iter_mut().zip(&raw) {
                    row[layer] = value / total;
                }
            }
            energy_shares::Run { name: name.to_string(), writes, shares }
        })
        .collect();
    energy_shares::Input { runs }
}

pub fn shapley() -> shapley::Input {
    let group = |name: &str, v: [f64; 5]| shapley::Group {
        name: name.into(),
        step_size: v[0],
        update: v[1],
        energy: v[2],
        coherence: v[3],
        scale: v[4],
    };
    shapley::Input {
        from: "gpt".into(),
        to: "gpt+slow-qk".into(),
        groups: vec![
            group("lower half", [-0.02, 0.03, 0.11, -0.04, 0.02]),
            group("upper half", [-1.42, 0.21, -0.18, 0.35, 0.48]),
        ],
    }
}

pub fn diagnosis() -> diagnosis::Input {
    let steps = steps(1000, 10);
    let mut noise = Noise::new(180);
    diagnosis::Input {
        name: "gpt".into(),
        sharpness: series(&mut noise, &steps, 0.02, |s| rise(s, 110.0, 0.5, 0.002, 0.42)),
        maturity: Series {
            band: None,
            ..series(&mut noise, &steps, 0.004, |s| rise(s, 60.0, 0.8, 0.15, 0.985))
        },
        sharpness_threshold: 0.05,
        maturity_threshold: 0.9,
        commitment: Some(40.0),
        settled: Some(380.0),
        total_steps: 1000.0,
        step_scale: StepScale::Linear,
    }
}

pub fn tightness() -> tightness::Input {
    let steps = steps(1000, 10);
    let runs = ARMS
        .iter()
        .enumerate()
        .map(|(k, name)| {
            let mut noise = Noise::new(200 + k as u64);
            let mut half = |level: f64| {
                let median = series(&mut noise, &steps, 0.08, |s| level * rise(s, 50.0, 1.0, 1.6, 0.5));
                let max = Series {
                    band: None,
                    values: median.values.iter().map(|v| v * 3.1).collect(),
                    ..median.clone()
                };
                tightness::Half { median: Series { band: None, ..median }, max }
            };
            tightness::Run { name: name.to_string(), lower: half(0.05 + 0.01 * k as f64), upper: half(0.03) }
        })
        .collect();
    tightness::Input { runs, step_scale: StepScale::Log }
}

/// Every figure with its name.
pub fn all() -> Vec<(&'static str, Figure)> {
    vec![
        ("loss", loss::loss(&loss())),
        ("spread-heatmap", spread_heatmap::spread_heatmap(&spread_heatmap())),
        ("entropy", entropy::entropy(&entropy())),
        ("diagnosis", diagnosis::diagnosis(&diagnosis())),
        ("write-energy", write_energy::write_energy(&write_energy())),
        ("growth-shares", growth_shares::growth_shares(&growth_shares())),
        ("factors", factors::factors(&factors())),
        ("shapley", shapley::shapley(&shapley())),
        ("energy-shares", energy_shares::energy_shares(&energy_shares())),
        ("rate-scatter", rate_scatter::rate_scatter(&rate_scatter())),
        ("growth-bound", growth_bound::growth_bound(&growth_bound())),
        ("tightness", tightness::tightness(&tightness())),
    ]
}
