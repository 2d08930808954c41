//! Random layers and a brute-force reference: plain loops over pairs, written from the definitions.
#![allow(dead_code)] // each test binary uses a part

use faer::Mat;
use growthpath_analysis::{Geometry, LayerState, Positions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Sum of uniforms: near enough to a normal variate, and bounded.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..6).map(|_| rng.random::<f64>() - 0.5).sum::<f64>() * std::f64::consts::SQRT_2
}

pub fn matrix(rng: &mut ChaCha8Rng, rows: usize, cols: usize, scale: f64) -> Mat<f64> {
    Mat::from_fn(rows, cols, |_, _| scale * normal(rng))
}

/// What a random layer looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub lengths: Vec<usize>,
    pub width: usize,
    pub geometry: Geometry,
    pub biases: bool,
    /// Size of a component that all tokens share.
    pub common: f64,
}

impl Shape {
    pub fn new(
        lengths: &[usize],
        width: usize,
        heads: usize,
        head_dim: usize,
        rope: bool,
        biases: bool,
    ) -> Self {
        let positions = if rope { Positions::Rope { base: 100.0 } } else { Positions::Plain };
        let geometry = Geometry { heads, head_dim, positions };
        Self { lengths: lengths.to_vec(), width, geometry, biases, common: 0.5 }
    }

    /// Heads of which only the first `rotary / 2` planes turn.
    pub fn partial(lengths: &[usize], width: usize, heads: usize, head_dim: usize, rotary: usize) -> Self {
        let mut shape = Self::new(lengths, width, heads, head_dim, true, false);
        shape.geometry.positions = Positions::PartialRope { base: 100.0, rotary };
        shape
    }

    /// Odd shapes, with and without rotation and biases.
    pub fn zoo() -> Vec<Self> {
        vec![
            Self::new(&[9, 9], 7, 2, 3, false, false),
            Self::new(&[13, 1, 70], 5, 3, 4, false, true),
            Self::new(&[11, 11, 11], 6, 2, 4, true, false),
            Self::new(&[5, 66, 2], 9, 1, 6, true, true),
            Self::new(&[2], 3, 1, 2, true, false),
            Self::new(&[129], 4, 2, 1, false, false),
            Self::partial(&[12, 7], 6, 2, 6, 2),
            Self::partial(&[9], 5, 1, 8, 4),
        ]
    }

    pub fn augmented_width(&self) -> usize {
        self.width + usize::from(self.biases)
    }

    pub fn inputs(&self, rng: &mut ChaCha8Rng) -> Vec<Mat<f64>> {
        let shared: Vec<f64> = (0..self.width).map(|_| self.common * normal(rng)).collect();
        self.lengths
            .iter()
            .map(|&t| {
                let own = matrix(rng, t, self.width, 1.0);
                Mat::from_fn(t, self.augmented_width(), |i, j| {
                    if j < self.width { own[(i, j)] + shared[j] } else { 1.0 }
                })
            })
            .collect()
    }

    pub fn state(&self, rng: &mut ChaCha8Rng) -> LayerState {
        let (d, c) = (self.augmented_width(), self.geometry.columns());
        LayerState { x: self.inputs(rng), wq: matrix(rng, d, c, 0.4), wk: matrix(rng, d, c, 0.4) }
    }

    /// A state some step of the given size away.
    pub fn moved(&self, rng: &mut ChaCha8Rng, from: &LayerState, step: f64) -> LayerState {
        let (d, c) = (self.augmented_width(), self.geometry.columns());
        let x = from
            .x
            .iter()
            .map(|x| {
                let noise = matrix(rng, x.nrows(), self.width, step);
                Mat::from_fn(x.nrows(), d, |i, j| {
                    x[(i, j)] + if j < self.width { noise[(i, j)] } else { 0.0 }
                })
            })
            .collect();
        LayerState { x, wq: &from.wq + matrix(rng, d, c, step), wk: &from.wk + matrix(rng, d, c, step) }
    }

    pub fn pair(&self, seed: u64, step: f64) -> (LayerState, LayerState) {
        let mut rng = rng(seed);
        let prev = self.state(&mut rng);
        let next = self.moved(&mut rng, &prev, step);
        (prev, next)
    }
}

/// Per sequence, per row i: one value for each key j <= i.
pub type Pairs = Vec<Vec<Vec<f64>>>;

/// `x_i W` of one head, turned by `position`.
pub fn vector(x: &Mat<f64>, row: usize, w: &Mat<f64>, g: &Geometry, head: usize, position: f64) -> Vec<f64> {
    let v: Vec<f64> = (0..g.head_dim)
        .map(|c| (0..x.ncols()).map(|k| x[(row, k)] * w[(k, head * g.head_dim + c)]).sum())
        .collect();
    turn(&v, g, position)
}

/// Rotate-half by hand.
pub fn turn(v: &[f64], g: &Geometry, position: f64) -> Vec<f64> {
    let (base, rotary) = match g.positions {
        Positions::Plain => return v.to_vec(),
        Positions::Rope { base } => (base, g.head_dim),
        Positions::PartialRope { base, rotary } => (base, rotary),
    };
    let half = g.head_dim / 2;
    let mut out = v.to_vec();
    for p in 0..rotary / 2 {
        let angle = position / base.powf(2.0 * p as f64 / rotary as f64);
        out[p] = v[p] * angle.cos() - v[p + half] * angle.sin();
        out[p + half] = v[p + half] * angle.cos() + v[p] * angle.sin();
    }
    out
}

/// Logits of a head for any query weights and key weights.
pub fn logits(x: &[Mat<f64>], wq: &Mat<f64>, wk: &Mat<f64>, g: &Geometry, head: usize) -> Pairs {
    x.iter()
        .map(|x| {
            (0..x.nrows())
                .map(|i| {
                    let q = vector(x, i, wq, g, head, i as f64);
                    (0..=i)
                        .map(|j| {
                            let k = vector(x, j, wk, g, head, j as f64);
                            q.iter().zip(&k).map(|(a, b)| a * b).sum::<f64>() / (g.head_dim as f64).sqrt()
                        })
                        .collect()
                })
                .collect()
        })
        .collect()
}

pub fn centred(s: &Pairs) -> Pairs {
    s.iter()
        .map(|seq| {
            seq.iter()
                .map(|row| {
                    let mean = row.iter().sum::<f64>() / row.len() as f64;
                    row.iter().map(|v| v - mean).collect()
                })
                .collect()
        })
        .collect()
}

pub fn zip(a: &Pairs, b: &Pairs, f: impl Fn(f64, f64) -> f64) -> Pairs {
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(x, y)| f(*x, *y)).collect()).collect()
        })
        .collect()
}

pub fn flat(a: &Pairs) -> Vec<f64> {
    a.iter().flatten().flatten().copied().collect()
}

pub fn inner(a: &Pairs, b: &Pairs) -> f64 {
    flat(a).iter().zip(flat(b)).map(|(x, y)| x * y).sum()
}

pub fn rms(a: &Pairs) -> f64 {
    let a = flat(a);
    (a.iter().map(|v| v * v).sum::<f64>() / a.len() as f64).sqrt()
}

/// Asserts agreement to `tolerance`, absolute below one and relative above.
#[track_caller]
pub fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let scale = expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= tolerance * scale,
        "{what}: found {found:e}, expected {expected:e}, off by {:e}",
        (found - expected).abs() / scale
    );
}

/// Plain product by loops.
pub fn times(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    assert_eq!(a.ncols(), b.nrows());
    Mat::from_fn(a.nrows(), b.ncols(), |i, j| (0..a.ncols()).map(|k| a[(i, k)] * b[(k, j)]).sum())
}

pub fn transposed(a: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(a.ncols(), a.nrows(), |i, j| a[(j, i)])
}

pub fn trace(a: &Mat<f64>) -> f64 {
    (0..a.nrows()).map(|i| a[(i, i)]).sum()
}

/// Columns of a head.
pub fn head(w: &Mat<f64>, g: &Geometry, h: usize) -> Mat<f64> {
    Mat::from_fn(w.nrows(), g.head_dim, |i, j| w[(i, h * g.head_dim + j)])
}

/// Query moment, key moment about each row's own mean and about each sequence's mean key, and those means, by loops
/// over pairs.
#[derive(Clone)]
pub struct Reference {
    pub sq: Mat<f64>,
    pub sk: Mat<f64>,
    /// About the sequence's mean, times what makes it the scatter about row means for independent keys.
    pub sk_sequence: Mat<f64>,
    /// Mean key of every sequence; empty for none.
    pub means: Vec<Vec<f64>>,
    /// Mean keys of the second factor.
    pub means_y: Vec<Vec<f64>>,
}

pub fn moments(x: &[Mat<f64>]) -> Reference {
    cross_moments(x, x)
}

/// Moments with the second factor of each product taken from `y`.
pub fn cross_moments(x: &[Mat<f64>], y: &[Mat<f64>]) -> Reference {
    let d = x[0].ncols();
    let zero = || Mat::<f64>::zeros(d, d);
    let (mut sq, mut sk, mut sks) = (zero(), zero(), zero());
    let pairs: f64 = x.iter().map(|x| (x.nrows() * (x.nrows() + 1) / 2) as f64).sum();
    let mean = |x: &Mat<f64>| {
        let (mut mu, mut pairs) = (vec![0.0; d], 0.0);
        for i in 0..x.nrows() {
            for j in 0..=i {
                pairs += 1.0;
                (0..d).for_each(|a| mu[a] += x[(j, a)]);
            }
        }
        mu.iter().map(|m| m / pairs).collect::<Vec<f64>>()
    };
    let (means, means_y): (Vec<_>, Vec<_>) = (x.iter().map(mean).collect(), y.iter().map(mean).collect());
    for ((x, y), (mu, mu_y)) in x.iter().zip(y).zip(means.iter().zip(&means_y)) {
        // Independent keys of variance 1: row i's n keys scatter by n - 1 about their mean; the same keys, pair by
        // pair, by 1 - sum w_j^2 about the sequence's, w_j a key's part of all pairs.
        let t = x.nrows();
        let own = (t * (t + 1) / 2) as f64;
        let about_rows: f64 = (0..t).map(|i| i as f64).sum();
        let about_mean = own * (1.0 - (0..t).map(|j| ((t - j) as f64 / own).powi(2)).sum::<f64>());
        let factor = if t > 1 { about_rows / about_mean } else { 0.0 };
        for i in 0..t {
            let n = i as f64 + 1.0;
            let row_mean = |x: &Mat<f64>| {
                (0..d).map(|a| (0..=i).map(|j| x[(j, a)]).sum::<f64>() / n).collect::<Vec<f64>>()
            };
            let (m, m_y) = (row_mean(x), row_mean(y));
            for j in 0..=i {
                for a in 0..d {
                    for b in 0..d {
                        sq[(a, b)] += x[(i, a)] * y[(i, b)] / pairs;
                        sk[(a, b)] += (x[(j, a)] - m[a]) * (y[(j, b)] - m_y[b]) / pairs;
                        sks[(a, b)] += factor * (x[(j, a)] - mu[a]) * (y[(j, b)] - mu_y[b]) / pairs;
                    }
                }
            }
        }
    }
    Reference { sq, sk, sk_sequence: sks, means, means_y }
}

/// `<U V^T, U' V'^T>_S / d_h` from the definitions.
pub fn metric(
    r: &Reference,
    lengths: &[usize],
    g: &Geometry,
    left: (&Mat<f64>, &Mat<f64>),
    right: (&Mat<f64>, &Mat<f64>),
) -> f64 {
    let ((u, v), (u2, v2)) = (left, right);
    let width = g.head_dim;
    let scale = width as f64;
    if g.positions == Positions::Plain {
        let (m, m2) = (times(u, &transposed(v)), times(u2, &transposed(v2)));
        return trace(&times(&times(&times(&m, &r.sk), &transposed(&m2)), &r.sq)) / scale;
    }
    let a = times(&times(&transposed(u), &r.sq), u2);
    let b = times(&times(&transposed(v), &r.sk_sequence), v2);
    let rotation = |delta: f64| {
        let columns: Vec<Vec<f64>> = (0..width)
            .map(|c| turn(&(0..width).map(|i| f64::from(u8::from(i == c))).collect::<Vec<_>>(), g, delta))
            .collect();
        Mat::from_fn(width, width, |i, j| columns[j][i])
    };
    let key = |v: &Mat<f64>, mu: &[f64]| -> Vec<f64> {
        (0..width).map(|c| (0..mu.len()).map(|k| v[(k, c)] * mu[k]).sum()).collect()
    };
    let mut sum = 0.0;
    let mut pairs = 0.0;
    for (s, &t) in lengths.iter().enumerate() {
        let of = |v: &Mat<f64>, means: &[Vec<f64>]| means.get(s).map_or(vec![0.0; width], |mu| key(v, mu));
        let (k, k2) = (of(v, &r.means), of(v2, &r.means_y));
        for i in 0..t {
            let n = i as f64 + 1.0;
            pairs += n;
            let at = |k: &[f64]| (0..=i).map(|delta| turn(k, g, -(delta as f64))).collect::<Vec<_>>();
            let (rows, rows2) = (at(&k), at(&k2));
            let mean = |rows: &[Vec<f64>]| {
                (0..width).map(|c| rows.iter().map(|r| r[c]).sum::<f64>() / n).collect::<Vec<f64>>()
            };
            let (m, m2) = (mean(&rows), mean(&rows2));
            for delta in 0..=i {
                let turned = rotation(delta as f64);
                let inner = times(&times(&transposed(&turned), &b), &turned);
                sum += trace(&times(&transposed(&a), &inner));
                for p in 0..width {
                    for q in 0..width {
                        sum += a[(p, q)] * (rows[delta][p] - m[p]) * (rows2[delta][q] - m2[q]);
                    }
                }
            }
        }
    }
    sum / pairs / scale
}
