//! Checks of `heads`: one row a (step, layer, head).

use growthpath_trace::{HeadRow, Run, StepRange};

use super::tally::{Check, FAINT, Place, excess, largest, outside};
use crate::error::Result;
use crate::read::each_row;
use crate::read::euler::{
    KeyGroup, batch_pairs, has_qk_norm, heads_per_key, relative, roundings, scale, stores_bf16,
};
use crate::read::grid::Grid;

/// What (2.4) needs of the step before.
#[derive(Clone, Copy)]
struct Before {
    step: u32,
    q: [f64; 3],
    k: [f64; 3],
}

pub(super) fn check(run: &Run, grid: Grid) -> (Vec<Check>, Result<()>) {
    let mut checks = Checks::new(has_qk_norm(run), stores_bf16(run), grid);
    checks.pairs = batch_pairs(run).unwrap_or(0.0);
    checks.roundings = roundings(run);
    checks.heads_per_key = heads_per_key(run);
    let read = each_row::<HeadRow>(run, StepRange::ALL, |row| checks.row(row));
    (checks.into_vec(), read)
}

struct Checks {
    qk_norm: bool,
    /// Causal pairs of a training batch; 0 where unknown.
    pairs: f64,
    /// [`roundings`].
    roundings: f64,
    /// Query heads that share a key head, and the group being read.
    heads_per_key: usize,
    keys: KeyGroup,
    grid: Grid,
    before: Vec<Option<Before>>,
    euler_q: Check,
    euler_k: Check,
    norm_q: Check,
    norm_k: Check,
    lse: Check,
    ranges: Check,
    products: Check,
    logits: Check,
    signals: Check,
}

const EULER_REASON: &str = "float32 gradients of whole matrices round by far less than 1e-3 of |W||G|, the size of the \
     terms that cancel; rows of G_S add up to zero only to rounding, which the rows' mean logits multiply";
/// Logits beyond this, 2^14, round by 1e-3: what softmax makes of them differs by as much.
const LARGEST_LOGIT: f64 = 16_384.0;

const EULER_BF16_REASON: &str = "x, q, k and the gradient at q or k are each stored as bf16, which rounds by at most 2^-9; the scale has \
     |G_S| q_rms k_rms sqrt(N / d_h) besides, for |W||G| cancels over tokens where roundings do not";
const NORM_REASON: &str = "the three columns are float32 (6e-8 each) and so are the weights, which round once an update; \
     1e-5 leaves room for float32 partial sums";

impl Checks {
    fn new(qk_norm: bool, bf16: bool, grid: Grid) -> Self {
        let (limit, reason) = if bf16 { (4.0 / 512.0, EULER_BF16_REASON) } else { (1e-3, EULER_REASON) };
        let euler =
            |name, what, zero| Check::new(name, "(2.1)", if qk_norm { zero } else { what }, limit, reason);
        let norm = |name, what| Check::new(name, "(2.4)", what, 1e-5, NORM_REASON);
        let float32 = "float32 columns";
        Self {
            qk_norm,
            pairs: 0.0,
            roundings: 0.0,
            heads_per_key: 1,
            keys: KeyGroup::default(),
            grid,
            before: vec![None; grid.cells()],
            euler_q: euler(
                "euler_q",
                "|wg_q - sgs| / (max(sqrt(w_q2 g_q2), sqrt(w_k2 g_k2)) + |S||G_S| / 1000)",
                "|wg_q| / max(sqrt(w_q2 g_q2), sqrt(w_k2 g_k2)): zero under QK-norm",
            ),
            euler_k: euler(
                "euler_k",
                "|wg_k - sgs| / (max(sqrt(w_q2 g_q2), sqrt(w_k2 g_k2)) + |S||G_S| / 1000)",
                "|wg_k| / max(sqrt(w_q2 g_q2), sqrt(w_k2 g_k2)): zero under QK-norm",
            ),
            norm_q: norm("weight_norm_q", "w_q2 of the next step - (w_q2 + 2 wd_q + d_q2), relative"),
            norm_k: norm("weight_norm_k", "w_k2 of the next step - (w_k2 + 2 wd_k + d_k2), relative"),
            lse: Check::new(
                "lse_bracket",
                "(2.5)",
                "lse_gap / (1 + |s_max|)",
                1e-5,
                "a float32 log-sum-exp rounds by some 6e-8 of the logits' size",
            ),
            ranges: Check::new(
                "head_ranges",
                "",
                "squares >= 0, spread >= 0, 0 <= entropy <= 1, 0 < top1 <= 1: how far outside",
                1e-5,
                "means of float32 probabilities over rows and heads",
            ),
            products: Check::new(
                "inner_products",
                "",
                "wg^2 <= w2 g2, wd^2 <= w2 d2, gd^2 <= g2 d2, g_max^2 <= g2, for Q and K",
                1e-4,
                float32,
            ),
            signals: Check::new(
                "signal_ranges",
                "",
                "0 <= sharpness <= 1, max_distance >= 0, q_rms, k_rms >= 0, |qk_cos| <= 1, s_min <= s_max, |pressure| <= 1, \
                 0 <= dm_top <= dm_f, 0 <= dm_entropy <= 1: how far outside",
                1e-5,
                "float32 columns of sums of float32 terms",
            ),
            logits: Check::new("logit_size", "", "spread^2 <= s_ms: centring only removes", 1e-4, float32),
        }
    }

    fn into_vec(self) -> Vec<Check> {
        vec![
            self.euler_q,
            self.euler_k,
            self.norm_q,
            self.norm_k,
            self.lse,
            self.ranges,
            self.products,
            self.logits,
            self.signals,
        ]
    }

    fn row(&mut self, row: &HeadRow) {
        let at = Place::head(row.step, row.layer, row.head);
        let wide = f64::from;
        let (w_q2, w_k2, g_q2, g_k2) = (wide(row.w_q2), wide(row.w_k2), wide(row.g_q2), wide(row.g_k2));
        let (d_q2, d_k2) = (wide(row.d_q2), wide(row.d_k2));

        // NaN is skipped: float32 logits of this size round by more than the tolerance, and softmax with them.
        let rounds =
            if wide(row.s_max).abs().max(wide(row.s_min).abs()) > LARGEST_LOGIT { f64::NAN } else { 0.0 };
        let wanted = if self.qk_norm { 0.0 } else { wide(row.sgs) };
        let mut size =
            scale([w_q2, g_q2, w_k2, g_k2], self.pairs * wide(row.s_ms), wide(row.gs2), wide(row.top1));
        let rounded = self.roundings * wide(row.gs2).sqrt() * wide(row.q_rms) * wide(row.k_rms);
        if rounded.is_finite() {
            size += rounded;
        }
        self.euler_q.add(relative(wide(row.wg_q), wanted, size) + rounds, at);
        if let Some((wanted, size)) = self.keys.add(self.heads_per_key, row.head, wanted, size) {
            self.euler_k.add(relative(wide(row.wg_k), wanted, size) + rounds, at);
        }

        self.lse.add(wide(row.lse_gap) / (1.0 + wide(row.s_max).abs()), at);
        self.ranges.add(
            largest(&[
                [w_q2, w_k2, g_q2, g_k2, d_q2, d_k2, wide(row.s_ms), wide(row.gs2), wide(row.spread)]
                    .into_iter()
                    .fold(f64::NAN, |worst, v| worst.max(outside(v, 0.0, f64::INFINITY))),
                outside(wide(row.entropy), 0.0, 1.0),
                // A row's largest weight is above zero.
                if row.top1 <= 0.0 { 1.0 } else { outside(wide(row.top1), 0.0, 1.0) },
            ]),
            at,
        );
        let product = |xy: f32, x2: f64, y2: f64| small_excess(wide(xy).powi(2), (x2 + FAINT) * (y2 + FAINT));
        self.products.add(
            largest(&[
                product(row.wg_q, w_q2, g_q2),
                product(row.wg_k, w_k2, g_k2),
                product(row.wd_q, w_q2, d_q2),
                product(row.wd_k, w_k2, d_k2),
                product(row.gd_q, g_q2, d_q2),
                product(row.gd_k, g_k2, d_k2),
                small_excess(wide(row.g_qmax).powi(2), g_q2 + FAINT),
                small_excess(wide(row.g_kmax).powi(2), g_k2 + FAINT),
            ]),
            at,
        );
        self.logits.add(small_excess(wide(row.spread).powi(2), wide(row.s_ms) + FAINT), at);
        self.signals.add(signals(row), at);
        self.weight_norm(row, at);
    }

    /// (2.4), for two consecutive recorded steps.
    fn weight_norm(&mut self, row: &HeadRow, at: Place) {
        let Some(slot) = self.grid.cell(row.layer, row.head).and_then(|cell| self.before.get_mut(cell))
        else {
            return;
        };
        let wide = |v: [f32; 3]| v.map(f64::from);
        let now = Before {
            step: row.step,
            q: wide([row.w_q2, row.wd_q, row.d_q2]),
            k: wide([row.w_k2, row.wd_k, row.d_k2]),
        };
        let before = slot.replace(now).filter(|b| b.step.checked_add(1) == Some(row.step));
        if let Some(before) = before {
            self.norm_q.add(norm_step(before.q, now.q[0]), at);
            self.norm_k.add(norm_step(before.k, now.k[0]), at);
        }
    }
}

/// How far outside its range any of the early signals lies; NaN where none is defined.
fn signals(row: &HeadRow) -> f64 {
    let wide = f64::from;
    let unit = |v: f32| outside(wide(v), 0.0, 1.0);
    let cosine = |v: f32| outside(wide(v), -1.0, 1.0);
    let positive = |v: f32| outside(wide(v), 0.0, f64::INFINITY);
    // NaN stays NaN, which counts as undefined.
    let ordered = |low: f32, high: f32| {
        if low <= high { 0.0 } else { (wide(low) - wide(high)) / wide(low).abs().max(wide(high).abs()) }
    };
    largest(&[
        unit(row.sharpness),
        positive(row.max_distance),
        positive(row.q_rms),
        positive(row.k_rms),
        cosine(row.qk_cos),
        ordered(row.s_min, row.s_max),
        cosine(row.pressure_q),
        cosine(row.pressure_k),
        positive(row.dm_top),
        ordered(row.dm_top, row.dm_f),
        unit(row.dm_entropy),
    ])
}

/// Residual of (2.4) relative to the largest of its terms.
fn norm_step([w2, wd, d2]: [f64; 3], next: f64) -> f64 {
    let difference = (next - (w2 + 2.0 * wd + d2)).abs();
    // Not by f64::max, which would hide NaN.
    let scale = w2 + d2 + next;
    if difference == 0.0 { 0.0 } else { difference / scale }
}

/// [`excess`], zero where both sides are too small for float32 columns to have digits.
fn small_excess(left: f64, right: f64) -> f64 {
    // Squares of columns underflow at the square root of the smallest float32.
    if left.max(right) < f64::from(f32::MIN_POSITIVE) { 0.0 } else { excess(left, right) }
}
