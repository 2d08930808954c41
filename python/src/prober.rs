//! Probes: what PyTorch captured of every layer, explained by the same functions that growthpath's own trainer calls.

use std::collections::BTreeMap;

use faer::Mat;
use growthpath_analysis::probe_rows::{
    basis_row, first_rows, first_share_rows, head_rows, layer_row, share_rows,
};
use growthpath_analysis::{
    DriftSensitivity, EnergySensitivity, Geometry, LayerProbe, LayerState, Moments, Positions, StreamNorm,
    maturity, prepare_layers,
};
use growthpath_trace::{MaturityRow, ProbeRow, SettlingRow, ShareRow};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::error::{analysis, value};
use crate::writer::Writer;

/// Moments kept for the cosines to the final one.
const SETTLING: usize = 32;

/// What was captured of one layer: `x` `[B, T, d]`, `wq` and `wk` `[d, H d_h]` (keys repeated for every head that
/// shares them), biases `[H d_h]`, and how its norm read the stream.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Captured<'py> {
    x: PyReadonlyArray3<'py, f32>,
    wq: PyReadonlyArray2<'py, f64>,
    wk: PyReadonlyArray2<'py, f64>,
    bq: Option<PyReadonlyArray1<'py, f64>>,
    bk: Option<PyReadonlyArray1<'py, f64>>,
    norm: Option<Norm<'py>>,
    eta: f64,
}

/// `x = gain * centre(h) * rstd + constant`; `stream` is h, `[tokens, d]`, `rstd` `[tokens]`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Norm<'py> {
    gain: PyReadonlyArray1<'py, f32>,
    rstd: PyReadonlyArray1<'py, f32>,
    centred: bool,
    stream: PyReadonlyArray2<'py, f32>,
}

/// A norm's statistics at one probe.
struct Reading {
    gain: Vec<f32>,
    rstd: Vec<f32>,
    centred: bool,
    shares: Vec<f64>,
}

impl Reading {
    fn norm(&self) -> StreamNorm<'_> {
        StreamNorm { gain: &self.gain, rstd: &self.rstd, centred: self.centred }
    }
}

struct Taken {
    step: u32,
    layers: Vec<LayerProbe>,
    norms: Vec<Option<Reading>>,
    /// Embedding, attn_0, ffn_0, ... as they stand in the stream, `[tokens x d]` each.
    writes: Vec<Vec<f32>>,
}

/// Lower triangles of the key moments of every layer, as float32: cosines exact to 1e-7 at half the memory of a
/// quarter.
struct KeyMoments {
    layers: Vec<(usize, Vec<f32>)>,
}

impl KeyMoments {
    fn of<'a>(layers: impl Iterator<Item = &'a Moments>) -> Self {
        let triangle = |m: &Mat<f64>| {
            (m.nrows(), (0..m.nrows()).flat_map(|i| (0..=i).map(move |j| m[(i, j)] as f32)).collect())
        };
        Self { layers: layers.map(|m| triangle(&m.sk)).collect() }
    }

    fn whole(&self, layer: usize) -> Mat<f64> {
        let (width, values) = &self.layers[layer];
        let at = |i: usize, j: usize| f64::from(values[i * (i + 1) / 2 + j]);
        Mat::from_fn(*width, *width, |i, j| at(i.max(j), i.min(j)))
    }

    /// Cosines with another time's, one a layer.
    fn cosines(&self, other: &Self) -> PyResult<Vec<f64>> {
        (0..self.layers.len())
            .into_par_iter()
            .map(|l| maturity::maturity(&self.whole(l), &other.whole(l)))
            .collect::<growthpath_analysis::Result<_>>()
            .map_err(analysis)
    }
}

/// Takes probes of a model and remembers the last one.
#[pyclass(unsendable)]
pub struct Prober {
    geometry: Geometry,
    lags: Vec<u32>,
    last: Option<Taken>,
    moments: BTreeMap<u32, KeyMoments>,
    settling: BTreeMap<u32, KeyMoments>,
}

#[pymethods]
impl Prober {
    /// Heads, their width, the rotary base and how many coordinates of a head turn (both `None` without rotary
    /// positions), and the lags in steps over which maturity is measured.
    #[new]
    #[pyo3(signature = (heads, head_dim, rope_base=None, rotary=None, lags=Vec::new()))]
    fn new(
        heads: usize,
        head_dim: usize,
        rope_base: Option<f64>,
        rotary: Option<usize>,
        lags: Vec<u32>,
    ) -> PyResult<Self> {
        let positions = match (rope_base, rotary) {
            (None, _) => Positions::Plain,
            (Some(base), Some(rotary)) if rotary < head_dim => Positions::PartialRope { base, rotary },
            (Some(base), _) => Positions::Rope { base },
        };
        let geometry = Geometry { heads, head_dim, positions };
        geometry.validate().map_err(analysis)?;
        let mut lags = lags;
        lags.retain(|lag| *lag > 0);
        lags.sort_unstable();
        lags.dedup();
        Ok(Self { geometry, lags, last: None, moments: BTreeMap::new(), settling: BTreeMap::new() })
    }

    /// Step of the last probe.
    #[getter]
    fn last_step(&self) -> Option<u32> {
        self.last.as_ref().map(|t| t.step)
    }

    /// Takes the probe of the model after `step` updates and writes its rows. `writes`: every residual write that a
    /// norm above reads, `[tokens, d]` each, or none.
    fn probe(
        &mut self,
        py: Python<'_>,
        writer: &mut Writer,
        step: u32,
        layers: Vec<Captured<'_>>,
        writes: Vec<PyReadonlyArray2<'_, f32>>,
    ) -> PyResult<()> {
        if let Some(last) = self.last.as_ref().map(|t| t.step).filter(|last| *last >= step) {
            return Err(value(format!(
                "a probe at step {step} after the one at step {last}: probes come in order"
            )));
        }
        let eta: Vec<f64> = layers.iter().map(|l| l.eta).collect();
        let writes = writes.iter().map(contiguous2).collect::<PyResult<Vec<_>>>()?;
        let norms = layers
            .iter()
            .enumerate()
            .map(|(l, c)| c.norm.as_ref().map(|n| reading(n, l, &writes)).transpose())
            .collect::<PyResult<Vec<_>>>()?;
        let states = layers.iter().map(|c| state(c, &self.geometry)).collect::<PyResult<Vec<_>>>()?;
        let geometry = self.geometry;
        let now = py.detach(|| -> PyResult<Taken> {
            let layers = prepare_layers(states, geometry).map_err(analysis)?;
            Ok(Taken { step, layers, norms, writes })
        })?;
        let (rows, shares) = py.detach(|| self.rows(&now, &eta))?;
        let layer_rows = py.detach(|| {
            let layers = now.layers.par_iter().enumerate().map(|(l, probe)| layer_row(step, l, probe));
            layers.collect::<growthpath_analysis::Result<Vec<_>>>().map_err(analysis)
        })?;
        writer.push(&rows)?;
        writer.push(&layer_rows)?;
        writer.push(&shares)?;
        let moments = KeyMoments::of(now.layers.iter().map(LayerProbe::moments));
        writer.push(&self.maturity(step, &moments)?)?;
        self.remember(step, moments);
        self.last = Some(now);
        Ok(())
    }

    /// Writes what the attention inputs `x` `[B, T, d]` of every layer say by themselves: their moments and maturity. For
    /// models whose logits are not bilinear in W_Q and W_K.
    fn basis(
        &mut self,
        py: Python<'_>,
        writer: &mut Writer,
        step: u32,
        x: Vec<PyReadonlyArray3<'_, f32>>,
    ) -> PyResult<()> {
        if let Some(last) = self.moments.keys().next_back().filter(|last| **last >= step) {
            return Err(value(format!(
                "a probe at step {step} after the one at step {last}: probes come in order"
            )));
        }
        let inputs: Vec<Vec<Mat<f64>>> = x.iter().map(|x| sequences(x)).collect();
        let done = py.detach(|| {
            let one = |(l, x): (usize, &Vec<Mat<f64>>)| {
                let moments = Moments::new(x)?;
                Ok((basis_row(step, l, &moments, x)?, moments))
            };
            inputs.par_iter().enumerate().map(one).collect::<growthpath_analysis::Result<Vec<_>>>()
        });
        let (rows, moments): (Vec<_>, Vec<_>) = done.map_err(analysis)?.into_iter().unzip();
        writer.push(&rows)?;
        let moments = KeyMoments::of(moments.iter());
        writer.push(&self.maturity(step, &moments)?)?;
        self.remember(step, moments);
        Ok(())
    }

    /// Writes the cosines to the last key moments.
    fn settle(&self, writer: &mut Writer) -> PyResult<()> {
        let Some((end, last)) = self.moments.last_key_value() else { return Ok(()) };
        let mut rows = Vec::new();
        for (step, moments) in self.settling.iter().filter(|(step, _)| *step < end) {
            for (layer, final_cosine) in moments.cosines(last)?.into_iter().enumerate() {
                rows.push(SettlingRow { step: *step, layer: layer as u16, final_cosine });
            }
        }
        writer.push(&rows)
    }
}

impl Prober {
    /// Rows of heads and of shares.
    fn rows(&self, now: &Taken, eta: &[f64]) -> PyResult<(Vec<ProbeRow>, Vec<ShareRow>)> {
        let each: Vec<(Vec<ProbeRow>, Vec<ShareRow>)> = (0..now.layers.len())
            .into_par_iter()
            .map(|l| match &self.last {
                None => {
                    let shares = now.norms[l].as_ref().map(|n| first_share_rows(now.step, l, &n.shares));
                    Ok((first_rows(now.step, l, &now.layers[l]), shares.unwrap_or_default()))
                }
                Some(prev) => interval(prev, now, l, eta[l], self.geometry.heads),
            })
            .collect::<growthpath_analysis::Result<_>>()
            .map_err(analysis)?;
        let (mut heads, mut shares) = (Vec::new(), Vec::new());
        for (h, s) in each {
            heads.extend(h);
            shares.extend(s);
        }
        Ok((heads, shares))
    }

    fn maturity(&self, step: u32, now: &KeyMoments) -> PyResult<Vec<MaturityRow>> {
        let mut by_layer: BTreeMap<(u16, u32), f64> = BTreeMap::new();
        for lag in self.lags.iter().filter(|lag| **lag <= step) {
            let Some(before) = self.moments.get(&(step - lag)) else { continue };
            for (layer, cosine) in before.cosines(now)?.into_iter().enumerate() {
                by_layer.insert((layer as u16, *lag), cosine);
            }
        }
        let row = |((layer, lag), maturity)| MaturityRow { step, layer, lag, maturity };
        Ok(by_layer.into_iter().map(row).collect())
    }

    /// Keeps what a comparison over some lag may still need, and a thinning series for the end.
    fn remember(&mut self, step: u32, moments: KeyMoments) {
        let longest = self.lags.last().copied().unwrap_or(0);
        self.moments.retain(|s, _| s.saturating_add(longest) > step);
        if self.settling.len() == SETTLING {
            // Every second one goes: what stays covers the whole run ever more coarsely.
            let mut keep = false;
            self.settling.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        self.settling.insert(step, KeyMoments { layers: moments.layers.clone() });
        self.moments.insert(step, moments);
    }
}

/// Rows of one layer over the interval since the probe before.
fn interval(
    prev: &Taken,
    now: &Taken,
    layer: usize,
    eta: f64,
    heads: usize,
) -> growthpath_analysis::Result<(Vec<ProbeRow>, Vec<ShareRow>)> {
    let change = prev.layers[layer].change_to(&now.layers[layer])?;
    let rows = head_rows(now.step, prev.step, layer, &change.interval(&vec![eta; heads])?);
    let (Some(before), Some(after)) = (&prev.norms[layer], &now.norms[layer]) else {
        return Ok((rows, Vec::new()));
    };
    let below = |t: &'_ Taken| -> Vec<Vec<f32>> { t.writes[..=2 * layer].to_vec() };
    let (old, new) = (below(prev), below(now));
    let (old, new): (Vec<&[f32]>, Vec<&[f32]>) =
        (old.iter().map(Vec::as_slice).collect(), new.iter().map(Vec::as_slice).collect());
    let energy = EnergySensitivity::of(&change).shares_of_stream(&before.norm(), &old)?;
    let drift =
        DriftSensitivity::of(&change).parts_of_stream((&before.norm(), &old), (&after.norm(), &new))?;
    Ok((rows, share_rows(now.step, layer, &after.shares, &energy, &drift)))
}

/// One float64 matrix a sequence.
fn sequences(x: &PyReadonlyArray3<'_, f32>) -> Vec<Mat<f64>> {
    let x = x.as_array();
    let (count, length, width) = x.dim();
    (0..count).map(|b| Mat::from_fn(length, width, |i, j| f64::from(x[(b, i, j)]))).collect()
}

fn contiguous2(a: &PyReadonlyArray2<'_, f32>) -> PyResult<Vec<f32>> {
    Ok(a.as_array().iter().copied().collect())
}

fn reading(n: &Norm<'_>, layer: usize, writes: &[Vec<f32>]) -> PyResult<Reading> {
    let h = contiguous2(&n.stream)?;
    let below = writes.get(..=2 * layer).ok_or_else(|| {
        value(format!("layer {layer} reads {} writes, {} were given", 2 * layer + 1, writes.len()))
    })?;
    if let Some(bad) = below.iter().position(|w| w.len() != h.len()) {
        return Err(value(format!("write {bad} has {} values, the stream {}", below[bad].len(), h.len())));
    }
    let dot = |a: &[f32]| a.iter().zip(&h).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let h2 = dot(&h);
    Ok(Reading {
        gain: n.gain.as_array().iter().copied().collect(),
        rstd: n.rstd.as_array().iter().copied().collect(),
        centred: n.centred,
        shares: below.iter().map(|w| dot(w) / h2).collect(),
    })
}

/// The analysis' matrices: a last column of ones and a last row of biases where there are any; with partly rotary
/// heads, coordinates in the order that [`Positions::PartialRope`] asks for.
fn state(c: &Captured<'_>, geometry: &Geometry) -> PyResult<LayerState> {
    let (x, wq, wk) = (c.x.as_array(), c.wq.as_array(), c.wk.as_array());
    let (sequences, length, d) = x.dim();
    for (name, w) in [("wq", &wq), ("wk", &wk)] {
        if w.dim() != (d, geometry.columns()) {
            return Err(value(format!("{name}: expected {d} x {}, found {:?}", geometry.columns(), w.dim())));
        }
    }
    let biases = [&c.bq, &c.bk].map(|b| b.as_ref().map(|b| b.as_array().to_vec()));
    if let Some(bad) = biases.iter().flatten().find(|b| b.len() != geometry.columns()) {
        return Err(value(format!("a bias has {} values, expected {}", bad.len(), geometry.columns())));
    }
    let extra = usize::from(biases.iter().any(Option::is_some));
    let source = column_order(geometry);
    let weights = |w: &numpy::ndarray::ArrayView2<'_, f64>, b: &Option<Vec<f64>>| {
        Mat::from_fn(d + extra, geometry.columns(), |i, j| {
            let j = source[j];
            if i < d { w[(i, j)] } else { b.as_ref().map_or(0.0, |b| b[j]) }
        })
    };
    let inputs =
        |b: usize| Mat::from_fn(length, d + extra, |i, j| if j < d { f64::from(x[(b, i, j)]) } else { 1.0 });
    Ok(LayerState {
        x: (0..sequences).map(inputs).collect(),
        wq: weights(&wq, &biases[0]),
        wk: weights(&wk, &biases[1]),
    })
}

/// Where each column of the analysis' weights comes from. Models turn coordinates i and i + rotary/2 of a head's first
/// `rotary`; here planes are i and i + d_h/2, those that turn first. Queries and keys move alike, so no logit changes.
fn column_order(geometry: &Geometry) -> Vec<usize> {
    let width = geometry.head_dim;
    let head: Vec<usize> = match geometry.positions {
        Positions::PartialRope { rotary, .. } => {
            let (turning, half) = (rotary / 2, width / 2);
            let still = half - turning;
            let first = (0..turning).chain(rotary..rotary + still);
            first.chain(turning..rotary).chain(rotary + still..width).collect()
        }
        _ => (0..width).collect(),
    };
    (0..geometry.heads).flat_map(|h| head.iter().map(move |c| h * width + c)).collect()
}
