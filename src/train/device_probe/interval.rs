//! One layer between two probes: every product of the analysis on the device, in the order in which the host does them.

use growthpath_analysis::reduced::{HeadSums, Inners, LayerSums, drift_weights};
use growthpath_kernels::gpu::{Gpu, Panel, Slice};
use growthpath_kernels::probe::grams::{self, INNERS};
use growthpath_kernels::probe::inputs::{self, Columns, Edge, Interleaved};
use growthpath_kernels::probe::logits::{self, ROW_VALUES, RowBlock, growing_blocks, tiles};
use growthpath_kernels::probe::{Sizes, shares};

use super::moments::widen_input;
use super::taken::Taken;
use super::work::{Left, ROWS, Work};
use crate::error::Result;

/// A layer's change between two probes, on the device.
pub(super) struct Change<'a> {
    pub gpu: &'a Gpu,
    pub sizes: &'a Sizes,
    pub work: &'a Work,
    pub prev: &'a Taken,
    pub now: &'a Taken,
    pub layer: usize,
    pub layers: usize,
    /// Whether the norm takes the channels' mean away.
    pub centred: bool,
    pub augmented: bool,
}

/// The numbers of a layer's Gram matrices: per head, at the start, at the end and with both moments the identity.
pub(super) struct HeadInners {
    pub inners: [Inners; 3],
    pub weight_squares: [f64; 4],
}

impl Change<'_> {
    /// Launch everything; what is left lies in [`Work::left`], the heads' inner products are waited for.
    pub(super) fn work_out(&self, stream: Slice<'_>) -> Result<Vec<HeadInners>> {
        self.project()?;
        self.planes()?;
        self.grams()?;
        self.corners()?;
        self.tight()?;
        self.energy()?;
        let inners = self.inners()?;
        let alpha: Vec<f64> =
            drift_weights(inners.iter().map(|h| &h.inners)).alpha.into_iter().flatten().collect();
        self.work.alpha.all().write_f64(&alpha)?;
        self.drift()?;
        self.shares(stream)?;
        Ok(inners)
    }

    fn left(&self, (start, len): (usize, usize)) -> Result<Slice<'_>> {
        let each = Left::new(self.sizes, self.layers).total;
        Ok(self.work.left.at(self.layer * each + start, len)?)
    }

    fn project(&self) -> Result<()> {
        let (s, w, l) = (self.sizes, self.work, self.layer);
        let (n, d4, dp) = (s.tokens(), 4 * s.columns(), s.padded);
        for (x, taken) in [self.prev, self.now].into_iter().enumerate() {
            widen_input(s, taken.input(l)?, self.augmented, w.inputs.at(x * s.input(), s.input())?)?;
            let edge = taken.bias(l)?.map_or(Edge::Constant(0.0), Edge::Rows);
            let place = Interleaved { group: s.head_dim, slots: 2, slot: x };
            inputs::widen(s, taken.weight(l)?, edge, w.weights.all(), place)?;
        }
        let to = Panel::new(w.projected.all(), n, d4);
        let weights = Panel::new(w.weights.all(), d4, dp).stride(0);
        self.gpu.gemm_f64(2, to, Panel::new(w.inputs.all(), n, dp), weights.t(), 1.0)?;
        if let (Some(rope), Some(turned)) = (&w.tables.rope, &w.turned) {
            inputs::rotate(s, w.projected.all(), turned.all(), (rope.cos.all(), rope.sin.all()))?;
        }
        Ok(inputs::weight_planes(s, w.weights.all(), w.weight_planes.all())?)
    }

    fn planes(&self) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let (from, planes) = (w.projected.all(), w.planes.all());
        inputs::query_planes(s, from, planes, w.tables.query_roots.all())?;
        match (&w.tables.rope, &w.means) {
            (Some(rope), Some([means, mean, _])) => {
                inputs::key_planes_rope(s, from, (planes, means.all()), rope.weights())?;
                inputs::mean_of_halves(means.all(), mean.all())?;
            }
            _ => inputs::key_planes(s, from, planes, w.tables.innovations())?,
        }
        Ok(inputs::mean_of_halves(planes, w.mean_planes.all())?)
    }

    fn grams(&self) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let (wide, ends) = (2 * s.head_dim, 4 * s.heads * s.gram());
        let to = |slice| Panel::new(slice, wide, wide);
        let rows = Panel::new(w.planes.all(), s.tokens(), wide);
        self.gpu.gemm_f64(4 * s.heads, to(w.grams.at(0, ends)?), rows.t(), rows, 1.0)?;
        let rows = Panel::new(w.weight_planes.all(), wide, s.padded);
        self.gpu.gemm_f64(2 * s.heads, to(w.grams.at(ends, ends / 2)?), rows, rows.t(), 1.0)?;
        if let (Some(rope), Some([means, _, of_means])) = (&w.tables.rope, &w.means) {
            let rows = Panel::new(means.all(), s.sequences, wide);
            self.gpu.gemm_f64(2 * s.heads, to(of_means.all()), rows.t(), rows, 1.0)?;
            grams::average(s, w.grams.all(), of_means.all(), rope.tables())?;
        }
        Ok(grams::inners(s, w.grams.all(), w.inners.all())?)
    }

    fn inners(&self) -> Result<Vec<HeadInners>> {
        let values = self.work.inners.all().read_f64()?;
        let (all, _) = values.as_chunks::<INNERS>();
        let heads = self.sizes.heads;
        let square =
            |v: &[f64; INNERS]| Inners(std::array::from_fn(|i| std::array::from_fn(|j| v[4 * i + j])));
        let head = |h: usize| HeadInners {
            inners: std::array::from_fn(|x| square(&all[x * heads + h])),
            weight_squares: std::array::from_fn(|i| all[2 * heads + h][16 + i]),
        };
        Ok((0..heads).map(head).collect())
    }

    /// Rotated where positions rotate.
    fn logit_rows(&self) -> Slice<'_> {
        self.work.turned.as_ref().unwrap_or(&self.work.projected).all()
    }

    fn corners(&self) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let (n, t, d4, dh) = (s.tokens(), s.length, 4 * s.columns(), s.head_dim);
        let (from, scale) = (self.logit_rows(), 1.0 / (dh as f64).sqrt());
        let side = |x: usize, token: usize, column: usize, rows: usize| -> Result<Panel<'_>> {
            let start = (x * n + token) * d4 + column;
            Ok(Panel::new(from.at(start, from.len() - start)?, rows, dh).pitch(d4).stride(2 * dh))
        };
        for sequence in 0..s.sequences {
            for first in (0..t).step_by(ROWS) {
                let block = RowBlock { sequence, first, rows: ROWS.min(t - first) };
                let (token, keys) = (sequence * t, block.keys());
                let each = s.heads * block.rows * keys;
                for corner in 0..8 {
                    let (x, q, k) = (corner / 4, corner / 2 % 2, corner % 2);
                    let queries = side(x, token + first, q * dh, block.rows)?;
                    let keys_at = side(x, token, d4 / 2 + k * dh, keys)?;
                    let to = Panel::new(w.logits.at(corner * each, each)?, block.rows, keys);
                    self.gpu.gemm_f64(s.heads, to, queries, keys_at.t(), scale)?;
                }
                logits::corner_rows(s, w.logits.at(0, 8 * each)?, w.rows.all(), block)?;
            }
        }
        let left = Left::new(s, self.layers);
        Ok(logits::row_totals(s, w.rows.all(), self.left(left.heads)?)?)
    }

    fn tight(&self) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let [a, b] = &w.tight_rows;
        let start = self.logit_rows().at(0, s.projected())?;
        let left = Left::new(s, self.layers);
        Ok(logits::tight(s, start, (a.all(), b.all()), self.left(left.tight)?)?)
    }

    /// Columns of projected keys in rows of `pitch`, pulled back through what made key planes of them. `pull [H]` and `planes
    /// [H][n][2 d_h]` with their mean keys: what they were worked out from.
    fn pull_keys(
        &self,
        pull: Slice<'_>,
        (planes, means): (Slice<'_>, Option<Slice<'_>>),
        (to, columns): (Slice<'_>, Columns),
    ) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let wide = 2 * s.head_dim;
        let times = |matrices: Slice<'_>| -> Result<()> {
            let rows = Panel::new(planes, s.tokens(), wide);
            let at = to.at(columns.first, to.len() - columns.first)?;
            let out = Panel::new(at, s.tokens(), wide).pitch(columns.pitch).stride(wide);
            Ok(self.gpu.gemm_f64(s.heads, out, rows, Panel::new(matrices, wide, wide), 1.0)?)
        };
        let (Some(rope), Some(means), Some([for_rows, for_means]), Some(back)) =
            (&w.tables.rope, means, &w.pulled, &w.pulled_means)
        else {
            times(pull)?;
            return Ok(inputs::key_adjoint(s, to, columns, w.tables.innovations())?);
        };
        grams::average_adjoint(s, pull, (for_rows.all(), for_means.all()), rope.tables())?;
        times(for_rows.all())?;
        let out = Panel::new(back.all(), s.sequences, wide);
        let rows = Panel::new(means, s.sequences, wide);
        self.gpu.gemm_f64(s.heads, out, rows, Panel::new(for_means.all(), wide, wide), 1.0)?;
        Ok(inputs::key_adjoint_rope(s, to, columns, back.all(), rope.weights())?)
    }

    /// The energy's derivative by the input of the start.
    fn energy(&self) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let (n, d2, dp, half) = (s.tokens(), 2 * s.columns(), s.padded, s.projected() / 2);
        grams::pull_energy(s, w.grams.all(), w.pull_energy.all(), 1.0 / s.head_dim as f64)?;
        let means = match &w.means {
            Some([means, ..]) => Some(means.at(0, means.len() / 2)?),
            None => None,
        };
        let columns = Columns { pitch: d2, first: 0, count: d2 };
        let keys = w.planes.at(half, half)?;
        self.pull_keys(w.pull_energy.all(), (keys, means), (w.by_energy.all(), columns))?;
        let to = Panel::new(w.gradients[0].all(), n, dp);
        let weights = Panel::new(w.weight_planes.at(d2 * dp, d2 * dp)?, d2, dp);
        Ok(self.gpu.gemm_f64(1, to, Panel::new(w.by_energy.all(), n, d2), weights, 1.0)?)
    }

    /// The drift's derivative by inputs.
    fn drift(&self) -> Result<()> {
        let (s, w) = (self.sizes, self.work);
        let (n, d2, dp, wide) = (s.tokens(), 2 * s.columns(), s.padded, 2 * s.head_dim);
        let (d4, half, each) = (2 * d2, s.projected() / 2, s.heads * s.gram());
        grams::pull_drift(s, w.grams.all(), w.alpha.all(), w.pull_drift.all())?;
        let queries = Panel::new(w.mean_planes.at(0, half)?, n, wide);
        let to = Panel::new(w.by_drift.all(), n, wide).pitch(d4).stride(wide);
        self.gpu.gemm_f64(s.heads, to, queries, Panel::new(w.pull_drift.at(0, each)?, wide, wide), 1.0)?;
        let (both, roots) = (w.by_drift.all(), w.tables.query_roots.all());
        inputs::scale_rows(s, both, both, roots, Columns { pitch: d4, first: 0, count: d2 })?;
        let means = w.means.as_ref().map(|m| m[1].all());
        let columns = Columns { pitch: d4, first: d2, count: d2 };
        let keys = w.mean_planes.at(half, half)?;
        self.pull_keys(w.pull_drift.at(each, each)?, (keys, means), (both, columns))?;
        let to = Panel::new(w.gradients[1].all(), n, dp);
        Ok(self.gpu.gemm_f64(1, to, Panel::new(both, n, d4), Panel::new(w.weights.all(), d4, dp), 1.0)?)
    }

    fn shares(&self, stream: Slice<'_>) -> Result<()> {
        let (s, w, l) = (self.sizes, self.work, self.layer);
        let [energy, drift] = &w.gradients;
        let [e, before, after] = &w.stream;
        for (gradient, at, to) in
            [(energy, self.prev, e), (drift, self.prev, before), (drift, self.now, after)]
        {
            shares::through(s, gradient.all(), (at.gain(l)?, at.rstd(l)?), self.centred, to.all())?;
        }
        let gradients =
            shares::StreamGradients { energy: e.all(), drift_before: before.all(), drift_after: after.all() };
        let (count, left) = (2 * l + 1, Left::new(s, self.layers));
        let partials = w.write_partials.at(0, shares::blocks(stream.len()) * count * 4)?;
        shares::write_dots(gradients, stream, (self.prev.writes(count)?, self.now.writes(count)?), partials)?;
        shares::totals(partials, self.left((left.writes.0, count * 4))?)?;
        let inputs = (w.inputs.at(0, s.input())?, w.inputs.at(s.input(), s.input())?);
        shares::input_dots(s, (energy.all(), drift.all()), inputs, stream, w.input_partials.all())?;
        Ok(shares::totals(w.input_partials.all(), self.left(left.inputs)?)?)
    }
}

/// What is left of a layer, as the analysis takes it.
pub(super) fn head_sums(sizes: &Sizes, left: &[f64], at: &Left, inners: Vec<HeadInners>) -> Vec<HeadSums> {
    let part = |(start, len): (usize, usize)| &left[start..start + len];
    let (totals, _) = part(at.heads).as_chunks::<ROW_VALUES>();
    let (blocks, tiles) = (growing_blocks(sizes.length), tiles(sizes));
    let tight = part(at.tight).chunks_exact(sizes.sequences * blocks * tiles);
    let head = |((i, v), tight): ((HeadInners, &[f64; ROW_VALUES]), &[f64])| HeadSums {
        squares: std::array::from_fn(|x| {
            std::array::from_fn(|q| std::array::from_fn(|k| v[4 * x + 2 * q + k]))
        }),
        turning: v[8],
        weights: v[9],
        // A square that rounding takes below zero is none.
        tight: tight.chunks_exact(tiles).map(|block| block.iter().sum::<f64>().max(0.0)).sum(),
        rows: [v[10], v[11], v[12]],
        s_max: v[13],
        inners: i.inners,
        weight_squares: i.weight_squares,
    };
    inners.into_iter().zip(totals).zip(tight).map(head).collect()
}

/// The whole of a layer's shares: inner products of the writes, `[writes][4]`, and of the inputs and the stream.
pub(super) struct LayerDots<'a> {
    pub writes: &'a [[f64; 4]],
    pub inputs: &'a [f64],
}

impl<'a> LayerDots<'a> {
    pub(super) fn of(left: &'a [f64], at: &Left, layer: usize) -> Self {
        let (writes, _) = left[at.writes.0..at.writes.0 + at.writes.1].as_chunks::<4>();
        Self { writes: &writes[..2 * layer + 1], inputs: &left[at.inputs.0..at.inputs.0 + at.inputs.1] }
    }

    /// Shares of the stream (2.3).
    pub(super) fn stream(&self) -> Vec<f64> {
        self.writes.iter().map(|w| w[3] / self.inputs[3]).collect()
    }
}

/// Shares of the energy and parts of the drift.
pub(super) fn write_shares(sums: &LayerSums, dots: &LayerDots<'_>) -> [growthpath_analysis::WriteShares; 2] {
    use growthpath_analysis::WriteShares;
    let total = sums.energy_total();
    let energy = dots.writes.iter().map(|w| w[0] / total).collect();
    let drift = dots.writes.iter().map(|w| w[2] - w[1]).collect();
    [WriteShares::of(energy, dots.inputs[0] / total), WriteShares::of(drift, dots.inputs[2] - dots.inputs[1])]
}
