//! Single projections out of a [`Store`]: some output features of a matrix, and its bias, as float64.

use std::ops::Range;

use faer::Mat;

use super::config::Config;
use super::store::Store;
use crate::error::{Error, Result};

/// Scale tensors of quantized weights: names after the weight's own, and what each multiplies is decided by its shape.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];

/// Output features of a projection, in the order wanted.
pub(super) type Features = Vec<Range<usize>>;

fn width(features: &[Range<usize>]) -> usize {
    features.iter().map(Range::len).sum()
}

/// The scale of every stored number of a quantized weight.
enum Scale {
    None,
    One(f64),
    /// One an output feature.
    Rows(Vec<f64>),
    /// One a block of these sizes; row-major, with its number of columns.
    Blocks {
        values: Vec<f64>,
        columns: usize,
        block: (usize, usize),
    },
}

impl Scale {
    fn at(&self, row: usize, column: usize) -> f64 {
        match self {
            Self::None => 1.0,
            Self::One(s) => *s,
            Self::Rows(r) => r[row],
            Self::Blocks { values, columns, block } => values[row / block.0 * columns + column / block.1],
        }
    }
}

/// All numbers of a small tensor.
pub(super) fn all(store: &Store, name: &str) -> Result<Vec<f64>> {
    let Some(t) = store.get(name) else { return Ok(Vec::new()) };
    // Checked before the shape is multiplied out: a damaged header may claim any.
    store.dtype(name, t)?;
    let mut out = Vec::new();
    store.visit(name, 0, t.shape.iter().product(), |i, v| {
        if !v.is_finite() {
            return Err(not_finite(store, name, v, &format!("position {i}")));
        }
        out.push(v);
        Ok(())
    })?;
    Ok(out)
}

fn not_finite(store: &Store, name: &str, v: f64, at: &str) -> Error {
    let path = store.get(name).map_or(std::path::Path::new("?"), |t| store.path(t));
    Error::format(path, format!("`{name}` holds {v} at {at}; did training diverge?"))
}

fn scale(store: &Store, config: &Config, weight: &str, out: usize, input: usize) -> Result<Scale> {
    let Some(t) = store.get(weight) else { return Ok(Scale::None) };
    let kind = store.dtype(weight, t)?;
    let refuse = |m: String| Err(Error::format(store.path(t), m));
    let found = SCALES.iter().map(|s| format!("{weight}{s}")).find(|n| store.get(n).is_some());
    let Some(name) = found else {
        if kind.needs_scale() {
            return refuse(format!(
                "`{weight}` is stored as {} without the scale that makes numbers of it (no `{weight}_scale`): dequantize it first",
                t.dtype
            ));
        }
        return Ok(Scale::None);
    };
    if !kind.needs_scale() {
        return refuse(format!(
            "`{weight}` is stored as {} and yet `{name}` stands beside it: what the scale is for is unknown",
            t.dtype
        ));
    }
    if store.get(&format!("{weight}_zero_point")).is_some() {
        return refuse(format!(
            "`{weight}` is quantized with a zero point, which is not read: dequantize it first"
        ));
    }
    let values = all(store, &name)?;
    let shape = store.get(&name).map_or(Vec::new(), |s| s.shape.clone());
    match shape.as_slice() {
        [] | [1] | [1, 1] => return Ok(Scale::One(values[0])),
        [n] | [n, 1] if *n == out => return Ok(Scale::Rows(values)),
        _ => {}
    }
    let block = config.quantization().and_then(|q| q.get("weight_block_size")).and_then(|b| {
        let side = |i: usize| b.get(i)?.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        Some((side(0)?, side(1)?))
    });
    match (shape.as_slice(), block) {
        ([r, c], Some(b)) if *r == out.div_ceil(b.0) && *c == input.div_ceil(b.1) => {
            Ok(Scale::Blocks { values, columns: *c, block: b })
        }
        _ => refuse(format!(
            "`{name}` of shape {shape:?} fits neither the rows nor the blocks of `{weight}`: dequantize it first"
        )),
    }
}

/// Columns `features` of a projection as `[input, features]`; `out` is its whole output width.
///
/// # Errors
/// A missing tensor, one of another shape or number type, a number that is not finite: each named.
pub(super) fn weight(
    store: &Store,
    config: &Config,
    name: &str,
    (input, out): (usize, usize),
    features: &[Range<usize>],
    conv1d: bool,
) -> Result<Mat<f64>> {
    let t = store.get(name).ok_or_else(|| match store.lost(name) {
        Some(shard) => {
            config.wrong(format!("the shard `{shard}`, which holds `{name}`, is missing: download it"))
        }
        None => config.wrong(format!("the weights lack `{name}`, which this model_type has")),
    })?;
    // A header that lies about its shape is found out before anything is allocated.
    store.dtype(name, t)?;
    let finite = |v: f64, row: usize, column: usize| {
        if v.is_finite() {
            Ok(v)
        } else {
            Err(not_finite(store, name, v, &format!("row {row}, column {column}")))
        }
    };
    if t.shape == [out, input] {
        let scale = scale(store, config, name, out, input)?;
        let mut m = Mat::zeros(input, width(features));
        let mut target = 0;
        for f in features {
            let shift = target;
            store.visit(name, f.start * input, f.len() * input, |i, v| {
                let (row, column) = (i / input, i % input);
                m[(column, shift + row - f.start)] = finite(v * scale.at(row, column), row, column)?;
                Ok(())
            })?;
            target += f.len();
        }
        return Ok(m);
    }
    if conv1d && t.shape == [input, out] {
        if store.dtype(name, t)?.needs_scale() {
            return Err(Error::format(
                store.path(t),
                format!("`{name}` is stored as {}: dequantize it first", t.dtype),
            ));
        }
        let mut m = Mat::zeros(input, width(features));
        let mut place = vec![usize::MAX; out];
        features.iter().cloned().flatten().enumerate().for_each(|(to, from)| place[from] = to);
        store.visit(name, 0, input * out, |i, v| {
            let (row, column) = (i / out, i % out);
            if place[column] != usize::MAX {
                m[(row, place[column])] = finite(v, row, column)?;
            }
            Ok(())
        })?;
        return Ok(m);
    }
    Err(Error::format(
        store.path(t),
        format!("`{name}` has shape {:?}, config.json implies {:?}", t.shape, [out, input]),
    ))
}

/// The same output features of a bias; none where there is no such tensor.
///
/// # Errors
/// A tensor of another shape, a number that is not finite.
pub(super) fn bias(
    store: &Store,
    config: &Config,
    name: &str,
    out: usize,
    features: &[Range<usize>],
) -> Result<Option<Vec<f64>>> {
    if let Some(shard) = store.lost(name) {
        return Err(
            config.wrong(format!("the shard `{shard}`, which holds `{name}`, is missing: download it"))
        );
    }
    let Some(t) = store.get(name) else { return Ok(None) };
    if t.shape != [out] {
        return Err(Error::format(
            store.path(t),
            format!("`{name}` has shape {:?}, config.json implies {:?}", t.shape, [out]),
        ));
    }
    let values = all(store, name)?;
    Ok(Some(features.iter().cloned().flatten().map(|i| values[i]).collect()))
}
