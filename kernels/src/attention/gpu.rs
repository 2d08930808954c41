//! On a device: see the parent module for the mathematics.

use super::accumulators::{backward as backward_row, forward as forward_row};
use super::shape::Shape;
pub use super::tiles::Products;
use super::tiles::{rows, tiles};
use crate::error::{Error, Result};
use crate::gpu::{Arg, Elem, Gpu, Grid, Slice, int};

/// Rotary tables `[T, d_h / 2]`, float32.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// Cosines.
    pub cos: Slice<'a>,
    /// Sines.
    pub sin: Slice<'a>,
}

/// The fastest products that this device has for these heads.
pub fn fastest(gpu: &Gpu, elem: Elem, head_dim: usize) -> Products {
    match (elem, head_dim, gpu.capability()) {
        (Elem::Bf16, 32 | 64 | 128, (9, 0)) => Products::Group,
        (Elem::Bf16, ..) => Products::Warp,
        _ => Products::Float,
    }
}

/// Partial rows of statistics a head leaves: one for every sequence and tile of queries.
pub fn partials(shape: Shape, elem: Elem) -> usize {
    shape.batch * shape.seq_len.div_ceil(rows(elem == Elem::Bf16, shape.head_dim))
}

/// Whether there are kernels for this head width.
///
/// # Errors
/// Another width than 16, 32, 64 or 128.
pub fn supported(head_dim: usize) -> Result<()> {
    if matches!(head_dim, 16 | 32 | 64 | 128) {
        return Ok(());
    }
    Err(Error::Unsupported {
        op: "attention",
        message: format!(
            "heads of width {head_dim} on a device: it takes 16, 32, 64 and 128 (width over heads: --set heads=N)"
        ),
    })
}

fn check(op: &'static str, shape: Shape, qkv: Slice<'_>, tables: Option<Tables<'_>>) -> Result<()> {
    shape.check(op)?;
    supported(shape.head_dim)?;
    crate::gpu::reduce::float(op, qkv)?;
    qkv.check(op, "qkv", qkv.elem(), shape.tokens() * 3 * shape.width())?;
    if let Some(t) = tables {
        let most = shape.seq_len * shape.head_dim / 2;
        for (what, s) in [("cosines", t.cos), ("sines", t.sin)] {
            s.check(op, what, Elem::F32, s.len().max(most))?;
        }
    }
    Ok(())
}

/// A block a tile of rows.
fn grid(shape: Shape, elem: Elem, threads: usize, bytes: usize) -> Grid {
    let tiles = shape.seq_len.div_ceil(rows(elem == Elem::Bf16, shape.head_dim));
    Grid::new([tiles, shape.heads, shape.batch], threads).with_shared(bytes)
}

/// Whether these products are for slices of this type.
fn fits(op: &'static str, products: Products, elem: Elem) -> Result<()> {
    if (products == Products::Float) == (elem == Elem::F32) {
        return Ok(());
    }
    Err(Error::Unsupported { op, message: format!("{products:?} products of {elem:?}") })
}

/// Arguments of [`forward`].
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// `[N, 3 D]`.
    pub qkv: Slice<'a>,
    /// `[N, D]`.
    pub out: Slice<'a>,
    /// `[B, H, T]`, float32.
    pub lse: Slice<'a>,
    /// `[H, partials, forward_row::COUNT]`, float32 ([`partials`]).
    pub stats: Slice<'a>,
}

/// Forward, with `products` ([`fastest`]).
///
/// # Errors
/// A head width without kernels, or slices of other lengths or types.
pub fn forward(
    products: Products,
    shape: Shape,
    tables: Option<Tables<'_>>,
    Forward { qkv, out, lse, stats }: Forward<'_>,
) -> Result<()> {
    const OP: &str = "attention";
    check(OP, shape, qkv, tables)?;
    let elem = qkv.elem();
    fits(OP, products, elem)?;
    out.check(OP, "out", elem, shape.tokens() * shape.width())?;
    lse.check(OP, "lse", Elem::F32, shape.tokens() * shape.heads)?;
    stats.check(OP, "stats", Elem::F32, shape.heads * partials(shape, elem) * forward_row::COUNT)?;
    let args = [
        qkv.into(),
        tables.map(|t| t.cos).into(),
        tables.map(|t| t.sin).into(),
        out.into(),
        lse.into(),
        stats.into(),
        int(OP, shape.batch)?.into(),
        int(OP, shape.heads)?.into(),
        int(OP, shape.seq_len)?.into(),
    ];
    let (kernel, t) = (products.kernel("fwd", shape.head_dim), tiles(products, shape.head_dim));
    let grid = grid(shape, elem, t.forward_threads, t.forward_bytes);
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { qkv.gpu().launch(&kernel, grid, &args) }
}

/// Replace the output of the heads whose flag is not zero by the mean of the values up to each query.
///
/// # Shapes
/// `qkv [N, 3 D]`, `flags [H]` of u32, `out [N, D]`.
///
/// # Errors
/// As [`forward`].
pub fn uniform(shape: Shape, qkv: Slice<'_>, flags: Slice<'_>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "uniform attention";
    check(OP, shape, qkv, None)?;
    flags.check(OP, "flags", Elem::U32, shape.heads)?;
    out.check(OP, "out", qkv.elem(), shape.tokens() * shape.width())?;
    let args = [
        qkv.into(),
        flags.into(),
        out.into(),
        int(OP, shape.heads)?.into(),
        int(OP, shape.seq_len)?.into(),
        int(OP, shape.head_dim)?.into(),
    ];
    let kernel = format!("attention_uniform_{}", qkv.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { qkv.gpu().launch(&kernel, Grid::new([shape.heads, shape.batch, 1], shape.head_dim), &args) }
}

/// What [`backward`] reads and writes.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// `[N, 3 D]`.
    pub qkv: Slice<'a>,
    /// The forward's output `[N, D]`.
    pub out: Slice<'a>,
    /// The forward's log-sum-exp `[B, H, T]`.
    pub lse: Slice<'a>,
    /// Gradient at the output `[N, D]`.
    pub d_out: Slice<'a>,
    /// Room for `<d_out, out>` of each row, `[B, H, T]`, float32.
    pub delta: Slice<'a>,
    /// Gradient at the projection `[N, 3 D]`.
    pub d_qkv: Slice<'a>,
    /// `[H, partials, backward_row::COUNT]`, float32.
    pub stats: Slice<'a>,
}

/// Backward of [`forward`], with `products` ([`fastest`]).
///
/// # Errors
/// As [`forward`].
pub fn backward(
    products: Products,
    shape: Shape,
    tables: Option<Tables<'_>>,
    a: &Backward<'_>,
) -> Result<()> {
    const OP: &str = "attention backward";
    check(OP, shape, a.qkv, tables)?;
    let (elem, gpu) = (a.qkv.elem(), a.qkv.gpu());
    fits(OP, products, elem)?;
    let (wide, rows) = (shape.tokens() * shape.width(), shape.tokens() * shape.heads);
    a.out.check(OP, "out", elem, wide)?;
    a.d_out.check(OP, "d_out", elem, wide)?;
    a.lse.check(OP, "lse", Elem::F32, rows)?;
    a.delta.check(OP, "delta", Elem::F32, rows)?;
    a.d_qkv.check(OP, "d_qkv", elem, 3 * wide)?;
    a.stats.check(OP, "stats", Elem::F32, shape.heads * partials(shape, elem) * backward_row::COUNT)?;
    let (b, h) = (int(OP, shape.batch)?, int(OP, shape.heads)?);
    let (t, dh) = (int(OP, shape.seq_len)?, int(OP, shape.head_dim)?);
    let t_of = tiles(products, shape.head_dim);
    let grid = grid(shape, elem, t_of.backward_threads, t_of.backward_bytes);
    let (cos, sin) = (tables.map(|t| t.cos), tables.map(|t| t.sin));
    let launch = |part: &str, grid: Grid, args: &[Arg]| {
        // SAFETY: every length was checked against the kernel's documentation.
        unsafe { gpu.launch(part, grid, args) }
    };
    let [query_part, key_part] = ["bwd_q", "bwd_kv"].map(|part| products.kernel(part, shape.head_dim));
    let shared = [a.qkv.into(), cos.into(), sin.into(), a.lse.into(), a.delta.into()];
    let keys = [&[a.d_out.into()], &shared[..], &[a.d_qkv.into(), h.into(), t.into()]].concat();
    let rest = [a.d_qkv.into(), a.stats.into(), b.into(), h.into(), t.into()];
    if elem == Elem::Bf16 {
        // The kernel over queries reads the gradient and the output's rows anyway: it leaves delta behind.
        let first = [a.d_out.into(), a.qkv.into(), a.out.into()];
        launch(&query_part, grid, &[&first[..], &shared[1..], &rest[..]].concat())?;
        return launch(&key_part, grid, &keys);
    }
    let blocks = rows.div_ceil(1024 / shape.head_dim).clamp(1, 16 * gpu.processors());
    let args = [a.d_out.into(), a.out.into(), a.delta.into(), b.into(), h.into(), t.into(), dh.into()];
    launch("attention_delta_f32", Grid::new([blocks, 1, 1], 256), &args)?;
    launch(&key_part, grid, &keys)?;
    launch(&query_part, grid, &[&[a.d_out.into()], &shared[..], &rest[..]].concat())
}
