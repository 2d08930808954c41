//! The bundle agrees with its parts, and maturity with its definition.

mod common;

use common::{Shape, close, matrix, times, trace, transposed};
use growthpath_analysis::{
    AnalysisError, LayerProbe, Moments, account, basis, bound, energy_bound, factorize, layer_intervals,
    maturity, observe, predict, prepare_layers, probe_interval,
};

#[test]
fn the_bundle_agrees_with_its_parts() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let g = shape.geometry;
        let (prev, next) = shape.pair(seed as u64, 0.1);
        let eta: Vec<f64> = (0..g.heads).map(|h| 1e-3 * (h + 1) as f64).collect();
        let found = probe_interval(&prev, &next, &g, &eta).unwrap();
        let (accounting, predictions) =
            (account(&prev, &next, &g).unwrap(), predict(&prev, &next, &g).unwrap());
        let bounds = bound(&prev, &next, &g).unwrap();
        for (h, head) in found.heads.iter().enumerate() {
            // The same operations in the same order: equal to the last bit, NaN sharpness of short
            // sequences aside.
            assert_eq!(format!("{:?}", head.accounting), format!("{:?}", accounting[h]));
            assert_eq!(head.prediction, predictions[h]);
            assert_eq!(head.bound, bounds[h]);
            assert_eq!(head.factors, factorize(&predictions[h], eta[h]).unwrap());
        }
        let old = Moments::new(&prev.x).unwrap();
        let e_max = energy_bound(&old, &g).unwrap();
        assert!(found.e_max == e_max || found.e_max.is_nan() && e_max.is_nan());
    }
}

#[test]
fn prepared_layers_chain_over_a_run() {
    let shape = Shape::new(&[20, 13], 6, 2, 4, true, true);
    let mut rng = common::rng(3);
    let states: Vec<_> = (0..3).map(|_| shape.state(&mut rng)).collect();
    let later: Vec<_> = states.iter().map(|s| shape.moved(&mut rng, s, 0.05)).collect();
    let eta = vec![vec![1e-3; 2]; 3];
    let prev = prepare_layers(states.clone(), shape.geometry).unwrap();
    let next = prepare_layers(later.clone(), shape.geometry).unwrap();
    let found = layer_intervals(&prev, &next, &eta).unwrap();
    for l in 0..3 {
        let single = probe_interval(&states[l], &later[l], &shape.geometry, &eta[l]).unwrap();
        // e_max is NaN with RoPE, which equals nothing: compare what is printed, to the last digit.
        assert_eq!(format!("{:?}", found[l]), format!("{single:?}"));
        assert_eq!(prev[l].observe(), observe(&states[l], &shape.geometry).unwrap());
        for (head, state) in found[l].heads.iter().zip(next[l].observe()) {
            close("spread", head.accounting.next.spread, state.spread, 1e-14);
            close("top1", head.accounting.next.top1, state.top1, 1e-14);
        }
    }
    assert!(layer_intervals(&prev, &next[..2], &eta).is_err());
    assert!(layer_intervals(&prev, &next, &eta[..1]).is_err());
}

#[test]
fn step_sizes_are_checked() {
    let shape = Shape::new(&[9], 4, 2, 2, false, false);
    let (prev, next) = shape.pair(1, 0.1);
    let run = |eta: &[f64]| probe_interval(&prev, &next, &shape.geometry, eta).unwrap_err();
    assert_eq!(
        run(&[1.0, -1.0]).to_string(),
        "step size of head 1 is -1; it must be finite and not negative"
    );
    assert!(matches!(run(&[1.0]), AnalysisError::Shape { .. }));
    let other = LayerProbe::new(next.clone(), Shape::new(&[9], 4, 1, 4, false, false).geometry).unwrap();
    assert!(LayerProbe::new(prev, shape.geometry).unwrap().interval(&other, &[1.0; 2]).is_err());
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let shape = Shape::new(&[70, 33], 9, 3, 4, true, false);
    let (prev, next) = shape.pair(2, 0.1);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| probe_interval(&prev, &next, &shape.geometry, &[1e-3; 3]).unwrap())
    };
    assert_eq!(format!("{:?}", run(1)), format!("{:?}", run(3)));
}

#[test]
fn maturity_and_basis_match_their_definitions() {
    for (seed, shape) in Shape::zoo().into_iter().enumerate() {
        let mut rng = common::rng(40 + seed as u64);
        let (x, y) = (shape.inputs(&mut rng), shape.inputs(&mut rng));
        let (a, b) = (common::moments(&x), common::moments(&y));
        let (m, n) = (Moments::new(&x).unwrap(), Moments::new(&y).unwrap());
        let norm = |s: &faer::Mat<f64>| trace(&times(s, &transposed(s))).sqrt();
        let cosine = trace(&times(&a.sk, &b.sk)) / (norm(&a.sk) * norm(&b.sk));
        close("maturity", maturity(&m.sk, &n.sk).unwrap(), cosine, 1e-11);
        close("own", maturity(&m.sk, &m.sk).unwrap(), 1.0, 1e-14);
        let found = basis(&m);
        close("effective rank", found.effective_rank, trace(&a.sk).powi(2) / norm(&a.sk).powi(2), 1e-11);
        close("concentration", found.concentration, norm(&a.sk) / trace(&a.sk), 1e-11);
        let constant = if shape.biases { 1.0 } else { 0.0 };
        close("token-distinct", found.token_distinct, trace(&a.sk) / (trace(&a.sq) - constant), 1e-11);
    }
    let m = matrix(&mut common::rng(1), 3, 3, 1.0);
    assert!(maturity(&m, &matrix(&mut common::rng(1), 4, 4, 1.0)).is_err());
    assert!(maturity(&m, &faer::Mat::zeros(3, 3)).unwrap().is_nan());
}
