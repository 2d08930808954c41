//! Cases, their inputs, one head in float64, and the forward launch.

use growthpath_emu::{Arg, Schedule};

use crate::support::*;
use crate::tiles::{Products, rows, tiles};
use growthpath_statistics::logits::forward as row;

#[derive(Debug)]
pub struct Case {
    pub batch: usize,
    pub heads: usize,
    pub seq: usize,
    pub dh: usize,
    pub rope: bool,
    /// Deviation of queries and keys: large ones make attention sharp.
    pub spread: f64,
    /// Added to one key dimension and its queries: logits share a large offset, which the centred sums must survive.
    pub offset: f64,
}

#[expect(clippy::too_many_arguments, reason = "a row of the table below")]
pub const fn case(
    batch: usize,
    heads: usize,
    seq: usize,
    dh: usize,
    rope: bool,
    spread: f64,
    offset: f64,
) -> Case {
    Case { batch, heads, seq, dh, rope, spread, offset }
}

/// One key, a tile and its neighbours, several tiles, a length that fits nothing; every head width.
pub const CASES: &[Case] = &[
    case(1, 1, 1, 32, false, 1.0, 0.0),
    case(2, 2, 5, 32, true, 1.0, 0.0),
    case(1, 2, 64, 32, false, 2.0, 0.0),
    case(1, 1, 65, 32, true, 1.0, 0.0),
    case(1, 1, 131, 32, false, 1.0, 8.0),
    case(1, 1, 1, 64, true, 1.0, 0.0),
    case(1, 3, 17, 64, false, 0.02, 0.0),
    case(2, 1, 63, 64, true, 1.0, 0.0),
    case(1, 1, 100, 64, false, 3.0, 0.0),
    case(1, 1, 129, 64, true, 1.0, 0.0),
    case(1, 1, 1, 128, false, 1.0, 0.0),
    case(1, 2, 33, 128, true, 1.0, 0.0),
    case(1, 1, 70, 128, false, 1.0, 4.0),
    case(2, 2, 21, 16, true, 1.0, 0.0),
    case(1, 1, 133, 16, false, 2.0, 0.0),
    case(1, 1, 260, 64, true, 1.5, 0.0),
    case(1, 1, 135, 128, true, 1.0, 0.0),
    case(2, 1, 193, 128, false, 1.5, 2.0),
    case(1, 2, 64, 128, true, 1.0, 0.0),
    case(1, 1, 257, 32, true, 1.5, 0.0),
];

/// What multiplies heads of this width: on tensor cores, single warps and, where there is a kernel, warpgroups.
pub fn products<S: Storage>(dh: usize) -> &'static [Products] {
    match (S::NAME, dh) {
        ("bf16", 16) => &[Products::Warp],
        ("bf16", _) => &[Products::Warp, Products::Group],
        _ => &[Products::Float],
    }
}

/// Tiles that a sequence is cut into.
pub fn count<S: Storage>(c: &Case) -> usize {
    c.seq.div_ceil(rows(S::NAME == "bf16", c.dh))
}

pub struct Inputs<S> {
    pub qkv: Vec<S>,
    pub tables: Option<(Vec<f32>, Vec<f32>)>,
}

pub fn inputs<S: Storage>(c: &Case, seed: u64) -> Inputs<S> {
    let mut rng = Rng(seed + (c.seq * 1000 + c.dh) as u64);
    let width = c.heads * c.dh;
    let mut qkv = Vec::new();
    for _ in 0..c.batch * c.seq {
        for block in 0..3 {
            for i in 0..width {
                let shift = if block < 2 && i % c.dh == 0 { c.offset } else { 0.0 };
                let std = if block < 2 { c.spread } else { 1.0 };
                qkv.push(S::new((shift + std * rng.normal()) as f32));
            }
        }
    }
    let half = c.dh / 2;
    let angle = |t: usize, j: usize| t as f64 * 10000f64.powf(-(j as f64) / half as f64);
    let table = |f: fn(f64) -> f64| -> Vec<f32> {
        (0..c.seq * half).map(|k| f(angle(k / half, k % half)) as f32).collect()
    };
    Inputs { qkv, tables: c.rope.then(|| (table(f64::cos), table(f64::sin))) }
}

impl<S: Storage> Inputs<S> {
    pub fn tables(&self) -> [Arg<'_>; 2] {
        self.tables.as_ref().map_or([Arg::NULL; 2], |(co, si)| [co.into(), si.into()])
    }

    /// One head's rows of block 0 (queries), 1 (keys) or 2 (values), queries and keys rotated and stored as the
    /// kernel stores them, in the same float32 steps.
    pub fn head(&self, c: &Case, block: usize, b: usize, h: usize) -> Vec<Vec<f64>> {
        let (width, half) = (c.heads * c.dh, c.dh / 2);
        (0..c.seq)
            .map(|i| {
                let at = ((b * c.seq + i) * 3 + block) * width + h * c.dh;
                let x: Vec<f32> = self.qkv[at..at + c.dh].iter().map(|v| v.get32()).collect();
                let turned = match &self.tables {
                    Some((co, si)) if block < 2 => (0..c.dh)
                        .map(|j| {
                            let k = i * half + j % half;
                            if j < half {
                                x[j] * co[k] - x[j + half] * si[k]
                            } else {
                                x[j] * co[k] + x[j - half] * si[k]
                            }
                        })
                        .collect(),
                    _ => x,
                };
                turned.into_iter().map(|v| S::new(v).get()).collect()
            })
            .collect()
    }
}

/// One head's attention in float64.
pub struct Head {
    pub q: Vec<Vec<f64>>,
    pub k: Vec<Vec<f64>>,
    pub v: Vec<Vec<f64>>,
    /// Causal logits and probabilities, row i has i + 1.
    pub s: Vec<Vec<f64>>,
    pub p: Vec<Vec<f64>>,
    pub lse: Vec<f64>,
    pub out: Vec<Vec<f64>>,
    /// Largest error of a logit: dh + 4 roundings of its terms' sum of sizes.
    pub s_error: f64,
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
pub fn dot_size(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

pub fn head<S: Storage>(x: &Inputs<S>, c: &Case, b: usize, h: usize) -> Head {
    let (q, k, v) = (x.head(c, 0, b, h), x.head(c, 1, b, h), x.head(c, 2, b, h));
    let scale = 1.0 / (c.dh as f64).sqrt();
    let (mut s, mut p, mut lse, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut s_error = 0f64;
    for i in 0..c.seq {
        let row: Vec<f64> = (0..=i).map(|j| dot(&q[i], &k[j]) * scale).collect();
        for key in &k[..=i] {
            s_error = s_error.max((c.dh as f64 + 4.0) * U32 * scale * dot_size(&q[i], key));
        }
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|s| (s - top).exp()).sum();
        let prob: Vec<f64> = row.iter().map(|s| (s - top).exp() / sum).collect();
        out.push((0..c.dh).map(|e| (0..=i).map(|j| prob[j] * v[j][e]).sum()).collect());
        lse.push(top + sum.ln());
        s.push(row);
        p.push(prob);
    }
    Head { q, k, v, s, p, lse, out, s_error }
}

/// Error of storing an operand of a second product: bf16 rounds probabilities and logit gradients, float keeps them.
pub fn operand<S: Storage>() -> f64 {
    if S::NAME == "bf16" { S::U } else { 0.0 }
}

pub struct Forward<S> {
    pub o: Vec<S>,
    pub lse: Vec<f32>,
    pub stats: Vec<f32>,
}

pub fn forward<S: Storage>(products: Products, c: &Case, x: &Inputs<S>, schedule: Schedule) -> Forward<S> {
    let n = c.batch * c.seq;
    let t = tiles(products, c.dh);
    let tiles = count::<S>(c);
    let mut f = Forward {
        o: unwritten::<S>(n * c.heads * c.dh),
        lse: unwritten::<f32>(n * c.heads),
        stats: unwritten::<f32>(c.heads * c.batch * tiles * row::COUNT),
    };
    let [cosine, sine] = x.tables();
    launch_shared(
        &products.kernel("fwd", c.dh),
        [tiles as u32, c.heads as u32, c.batch as u32],
        [t.forward_threads as u32, 1, 1],
        t.forward_bytes,
        schedule,
        &[
            (&x.qkv).into(),
            cosine,
            sine,
            (&mut f.o).into(),
            (&mut f.lse).into(),
            (&mut f.stats).into(),
            (c.batch as i32).into(),
            (c.heads as i32).into(),
            (c.seq as i32).into(),
        ],
    );
    f
}
