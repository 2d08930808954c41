//! Rank correlation: whether one thing rises with another, whatever the curve.

use crate::statistics::pearson;

/// Ranks from 0, equal values sharing the mean of theirs. Values must not be NaN.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut out = vec![0.0; values.len()];
    let mut first = 0;
    for run in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = first as f64 + (run.len() as f64 - 1.0) / 2.0;
        run.iter().for_each(|i| out[*i] = shared);
        first += run.len();
    }
    out
}

/// Spearman's rank correlation over the rows in which neither is NaN, and their number. NaN where either does not vary.
pub(crate) fn spearman(rows: &[[f64; 3]]) -> (f64, usize) {
    let [x, y, _] = ranked(rows, 2);
    (of_ranks(&x, &y), x.len())
}

/// Spearman's rank correlation of the first two given the third, over complete rows, and their number: what is left of
/// it when the part that runs through the third is taken out. NaN where one does not vary or is given by the third.
pub(crate) fn partial_spearman(rows: &[[f64; 3]]) -> (f64, usize) {
    let [x, y, z] = ranked(rows, 3);
    let (xy, xz, yz) = (of_ranks(&x, &y), of_ranks(&x, &z), of_ranks(&y, &z));
    let left = (1.0 - xz * xz) * (1.0 - yz * yz);
    let partial = if left > 1e-12 { (xy - xz * yz) / left.sqrt() } else { f64::NAN };
    (partial, x.len())
}

/// Ranks of the columns over the rows whose first `complete` entries are no NaN.
fn ranked(rows: &[[f64; 3]], complete: usize) -> [Vec<f64>; 3] {
    let kept: Vec<[f64; 3]> =
        rows.iter().copied().filter(|r| r[..complete].iter().all(|v| !v.is_nan())).collect();
    [0, 1, 2].map(|c| {
        if c < complete { ranks(&kept.iter().map(|r| r[c]).collect::<Vec<_>>()) } else { Vec::new() }
    })
}

fn of_ranks(x: &[f64], y: &[f64]) -> f64 {
    // Lists of one length: made from the same rows.
    pearson(x, y).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(ranks(&[3.0, -1.0, 3.0, 7.0, 3.0]), [2.0, 0.0, 2.0, 4.0, 2.0]);
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn a_monotone_curve_has_rank_correlation_one_and_missing_rows_do_not_count() {
        let mut rows: Vec<[f64; 3]> = (0..9).map(|i| [f64::from(i), f64::from(i).exp(), f64::NAN]).collect();
        rows.push([f64::NAN, 0.0, 0.0]);
        let (r, n) = spearman(&rows);
        assert!((r - 1.0).abs() < 1e-14 && n == 9, "{r} {n}");
        assert_eq!(partial_spearman(&rows).1, 0);
        assert!(spearman(&[[1.0, 2.0, 0.0], [1.0, 3.0, 0.0]]).0.is_nan(), "no variation");
    }

    #[test]
    fn the_partial_correlation_is_that_of_the_residuals() {
        // Ranks as values: the partial correlation is Pearson's of what least squares on z leaves.
        let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let y = [1.0, 0.0, 3.0, 5.0, 2.0, 4.0];
        let z = [2.0, 0.0, 1.0, 5.0, 3.0, 4.0];
        let rows: Vec<[f64; 3]> = (0..6).map(|i| [x[i], y[i], z[i]]).collect();
        let residual = |v: &[f64]| -> Vec<f64> {
            let slope: f64 = v.iter().zip(&z).map(|(v, z)| (v - 2.5) * (z - 2.5)).sum::<f64>() / 17.5;
            v.iter().zip(&z).map(|(v, z)| v - 2.5 - slope * (z - 2.5)).collect()
        };
        let want = pearson(&residual(&x), &residual(&y)).unwrap();
        assert!((partial_spearman(&rows).0 - want).abs() < 1e-12);
        // What z says entirely is not defined given z.
        let same: Vec<[f64; 3]> = (0..6).map(|i| [x[i], y[i], x[i]]).collect();
        assert!(partial_spearman(&same).0.is_nan());
    }
}
