//! Spectra and balance against explicit d x d matrices.

mod common;

use common::{close, matrix, times, transposed};
use faer::Mat;
use growthpath_analysis::spectral::{
    HeadLayout, HeadSpectrum, balance, balance_change, head_spectra, singular_values,
};

/// Columns of a head.
fn columns(w: &Mat<f64>, head: usize, width: usize) -> Mat<f64> {
    Mat::from_fn(w.nrows(), width, |i, j| w[(i, head * width + j)])
}

#[test]
fn spectra_match_the_full_product() {
    // Wider and narrower than a head, plain and grouped queries.
    for (d, heads, kv_heads, head_dim) in [(13, 3, 3, 4), (9, 6, 2, 3), (3, 2, 1, 5), (8, 4, 4, 1)] {
        let mut rng = common::rng(d as u64);
        let wq = matrix(&mut rng, d, heads * head_dim, 0.5);
        let wk = matrix(&mut rng, d, kv_heads * head_dim, 0.5);
        let layout = HeadLayout { heads, kv_heads, head_dim };
        let found = head_spectra(&wq, &wk, &layout).unwrap();
        assert_eq!(found.len(), heads);
        for (h, spectrum) in found.iter().enumerate() {
            let q = columns(&wq, h, head_dim);
            let k = columns(&wk, h * kv_heads / heads, head_dim);
            let m = faer::Scale((head_dim as f64).sqrt().recip()) * times(&q, &transposed(&k));
            let full = singular_values(m.as_ref()).unwrap();
            for (n, s) in full.iter().enumerate() {
                close("singular value", spectrum.singular_values.get(n).copied().unwrap_or(0.0), *s, 1e-13);
            }
            let square: f64 = (0..d).flat_map(|i| (0..d).map(move |j| (i, j))).map(|ij| m[ij].powi(2)).sum();
            close("Frobenius", spectrum.frobenius_norm, square.sqrt(), 1e-13);
            close("stable rank", spectrum.stable_rank, square / full[0].powi(2), 1e-12);
            let fourth: f64 = full.iter().map(|s| s.powi(4)).sum();
            close("participation", spectrum.participation_rank, square * square / fourth, 1e-12);
            close("spectral norm", spectrum.spectral_norm, full[0], 1e-13);
        }
    }
}

#[test]
fn ranks_of_known_spectra() {
    let flat = HeadSpectrum::new(vec![2.0; 5]);
    for rank in [flat.stable_rank, flat.entropy_rank, flat.participation_rank] {
        close("flat", rank, 5.0, 1e-14);
    }
    let one = HeadSpectrum::new(vec![1e-200, 0.0, 0.0]);
    for rank in [one.stable_rank, one.entropy_rank, one.participation_rank] {
        close("rank one", rank, 1.0, 1e-14);
    }
    let zero = HeadSpectrum::new(vec![0.0; 3]);
    assert!(zero.stable_rank.is_nan() && zero.entropy_rank.is_nan() && zero.participation_rank.is_nan());
    assert_eq!((zero.spectral_norm, zero.frobenius_norm), (0.0, 0.0));
    // 1/2, 1/4, 1/4: entropy 1.5 ln 2.
    close("entropy", HeadSpectrum::new(vec![2.0, 1.0, 1.0]).entropy_rank, 2f64.powf(1.5), 1e-14);
}

#[test]
fn balance_sums_query_heads_of_a_group() {
    let layout = HeadLayout { heads: 4, kv_heads: 2, head_dim: 3 };
    let mut rng = common::rng(4);
    let (wq, wk) = (matrix(&mut rng, 7, 12, 1.0), matrix(&mut rng, 7, 6, 1.0));
    let found = balance(&wq, &wk, &layout).unwrap();
    for (kv, b) in found.iter().enumerate() {
        let square = |w: &Mat<f64>, h| times(&transposed(&columns(w, h, 3)), &columns(w, h, 3));
        let expected = &(&square(&wq, 2 * kv) + &square(&wq, 2 * kv + 1)) - &square(&wk, kv);
        for i in 0..3 {
            for j in 0..3 {
                close("balance", b[(i, j)], expected[(i, j)], 1e-13);
            }
        }
    }
}

#[test]
fn gradient_flow_keeps_the_balance_to_second_order() {
    // W_Q += h X^T G X W_K, W_K += h X^T G^T X W_Q is a gradient step of any loss of the logits:
    // (2.2) says that B moves only with h^2.
    let layout = HeadLayout { heads: 1, kv_heads: 1, head_dim: 3 };
    let mut rng = common::rng(6);
    let (wq, wk) = (matrix(&mut rng, 5, 3, 0.5), matrix(&mut rng, 5, 3, 0.5));
    let core = matrix(&mut rng, 5, 5, 1.0);
    let change = |h: f64| {
        let q = &wq + faer::Scale(h) * times(&core, &wk);
        let k = &wk + faer::Scale(h) * times(&transposed(&core), &wq);
        balance_change((&wq, &wk), (&q, &k), &layout).unwrap()[0]
    };
    let (coarse, fine) = (change(1e-3), change(5e-4));
    close("second order", coarse.change / fine.change, 4.0, 1e-6);
    assert!(coarse.relative < 1e-4 && coarse.relative > 0.0);
    let still = balance_change((&wq, &wk), (&wq, &wk), &layout).unwrap()[0];
    assert_eq!((still.change, still.relative, still.before), (0.0, 0.0, still.after));
}

#[test]
fn wrong_layouts_are_named() {
    let (wq, wk) = (Mat::<f64>::zeros(4, 6), Mat::<f64>::zeros(4, 4));
    let text = |layout: HeadLayout| head_spectra(&wq, &wk, &layout).unwrap_err().to_string();
    assert!(text(HeadLayout { heads: 3, kv_heads: 2, head_dim: 2 }).contains("kv_heads must divide heads"));
    assert!(
        text(HeadLayout { heads: 3, kv_heads: 3, head_dim: 2 }).contains("wk: expected 4 x 6, found 4 x 4")
    );
    let mut nan = wq.clone();
    nan[(1, 2)] = f64::INFINITY;
    let e = head_spectra(&nan, &wq, &HeadLayout { heads: 3, kv_heads: 3, head_dim: 2 }).unwrap_err();
    assert!(e.to_string().contains("row 1, column 2"));
}
