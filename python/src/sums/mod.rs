//! Sums over PyTorch's tensors on the CPU, read where they lie: the recorder's statistics in one pass each, where
//! PyTorch would take a kernel and a copy in float64 for every one of them.

mod lanes;
mod logits;
mod parallel;
mod products;
mod streams;

use numpy::ndarray::{Array1, Array2, ArrayView4};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArray3, PyReadonlyArray4};
use pyo3::prelude::*;

use crate::error::value;
use logits::{Allowed, Call, MAXIMA, TOTALS};
use products::{Matrix, PRODUCTS};

/// Names in the order of the columns that the functions give.
pub fn names(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("LOGIT_TOTALS", TOTALS.to_vec())?;
    m.add("LOGIT_MAXIMA", MAXIMA.to_vec())?;
    m.add("PRODUCTS", PRODUCTS.to_vec())?;
    m.add("BLOCK_SCALARS", streams::SCALARS.to_vec())?;
    m.add_function(wrap_pyfunction!(logit_sums, m)?)?;
    m.add_function(wrap_pyfunction!(weight_products, m)?)?;
    m.add_function(wrap_pyfunction!(head_dots, m)?)?;
    m.add_function(wrap_pyfunction!(block_sums, m)?)
}

fn table<const N: usize>(rows: impl ExactSizeIterator<Item = [f64; N]>) -> PyResult<Array2<f64>> {
    let count = rows.len();
    Array2::from_shape_vec((count, N), rows.flatten().collect()).map_err(value)
}

fn inner(name: &str, a: &ArrayView4<'_, f32>) -> PyResult<()> {
    if a.dim().3 > 1 && a.strides()[3] != 1 {
        return Err(value(format!("{name}: its innermost axis must be contiguous")));
    }
    Ok(())
}

type Four<'py> = PyReadonlyArray4<'py, f32>;
type Vector<'py> = Bound<'py, PyArray1<f64>>;
type Table<'py> = Bound<'py, PyArray2<f64>>;

/// Totals `[H, LOGIT_TOTALS]` and maxima `[H, LOGIT_MAXIMA]` over logits `[b, H, T, S]`; without a mask all pairs count,
/// or with `causal` those with `j <= i`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "arguments by name in Python")]
#[pyo3(signature = (logits, causal, mask=None, weights_gradient=None, query=None, key=None))]
fn logit_sums<'py>(
    py: Python<'py>,
    logits: Four<'py>,
    causal: bool,
    mask: Option<PyReadonlyArray4<'py, bool>>,
    weights_gradient: Option<Four<'py>>,
    query: Option<Four<'py>>,
    key: Option<Four<'py>>,
) -> PyResult<(Table<'py>, Table<'py>)> {
    let s = logits.as_array();
    let (b, heads, t, keys) = s.dim();
    let gradient = weights_gradient.as_ref().map(|g| g.as_array());
    let pair = match (&query, &key) {
        (Some(q), Some(k)) => Some((q.as_array(), k.as_array())),
        _ => None,
    };
    let wrong = |what: &str, found: &dyn std::fmt::Debug| {
        value(format!("{what} of shape {found:?} beside logits {:?}", s.dim()))
    };
    inner("logits", &s)?;
    if let Some(g) = &gradient {
        inner("weights_gradient", g)?;
        if g.dim() != s.dim() {
            return Err(wrong("weights_gradient", &g.dim()));
        }
    }
    if let Some((q, k)) = &pair {
        inner("query", q)?;
        inner("key", k)?;
        let shared = k.dim().1;
        if (q.dim().0, q.dim().1, q.dim().2) != (b, heads, t) || shared == 0 || heads % shared != 0 {
            return Err(wrong("query", &q.dim()));
        }
        if (k.dim().0, k.dim().2) != (b, keys) {
            return Err(wrong("key", &k.dim()));
        }
    }
    let allowed = match (&mask, causal) {
        (Some(m), _) if m.as_array().dim() != s.dim() => return Err(wrong("mask", &m.as_array().dim())),
        (Some(m), _) => Allowed::Mask(m.as_array()),
        (None, true) => Allowed::Causal,
        (None, false) => Allowed::All,
    };
    let call = Call { logits: s, weights_gradient: gradient, query_key: pair, allowed };
    let done = py.detach(|| call.sums());
    let totals = table(done.iter().map(|h| h.totals))?;
    let maxima = table(done.iter().map(|h| h.maxima))?;
    Ok((totals.into_pyarray(py), maxima.into_pyarray(py)))
}

/// Weights before, gradient and weights after a step, `[heads, rows, columns]` each.
type Given<'py> =
    (PyReadonlyArray3<'py, f32>, Option<PyReadonlyArray3<'py, f32>>, PyReadonlyArray3<'py, f32>);

/// `[heads, PRODUCTS]` of every matrix, its gradient taken `unscale` times.
#[pyfunction]
fn weight_products<'py>(
    py: Python<'py>,
    matrices: Vec<Given<'py>>,
    unscale: f64,
) -> PyResult<Vec<Table<'py>>> {
    let mut views = Vec::with_capacity(matrices.len());
    for (at, (before, gradient, after)) in matrices.iter().enumerate() {
        let m = Matrix {
            before: before.as_array(),
            gradient: gradient.as_ref().map(|g| g.as_array()),
            after: after.as_array(),
        };
        if m.after.dim() != m.before.dim() || m.gradient.as_ref().is_some_and(|g| g.dim() != m.before.dim()) {
            return Err(value(format!("matrix {at}: weights, gradient and update differ in shape")));
        }
        views.push(m);
    }
    let done = py.detach(|| products::products(&views, unscale));
    done.into_iter().map(|rows| Ok(table(rows.into_iter())?.into_pyarray(py))).collect()
}

/// `<a, b>` of every head of `[B, H, T, d]`.
#[pyfunction]
fn head_dots<'py>(py: Python<'py>, a: Four<'py>, b: Four<'py>) -> PyResult<Vector<'py>> {
    let (x, y) = (a.as_array(), b.as_array());
    if x.dim() != y.dim() {
        return Err(value(format!("shapes {:?} and {:?} differ", x.dim(), y.dim())));
    }
    let done = py.detach(|| products::head_dots(x, y));
    Ok(Array1::from_vec(done).into_pyarray(py))
}

type Two<'py> = PyReadonlyArray2<'py, f32>;

/// `BLOCK_SCALARS` of one block, and its writes and hidden activation added over tokens (the last empty without one).
#[pyfunction]
#[pyo3(signature = (before, write, after, hidden=None))]
fn block_sums<'py>(
    py: Python<'py>,
    before: Two<'py>,
    write: Two<'py>,
    after: Two<'py>,
    hidden: Option<Two<'py>>,
) -> PyResult<(Vector<'py>, Vec<Vector<'py>>)> {
    let (h, w, n) = (before.as_array(), write.as_array(), after.as_array());
    if w.dim() != h.dim() || n.dim() != h.dim() {
        return Err(value(format!("stream {:?}, write {:?}, behind {:?}", h.dim(), w.dim(), n.dim())));
    }
    let hidden = hidden.as_ref().map(|x| x.as_array());
    let done = py.detach(|| streams::block(h, w, n, hidden));
    let sums = done.sums.into_iter().map(|s| Array1::from_vec(s).into_pyarray(py)).collect();
    Ok((Array1::from_vec(done.scalars.to_vec()).into_pyarray(py), sums))
}
