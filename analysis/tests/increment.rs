//! The increment's spectrum against the d x d matrix itself.

mod common;

use common::close;
use faer::{Mat, Scale};
use growthpath_analysis::increment::increment;
use growthpath_analysis::spectral::singular_values;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(rng: &mut ChaCha8Rng, rows: usize, cols: usize, size: f64) -> Mat<f64> {
    Mat::from_fn(rows, cols, |_, _| size * rng.random_range(-1.0..1.0))
}

#[test]
fn spectra_are_those_of_the_whole_matrix() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    // Taller, square and wider than 2 d_h; updates as large as the weights and a hundred-thousandth of them.
    for (d, dh) in [(33, 4), (16, 8), (9, 8), (65, 16), (1, 1)] {
        for size in [1.0, 1e-5] {
            let (wq, wk) = (random(&mut rng, d, dh, 0.3), random(&mut rng, d, dh, 0.2));
            let (dq, dk) = (random(&mut rng, d, dh, size), random(&mut rng, d, dh, 0.1 * size));
            let whole = (&dq * wk.transpose() + &wq * dk.transpose()) * Scale(1.0 / (dh as f64).sqrt());
            let squares: Vec<f64> = singular_values(whole.as_ref()).unwrap().iter().map(|s| s * s).collect();
            let sum: f64 = squares.iter().sum();
            let entropy: f64 =
                squares.iter().map(|s| s / sum).filter(|p| *p > 1e-30).map(|p| -p * p.ln()).sum();
            let got = increment(wq.as_ref(), wk.as_ref(), dq.as_ref(), dk.as_ref()).unwrap();
            close("frobenius", got.frobenius / sum.sqrt(), 1.0, 1e-12);
            close("top", got.top / squares[0].sqrt(), 1.0, 1e-12);
            close("entropy", got.entropy, entropy / (2.0 * dh as f64).ln(), 1e-10);
            assert!(got.top <= got.frobenius * (1.0 + 1e-12) && (0.0..=1.0).contains(&got.entropy));
        }
    }
}

#[test]
fn one_direction_has_no_entropy_and_no_update_none_that_is_defined() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let (wq, wk) = (random(&mut rng, 20, 4, 1.0), random(&mut rng, 20, 4, 1.0));
    let none = Mat::zeros(20, 4);
    let still = increment(wq.as_ref(), wk.as_ref(), none.as_ref(), none.as_ref()).unwrap();
    assert!(still.frobenius == 0.0 && still.top == 0.0 && still.entropy.is_nan(), "{still:?}");
    // dQ of rank one with W_K of rank four: dQ W_K^T has rank one.
    let (a, b) = (random(&mut rng, 20, 1, 1.0), random(&mut rng, 1, 4, 1.0));
    let got = increment(wq.as_ref(), wk.as_ref(), (&a * &b).as_ref(), none.as_ref()).unwrap();
    close("one direction", got.top / got.frobenius, 1.0, 1e-12);
    assert!(got.entropy.abs() < 1e-12, "{got:?}");
}

#[test]
fn shapes_must_agree() {
    let (a, b) = (Mat::<f64>::zeros(5, 2), Mat::<f64>::zeros(5, 3));
    let error = increment(a.as_ref(), a.as_ref(), a.as_ref(), b.as_ref()).unwrap_err().to_string();
    assert!(error.contains("dk") && error.contains("5 x 2") && error.contains("5 x 3"), "{error}");
    let none = Mat::<f64>::zeros(0, 0);
    assert!(increment(none.as_ref(), none.as_ref(), none.as_ref(), none.as_ref()).is_err());
}
