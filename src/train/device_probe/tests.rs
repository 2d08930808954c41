//! Rows of the device against the host's analysis of the same forward values: what is left is float64 rounding alone.
//!
//! They need a device: a GPU, or the host emulator's libraries on `LD_LIBRARY_PATH` (`scripts/cuda-train-check.sh` runs them).

use candle_core::{Device as CandleDevice, Tensor};
use growthpath_analysis::probe_rows::{first_rows, head_rows, layer_row, share_rows};
use growthpath_analysis::{DriftSensitivity, EnergySensitivity, LayerProbe, StreamNorm};
use growthpath_kernels::optimizer::Rule;
use growthpath_trace::{ProbeLayerRow, ProbeRow, Row, ShareRow};

use super::*;
use crate::train::activations::state_of;

/// Sums in another order, of up to `n d` terms, relative to sums of absolute terms, and then a difference of logarithms of
/// corners that differ by 1e-3: 1e-13 / 1e-3, with room.
const TOLERANCE: f64 = 1e-9;

/// A device, where there is one.
fn device() -> Option<Gpu> {
    match Gpu::open(0) {
        Ok(gpu) => Some(gpu),
        Err(e) => {
            eprintln!("skipped: {e}");
            None
        }
    }
}

/// The probe that the device keeps, as the host takes it.
struct Host {
    probes: Vec<LayerProbe>,
    rstd: Vec<Vec<f32>>,
    gains: Vec<Vec<f32>>,
    writes: Vec<Vec<f32>>,
    streams: Vec<Vec<f32>>,
}

impl Host {
    fn writes_before(&self, layer: usize) -> Vec<&[f32]> {
        self.writes[..=2 * layer].iter().map(Vec::as_slice).collect()
    }
}

fn host(p: &DeviceProbes) -> Host {
    let (taken, s, c) = (&p.taken[p.turn], &p.sizes, &p.config);
    let read = |slice: growthpath_kernels::gpu::Slice<'_>| slice.read().unwrap();
    let layer = |l: usize| {
        let bias = taken.bias(l).unwrap().map(read);
        let (x, w) = (read(taken.input(l).unwrap()), read(taken.weight(l).unwrap()));
        LayerProbe::new(state_of(&x, (s.length, s.width), &w, bias.as_deref()), p.geometry).unwrap()
    };
    let all = read(taken.writes(2 * c.layers - 1).unwrap());
    Host {
        probes: (0..c.layers).map(layer).collect(),
        rstd: (0..c.layers).map(|l| read(taken.rstd(l).unwrap())).collect(),
        gains: (0..c.layers).map(|l| read(taken.gain(l).unwrap())).collect(),
        writes: all.chunks_exact(s.tokens() * s.width).map(<[f32]>::to_vec).collect(),
        streams: (0..c.layers).map(|l| read(p.pass.stream(l).unwrap())).collect(),
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn close<R: Row>(what: &str, got: &R, want: &R) {
    for column in R::COLUMNS {
        let name = column.name;
        let [got, want] = [got, want].map(|r| r.value(name).unwrap());
        let same = got == want || got.is_nan() && want.is_nan();
        let difference = (got - want).abs() / want.abs().max(1e-3);
        assert!(same || difference < TOLERANCE, "{what} {name}: {got:e} on the device, {want:e} on the host");
    }
}

fn check(preset: &str, changes: &[(&str, usize)], (sequences, length): (usize, usize)) {
    let Some(gpu) = device() else { return };
    let (mut config, _) = ModelConfig::preset(preset, "nano").unwrap();
    (config.width, config.heads, config.layers, config.vocab, config.context) = (32, 2, 2, 41, 64);
    for (name, value) in changes {
        match *name {
            "width" => config.width = *value,
            "heads" => config.heads = *value,
            other => panic!("{other}"),
        }
    }
    let model = Decoder::new(config.clone(), 5, &CandleDevice::Cpu).unwrap();
    let tokens: Vec<u32> = (0..sequences * length).map(|i| (i * i % 41) as u32).collect();
    let batch = Batch { inputs: tokens.clone(), targets: tokens, rows: sequences, context: length };
    let mut probes = DeviceProbes::new(&gpu, &model, batch).unwrap();
    let rule = Rule::AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8 };
    let eta = vec![0.01; config.layers];
    let probe = |model: &Decoder, probes: &mut DeviceProbes, step| {
        let backend = Cuda::new(&gpu, model, rule, 1, Elem::F32).unwrap();
        let rows = probes.probe(&backend, step, &eta).unwrap();
        (rows, host(probes))
    };
    let ((first, moments), before) = probe(&model, &mut probes, 3);
    // Another model of the same shape, near the first.
    for (i, var) in model.params.vars.iter().enumerate() {
        let noise = Tensor::randn(0f32, 0.01, var.shape(), &CandleDevice::Cpu).unwrap();
        var.set(&(var.as_tensor() + noise).unwrap()).unwrap_or_else(|e| panic!("{i}: {e}"));
    }
    let ((rows, _), after) = probe(&model, &mut probes, 7);
    let mut heads: Vec<ProbeRow> = Vec::new();
    let mut layers: Vec<ProbeLayerRow> = Vec::new();
    let mut shares: Vec<ShareRow> = Vec::new();
    for (l, (prev, next)) in before.probes.iter().zip(&after.probes).enumerate() {
        let change = prev.change_to(next).unwrap();
        heads.extend(head_rows(7, 3, l, &change.interval(&vec![0.01; config.heads]).unwrap()));
        layers.push(layer_row(7, l, next).unwrap());
        let centred = config.norm == Norm::LayerNorm;
        let [old, new] =
            [&before, &after].map(|h| StreamNorm { gain: &h.gains[l], rstd: &h.rstd[l], centred });
        let [w0, w1] = [&before, &after].map(|h| h.writes_before(l));
        let energy = EnergySensitivity::of(&change).shares_of_stream(&old, &w0).unwrap();
        let drift = DriftSensitivity::of(&change).parts_of_stream((&old, &w0), (&new, &w1)).unwrap();
        let h = &after.streams[l];
        let stream: Vec<f64> = w1.iter().map(|w| dot(w, h) / dot(h, h)).collect();
        shares.extend(share_rows(7, l, &stream, &energy, &drift));
        for (got, want) in
            first.heads.iter().filter(|r| usize::from(r.layer) == l).zip(first_rows(3, l, prev))
        {
            close("first probe", got, &want);
        }
        let sk = &prev.moments().sk;
        let triangle = (0..sk.nrows()).flat_map(|i| (0..=i).map(move |j| (i, j)));
        for ((i, j), got) in triangle.zip(&moments.layers[l]) {
            let want = sk[(i, j)];
            assert!((f64::from(*got) - want).abs() <= 1e-6 * sk[(i, i)].max(sk[(j, j)]), "Sk {i} {j}");
        }
    }
    assert_eq!((rows.heads.len(), rows.shares.len()), (heads.len(), shares.len()));
    rows.heads.iter().zip(&heads).for_each(|(a, b)| close("probe", a, b));
    rows.layers.iter().zip(&layers).for_each(|(a, b)| close("probe_layers", a, b));
    rows.shares.iter().zip(&shares).for_each(|(a, b)| close("shares", a, b));
}

#[test]
fn learned_positions_and_biases() {
    check("gpt", &[], (3, 21));
}

#[test]
fn inputs_longer_than_wide_and_wide_heads() {
    check("gpt", &[("width", 128), ("heads", 1)], (2, 9));
    check("gpt-nobias", &[("width", 16), ("heads", 1)], (2, 40));
}

#[test]
fn rotary_positions_and_gates() {
    check("llama", &[], (3, 21));
    check("gpt+rope", &[("width", 64)], (1, 33));
}
