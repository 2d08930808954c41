//! Totals over the logits of attention, head by head, by the trace's definitions.

use multiversion::multiversion;
use numpy::ndarray::{ArrayView2, ArrayView4, Axis, s};

use super::lanes::{ends, exp, first, sum, sum2};
use super::parallel::each;

/// Names of the totals, in order.
pub const TOTALS: [&str; 18] = [
    "pairs",
    "rows",
    "squares",
    "centred",
    "logits",
    "entropy",
    "entropy_rows",
    "sharp",
    "sharp_rows",
    "top1",
    "distance",
    "q_tokens",
    "k_tokens",
    "q2",
    "k2",
    "paired_q",
    "paired_k",
    "gs2",
];
/// Names of the maxima, in order.
pub const MAXIMA: [&str; 3] = ["s_max", "s_low", "bracket"];
/// Rows with fewer keys do not count towards sharpness.
const SHARP_KEYS: usize = 8;

/// Totals of one head, in the order of [`TOTALS`] and [`MAXIMA`].
#[derive(Clone)]
pub struct Head {
    pub totals: [f64; TOTALS.len()],
    pub maxima: [f64; MAXIMA.len()],
}

/// Which keys a row sees.
pub enum Allowed<'a> {
    All,
    /// Those up to its own place.
    Causal,
    /// `[b, H, T, S]`.
    Mask(ArrayView4<'a, bool>),
}

/// What one call of attention computed; innermost axes are contiguous.
pub struct Call<'a> {
    /// Post-scale logits `[b, H, T, S]`.
    pub logits: ArrayView4<'a, f32>,
    /// Gradient of the attention weights, of the same shape: with it comes the squared logit gradient.
    pub weights_gradient: Option<ArrayView4<'a, f32>>,
    /// Queries `[b, H, T, d_h]` and keys `[b, KV, S, d_h]`, for their norms.
    pub query_key: Option<(ArrayView4<'a, f32>, ArrayView4<'a, f32>)>,
    pub allowed: Allowed<'a>,
}

impl Call<'_> {
    /// Totals of every head.
    pub fn sums(&self) -> Vec<Head> {
        each(self.logits.dim().1, self.logits.len(), |h| self.head(h))
    }

    fn head(&self, h: usize) -> Head {
        let (b, heads, t, keys) = self.logits.dim();
        let mut out = Head { totals: [0.0; TOTALS.len()], maxima: [f64::NEG_INFINITY; MAXIMA.len()] };
        let mut scratch = Scratch::new(keys);
        for sequence in 0..b {
            let of = |a: &ArrayView4<'_, f32>, h: usize| norms(a.slice(s![sequence, h, .., ..]));
            let norms = self.query_key.as_ref().map(|(q, k)| (of(q, h), of(k, h / (heads / k.dim().1))));
            scratch.seen.fill(0);
            for i in 0..t {
                let row = self.logits.slice(s![sequence, h, i, ..]);
                let gradient = self.weights_gradient.as_ref().map(|g| g.slice(s![sequence, h, i, ..]));
                let row = row.to_slice().unwrap_or(&[]);
                let gradient = gradient.as_ref().map(|g| g.to_slice().unwrap_or(&[]));
                let n = match &self.allowed {
                    Allowed::All => {
                        out.row(row, gradient, &mut scratch, |at| i.abs_diff(at));
                        keys
                    }
                    Allowed::Causal => {
                        let n = (i + 1).min(keys);
                        out.row(&row[..n], gradient.map(|g| &g[..n]), &mut scratch, |at| i.abs_diff(at));
                        n
                    }
                    Allowed::Mask(mask) => {
                        let mask = mask.slice(s![sequence, h, i, ..]);
                        let at: Vec<usize> = (0..keys).filter(|j| mask[*j]).collect();
                        let pick = |v: &[f32]| -> Vec<f32> { at.iter().map(|j| v[*j]).collect() };
                        let (row, gradient) = (pick(row), gradient.map(pick));
                        at.iter().for_each(|j| scratch.seen[*j] += 1);
                        out.row(&row, gradient.as_deref(), &mut scratch, |found| i.abs_diff(at[found]));
                        at.len()
                    }
                };
                if let Some((q, _)) = &norms {
                    out.add("paired_q", n as f64 * q[i]);
                }
            }
            if let Some((q, k)) = &norms {
                let seen = |j: usize| match &self.allowed {
                    Allowed::All => t,
                    Allowed::Causal => t.saturating_sub(j),
                    Allowed::Mask(_) => scratch.seen[j],
                };
                out.add("q_tokens", t as f64);
                out.add("k_tokens", keys as f64);
                out.add("q2", q.iter().sum());
                out.add("k2", k.iter().sum());
                out.add("paired_k", k.iter().enumerate().map(|(j, k)| seen(j) as f64 * k).sum());
            }
        }
        let undefined = |out: &mut Head, names: &[&str]| names.iter().for_each(|n| out.add(n, f64::NAN));
        if self.query_key.is_none() {
            undefined(&mut out, &["q_tokens", "k_tokens", "q2", "k2", "paired_q", "paired_k"]);
        }
        if self.weights_gradient.is_none() {
            undefined(&mut out, &["gs2"]);
        }
        if t != keys {
            // Rows and keys are not the same tokens: places do not compare.
            undefined(&mut out, &["distance"]);
        }
        out
    }
}

/// Squared norms of the rows of a matrix.
fn norms(a: ArrayView2<'_, f32>) -> Vec<f64> {
    a.axis_iter(Axis(0)).map(|row| square(row.to_slice().unwrap_or(&[]))).collect()
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn square(a: &[f32]) -> f64 {
    sum(a, |v| v * v)
}

struct Scratch {
    /// `exp(s - max)` of a row.
    weights: Vec<f32>,
    /// How many rows saw each key.
    seen: Vec<usize>,
}

impl Scratch {
    fn new(keys: usize) -> Self {
        Self { weights: vec![0.0; keys], seen: vec![0; keys] }
    }
}

/// What one row of logits gives.
struct Row {
    low: f64,
    top: f64,
    at: usize,
    total: f64,
    squares: f64,
    centred: f64,
    z: f64,
    /// Weighted mean of how far logits lie below the largest.
    below: f64,
    gradient2: f64,
}

impl Head {
    fn add(&mut self, name: &str, value: f64) {
        if let Some(at) = TOTALS.iter().position(|n| *n == name) {
            self.totals[at] += value;
        }
    }

    /// One row's allowed logits; `distance` of a place among them from the row's own.
    fn row(
        &mut self,
        logits: &[f32],
        gradient: Option<&[f32]>,
        scratch: &mut Scratch,
        distance: impl Fn(usize) -> usize,
    ) {
        let n = logits.len();
        if n == 0 {
            return;
        }
        let r = row(logits, gradient.unwrap_or(&[]), &mut scratch.weights[..n]);
        let (ln_n, ln_z) = ((n as f64).ln(), r.z.ln());
        let long = n >= 2;
        let relative = if long { (ln_z + r.below) / ln_n } else { 0.0 };
        let sharp = n >= SHARP_KEYS;
        let one = |yes: bool| f64::from(u8::from(yes));
        // In the order of TOTALS.
        let totals = [
            n as f64,
            1.0,
            r.squares,
            r.centred,
            r.total,
            relative,
            one(long),
            if sharp { 1.0 - relative } else { 0.0 },
            one(sharp),
            1.0 / r.z,
            distance(r.at) as f64,
        ];
        self.totals.iter_mut().zip(totals).for_each(|(sum, v)| *sum += v);
        self.totals[TOTALS.len() - 1] += r.gradient2;
        // (2.5): how far the largest logit lies outside its bracket.
        let lse = r.top + ln_z;
        let maxima = [r.top, -r.low, (lse - ln_n - r.top).max(r.top - lse)];
        for (max, v) in self.maxima.iter_mut().zip(maxima) {
            // NaN, of a diverged run, stays.
            *max = if v > *max || v.is_nan() { v } else { *max };
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn row(logits: &[f32], gradient: &[f32], weights: &mut [f32]) -> Row {
    let (low, high) = ends(logits);
    let total = sum(logits, |v| v);
    let squares = sum(logits, |v| v * v);
    let mean = (total / logits.len() as f64) as f32;
    let centred = sum(logits, |v| (v - mean) * (v - mean));
    for (w, s) in weights.iter_mut().zip(logits) {
        *w = exp(s - high);
    }
    let z = sum(weights, |w| w);
    let below = sum2(weights, logits, |w, s| w * (high - s)) / z;
    let mut gradient2 = 0.0;
    if !gradient.is_empty() {
        // G_S = p (G_P - <p, G_P>).
        let inverse = (1.0 / z) as f32;
        let mean = (sum2(weights, gradient, |w, g| w * g) / z) as f32;
        gradient2 = sum2(weights, gradient, |w, g| {
            let g = w * inverse * (g - mean);
            g * g
        });
    }
    let unless = |v: f32| if total.is_nan() { f64::NAN } else { f64::from(v) };
    Row {
        low: unless(low),
        top: unless(high),
        at: first(logits, high),
        total,
        squares,
        centred,
        z,
        below,
        gradient2,
    }
}
