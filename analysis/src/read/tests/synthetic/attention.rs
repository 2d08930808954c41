//! One head so small that every column of `probe` is worked out naively from its definition.

use growthpath_trace::ProbeRow;
use rand::Rng;

const TOKENS: usize = 5;
const WIDTH: usize = 3;
const HEAD: usize = 2;
/// Causal pairs.
const PAIRS: f64 = (TOKENS * (TOKENS + 1) / 2) as f64;
/// RMS that weights and features are drawn back to.
const SIZE: f64 = 0.6;

type Matrix<const R: usize, const C: usize> = [[f64; C]; R];
/// Query and key moment.
type Moments = (Matrix<WIDTH, WIDTH>, Matrix<WIDTH, WIDTH>);

/// Features and weights of one head on one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    x: Matrix<TOKENS, WIDTH>,
    q: Matrix<WIDTH, HEAD>,
    k: Matrix<WIDTH, HEAD>,
}

impl Attention {
    /// A head with features and weights of given sizes.
    pub fn random(rng: &mut impl Rng, features: f64, weights: f64) -> Self {
        Self { x: noise(rng, features), q: noise(rng, weights), k: noise(rng, weights) }
    }

    /// The head after an interval: features and weights changed by noise of given sizes (0 for no change at all)
    /// and drawn back to a common size, so that a long run stays within bounds.
    pub fn moved(&self, rng: &mut impl Rng, features: f64, weights: f64) -> Self {
        Self {
            x: step(rng, &self.x, features),
            q: step(rng, &self.q, weights),
            k: step(rng, &self.k, weights),
        }
    }

    /// The same with query weights a multiple.
    pub fn scaled(&self, factor: f64) -> Self {
        Self { q: self.q.map(|row| row.map(|v| factor * v)), ..*self }
    }

    /// `q_i . k_j / sqrt(d_h)` over causal pairs, each row less its mean.
    fn centred_logits(&self) -> Vec<f64> {
        let (q, k) = (product(&self.x, &self.q), product(&self.x, &self.k));
        let row = |i: usize| {
            let logits: Vec<f64> = (0..=i).map(|j| dot(&q[i], &k[j]) / (HEAD as f64).sqrt()).collect();
            let mean = logits.iter().sum::<f64>() / logits.len() as f64;
            logits.into_iter().map(move |s| s - mean)
        };
        (0..TOKENS).flat_map(row).collect()
    }

    /// Spread: RMS of the centred logits.
    pub fn spread(&self) -> f64 {
        rms(&self.centred_logits())
    }

    fn map(&self) -> Matrix<WIDTH, WIDTH> {
        product(&self.q, &transposed(&self.k)).map(|row| row.map(|v| v / (HEAD as f64).sqrt()))
    }

    /// Moments over causal pairs: of the queries, and of the keys about the mean of those that a row sees.
    fn moments(&self) -> Moments {
        let (mut sq, mut sk) = ([[0.0; WIDTH]; WIDTH], [[0.0; WIDTH]; WIDTH]);
        for i in 0..TOKENS {
            let mean: [f64; WIDTH] =
                std::array::from_fn(|c| (0..=i).map(|j| self.x[j][c]).sum::<f64>() / (i + 1) as f64);
            for j in 0..=i {
                for (r, c) in (0..WIDTH).flat_map(|r| (0..WIDTH).map(move |c| (r, c))) {
                    sq[r][c] += self.x[i][r] * self.x[i][c] / PAIRS;
                    sk[r][c] += (self.x[j][r] - mean[r]) * (self.x[j][c] - mean[c]) / PAIRS;
                }
            }
        }
        (sq, sk)
    }

    /// Spread predicted from weights and moments (4.1).
    pub fn predicted(&self) -> f64 {
        metric(&self.map(), &self.map(), &self.moments()).sqrt()
    }
}

/// The columns of one interval.
pub fn interval_row(prev: &Attention, next: &Attention, eta: f64) -> ProbeRow {
    let corner = |[x, q, k]: [bool; 3]| Attention {
        x: if x { next.x } else { prev.x },
        q: if q { next.q } else { prev.q },
        k: if k { next.k } else { prev.k },
    };
    let [gamma_f, gamma_q, gamma_k] = owen(|new| corner(new).spread().ln());
    let [gamma_f_hat, gamma_q_hat, gamma_k_hat] = owen(|new| corner(new).predicted().ln());
    let weights_only = corner([false, true, true]);
    let (old, new) = (prev.centred_logits(), next.centred_logits());
    let moved: Vec<f64> = weights_only.centred_logits().iter().zip(&old).map(|(a, b)| a - b).collect();
    let ds_w = rms(&moved);

    let (m, m_new) = (prev.map(), next.map());
    let (dm, mean) = (combined(&m_new, &m, -1.0), combined(&m_new, &m, 1.0).map(|r| r.map(|v| 0.5 * v)));
    let dm_i = size(&dm);
    let end = |s: &Moments| {
        let norm = |a| metric(a, a, s).sqrt();
        let (from, to) = (metric(&m, &m, s), metric(&m_new, &m_new, s));
        let log_mean = if from == to { from } else { (to - from) / (to / from).ln() };
        let coherence = |a| metric(a, &dm, s) / (norm(a) * norm(&dm));
        [norm(&dm) / dm_i, coherence(&mean), coherence(&m), log_mean / norm(&mean)]
    };
    let ([e, c, c0, scale], [e_next, c_next, _, scale_next]) = (end(&prev.moments()), end(&next.moments()));

    let bound_s = size(&combined(&next.q, &prev.q, -1.0)).hypot(size(&combined(&next.k, &prev.k, -1.0)));
    let middle = size(&combined(&next.q, &prev.q, 1.0)).hypot(size(&combined(&next.k, &prev.k, 1.0)));
    let bound_omega = 0.5 * middle / (HEAD as f64).sqrt();
    // The Frobenius norm is at least the largest eigenvalue: a little looser, still a bound.
    let bound_e = size(&product(&transposed(&prev.x), &prev.x)) / PAIRS.sqrt();
    let (sq, sk) = prev.moments();
    ProbeRow {
        spread: next.spread(),
        spread_prev: prev.spread(),
        gamma: (next.spread() / prev.spread()).ln(),
        gamma_q,
        gamma_k,
        gamma_f,
        cos_theta: dot(&old, &new) / (dot(&old, &old) * dot(&new, &new)).sqrt(),
        a_hat: next.predicted(),
        a_hat_prev: prev.predicted(),
        gamma_q_hat,
        gamma_k_hat,
        gamma_f_hat,
        eta,
        u: dm_i / eta,
        dm_i,
        e,
        c,
        c0,
        scale,
        e_next,
        c_next,
        scale_next,
        feature_step: (next.predicted() / weights_only.predicted()).ln(),
        ds_w,
        gamma_w_start: (weights_only.spread() / prev.spread()).ln(),
        bound_s,
        bound_e,
        bound_omega,
        bound_cheap: bound_s * bound_e * bound_omega,
        bound_tight: tight_bound(prev, next),
        e_max: (size(&sq) * size(&sk)).sqrt(),
        ..ProbeRow::undefined()
    }
}

/// The parts of three players, features and query and key weights, in a value: the mean over the orders in which they
/// could have moved, the weights together (3.1).
fn owen(value: impl Fn([bool; 3]) -> f64) -> [f64; 3] {
    let mut parts = [0.0; 3];
    for order in [[0, 1, 2], [0, 2, 1], [1, 2, 0], [2, 1, 0]] {
        let mut new = [false; 3];
        for player in order {
            let before = value(new);
            new[player] = true;
            parts[player] += 0.25 * (value(new) - before);
        }
    }
    parts
}

/// Bound (6.2): every query against all keys of the sequence, about their common mean.
fn tight_bound(prev: &Attention, next: &Attention) -> f64 {
    let rows = |w: &Matrix<WIDTH, HEAD>| product(&prev.x, w);
    let (q, q_new, k, k_new) = (rows(&prev.q), rows(&next.q), rows(&prev.k), rows(&next.k));
    let joined = |step: &Matrix<TOKENS, HEAD>, middle: &Matrix<TOKENS, HEAD>, step_first: bool| {
        matrix::<TOKENS, { 2 * HEAD }>(|i, j| {
            let of = if (j < HEAD) == step_first { step } else { middle };
            of[i][j % HEAD]
        })
    };
    let a = joined(&combined(&q_new, &q, -1.0), &half_sum(&q_new, &q), true);
    let b = joined(&combined(&k_new, &k, -1.0), &half_sum(&k_new, &k), false);
    let mean: [f64; 2 * HEAD] =
        std::array::from_fn(|c| b.iter().map(|row| row[c]).sum::<f64>() / TOKENS as f64);
    let square = |a: &[f64; 2 * HEAD], b: &[f64; 2 * HEAD]| {
        let about: [f64; 2 * HEAD] = std::array::from_fn(|c| b[c] - mean[c]);
        dot(a, &about).powi(2)
    };
    let sum: f64 = a.iter().map(|a| b.iter().map(|b| square(a, b)).sum::<f64>()).sum();
    (sum / (PAIRS * HEAD as f64)).sqrt()
}

/// `tr(A Sk B^T Sq)`.
fn metric(a: &Matrix<WIDTH, WIDTH>, b: &Matrix<WIDTH, WIDTH>, (sq, sk): &Moments) -> f64 {
    inner(&product(&product(sq, a), sk), b)
}

fn matrix<const R: usize, const C: usize>(mut entry: impl FnMut(usize, usize) -> f64) -> Matrix<R, C> {
    std::array::from_fn(|i| std::array::from_fn(|j| entry(i, j)))
}

fn noise<const R: usize, const C: usize>(rng: &mut impl Rng, scale: f64) -> Matrix<R, C> {
    matrix(|_, _| scale * rng.random_range(-1.0..1.0))
}

fn step<const R: usize, const C: usize>(rng: &mut impl Rng, m: &Matrix<R, C>, scale: f64) -> Matrix<R, C> {
    if scale == 0.0 {
        return *m;
    }
    let pull = (SIZE * ((R * C) as f64).sqrt() / size(m)).powf(0.1);
    combined(&noise(rng, scale), m, pull)
}

fn product<const A: usize, const B: usize, const C: usize>(
    x: &Matrix<A, B>,
    y: &Matrix<B, C>,
) -> Matrix<A, C> {
    matrix(|i, j| (0..B).map(|l| x[i][l] * y[l][j]).sum())
}

fn transposed<const R: usize, const C: usize>(m: &Matrix<R, C>) -> Matrix<C, R> {
    matrix(|i, j| m[j][i])
}

/// `a + factor b`.
fn combined<const R: usize, const C: usize>(a: &Matrix<R, C>, b: &Matrix<R, C>, factor: f64) -> Matrix<R, C> {
    matrix(|i, j| a[i][j] + factor * b[i][j])
}

fn half_sum<const R: usize, const C: usize>(a: &Matrix<R, C>, b: &Matrix<R, C>) -> Matrix<R, C> {
    matrix(|i, j| 0.5 * (a[i][j] + b[i][j]))
}

fn inner<const R: usize, const C: usize>(a: &Matrix<R, C>, b: &Matrix<R, C>) -> f64 {
    a.iter().zip(b).map(|(a, b)| dot(a, b)).sum()
}

/// Frobenius norm.
fn size<const R: usize, const C: usize>(m: &Matrix<R, C>) -> f64 {
    inner(m, m).sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn rms(a: &[f64]) -> f64 {
    (dot(a, a) / a.len() as f64).sqrt()
}
