//! Attention and the normalization of queries and keys.

use growthpath_statistics::{Scale, Statistic};

use super::case::{BF16, Case, Extent, matrix, written};
use crate::Stats;
use crate::attention::accumulators::{backward, forward};
use crate::attention::gpu::{Products, Tables, fastest, partials};
use crate::attention::{self as att, LogitGradStats, LogitStats, Shape};
use crate::error::Result;
use crate::gpu::reduce;
use crate::qk_norm as qk;
use crate::rope::Rope;
use crate::tensor::read;

fn shapes(extent: Extent) -> Vec<Shape> {
    let shape = |batch, seq_len, heads, head_dim| Shape { batch, seq_len, heads, head_dim };
    if extent == Extent::Quick {
        return vec![shape(1, 70, 2, 32), shape(2, 33, 1, 64), shape(1, 130, 1, 128), shape(1, 20, 2, 16)];
    }
    vec![
        shape(2, 77, 3, 32),
        shape(2, 300, 4, 64),
        shape(1, 1024, 2, 64),
        shape(2, 130, 2, 128),
        shape(1, 500, 2, 128),
        shape(2, 150, 3, 16),
    ]
}

/// What the rounding of one head's statistics is relative to.
struct Sizes {
    logit: f64,
    product: f64,
    keys: f64,
}

impl Sizes {
    fn of(shape: Shape, logits: &LogitStats, gradient: &LogitGradStats) -> Self {
        Self {
            logit: 1.0 + logits.s_max.abs().max(logits.s_min.abs()),
            // <S, G_S> cancels: |S| |G_S| bounds it.
            product: (logits.s_ms * shape.counted().pairs() * gradient.gs2).sqrt(),
            keys: shape.seq_len as f64,
        }
    }

    fn get(&self, scale: Scale) -> Option<f64> {
        match scale {
            Scale::Own => None,
            Scale::One => Some(1.0),
            Scale::Logit => Some(self.logit),
            Scale::Product => Some(self.product),
            Scale::Choice => Some(self.keys),
        }
    }
}

/// Every declared statistic of a pass, head by head, at the scale that its declaration says.
fn statistics<const N: usize>(
    c: &mut Case<'_>,
    shape: &str,
    declared: &[Statistic],
    sizes: &[Sizes],
    got: &[[f64; N]],
    want: &[[f64; N]],
) {
    for (i, s) in declared.iter().enumerate() {
        let list = |v: &[[f64; N]]| {
            // A one beside each value: what it is compared to where it has a scale.
            let scaled = |(v, size): (&[f64; N], &Sizes)| match size.get(s.scale) {
                None => vec![v[i] as f32],
                Some(scale) => vec![(v[i] / scale) as f32, 1.0],
            };
            v.iter().zip(sizes).flat_map(scaled).collect::<Vec<_>>()
        };
        // One row in some hundred may choose another of two level keys.
        let limit = if s.scale == Scale::Choice { BF16 } else { c.limit() };
        c.compare_within(&format!("heads.{}", s.name), shape, &list(got), &list(want), limit);
    }
}

/// The products that this device has for these heads.
fn products(c: &Case<'_>, head_dim: usize) -> Vec<Products> {
    let fastest = fastest(c.gpu, c.elem, head_dim);
    if fastest == Products::Group { vec![fastest, Products::Warp] } else { vec![fastest] }
}

pub(super) fn attention(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    for shape in shapes(extent) {
        for products in products(c, shape.head_dim) {
            attention_by(c, products, shape, false)?;
            attention_by(c, products, shape, true)?;
        }
    }
    Ok(())
}

fn attention_by(c: &mut Case<'_>, products: Products, s: Shape, rotary: bool) -> Result<()> {
    let (n, d) = (s.tokens(), s.width());
    let name = format!(
        "B {}, T {}, H {}, dh {}, {products:?}{}",
        s.batch,
        s.seq_len,
        s.heads,
        s.head_dim,
        if rotary { ", rotary" } else { "" }
    );
    let (qkv, d_out) = (c.normals(n * 3 * d, 0.0, 1.5)?, c.normals(n * d, 0.0, 1.0)?);
    let rope = rotary.then(|| Rope::new(s.seq_len, s.head_dim, 1e4));
    let (x, dy) = (matrix(&qkv, n)?, matrix(&d_out, n)?);
    let want = att::forward(s, &x, rope.as_ref(), Stats::Taken)?;
    let (d_want, g_want) = att::backward(s, &x, &want, rope.as_ref(), &dy)?;

    let tables = match &rope {
        Some(r) => Some((c.gpu.upload(&r.cos)?, c.gpu.upload(&r.sin)?)),
        None => None,
    };
    let tables = tables.as_ref().map(|(cos, sin)| Tables { cos: cos.all(), sin: sin.all() });
    let (gx, gy) = (c.up(&qkv)?, c.up(&d_out)?);
    let (out, d_qkv) = (c.room(n * d)?, c.room(n * 3 * d)?);
    let (lse, delta) = (c.float_room(n * s.heads)?, c.float_room(n * s.heads)?);
    let each = s.heads * partials(s, c.elem);
    let (stats, grad_stats) = (c.float_room(each * forward::COUNT)?, c.float_room(each * backward::COUNT)?);
    let args = att::gpu::Forward { qkv: gx.all(), out: out.all(), lse: lse.all(), stats: stats.all() };
    att::gpu::forward(products, s, tables, args)?;
    c.compare_slice("attention", &name, out.all(), &read(&want.out)?)?;
    let got = lse.all().read()?;
    c.compare("attention log-sum-exp", &name, &got, &want.lse);
    let totals = c.totals(&stats, s.heads, forward::COUNT, forward::MAXIMA)?;
    let got: Vec<_> = totals
        .as_chunks::<{ forward::COUNT }>()
        .0
        .iter()
        .map(|t| LogitStats::finish(s.counted(), &t.map(f64::from)))
        .collect();
    let want_stats = want.stats.clone().unwrap_or_default();
    let sizes: Vec<Sizes> = want_stats.iter().zip(&g_want).map(|(l, g)| Sizes::of(s, l, g)).collect();
    let values = |v: &[LogitStats]| v.iter().map(LogitStats::values).collect::<Vec<_>>();
    statistics(c, &name, LogitStats::ALL, &sizes, &values(&got), &values(&want_stats));
    let args = att::gpu::Backward {
        qkv: gx.all(),
        out: out.all(),
        lse: lse.all(),
        d_out: gy.all(),
        delta: delta.all(),
        d_qkv: d_qkv.all(),
        stats: grad_stats.all(),
    };
    att::gpu::backward(products, s, tables, &args)?;
    c.compare_slice("attention backward", &name, d_qkv.all(), &read(&d_want)?)?;
    let totals = c.totals(&grad_stats, s.heads, backward::COUNT, backward::MAXIMA)?;
    let got: Vec<_> = totals
        .as_chunks::<{ backward::COUNT }>()
        .0
        .iter()
        .map(|t| LogitGradStats::finish(s.counted(), &t.map(f64::from)))
        .collect();
    let values = |v: &[LogitGradStats]| v.iter().map(LogitGradStats::values).collect::<Vec<_>>();
    statistics(c, &name, LogitGradStats::ALL, &sizes, &values(&got), &values(&g_want));
    // Every other head loses its preference.
    let flags: Vec<u32> = (0..s.heads as u32).map(|h| 1 - h % 2).collect();
    let flat: Vec<usize> = (0..s.heads).step_by(2).collect();
    let mut averaged = read(&want.out)?.to_vec();
    att::average(s, &qkv, &mut averaged, &flat);
    att::gpu::uniform(s, gx.all(), c.gpu.upload_u32(&flags)?.all(), out.all())?;
    c.compare_slice("uniform attention", &name, out.all(), &averaged)?;
    Ok(())
}

pub(super) fn qk_norm(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    for s in shapes(extent) {
        let (n, d) = (s.tokens(), s.width());
        let name = format!("N {n}, H {}, dh {}", s.heads, s.head_dim);
        let (qkv, dy) = (c.normals(n * 3 * d, 0.0, 1.5)?, c.normals(n * 3 * d, 0.0, 1.0)?);
        let (q, k) = (c.floats(s.head_dim, 1.0, 0.2)?, c.floats(s.head_dim, 1.0, 0.2)?);
        let mut rrms = vec![0f32; 2 * n * s.heads];
        let want = written(n * 3 * d, |y| qk::cpu::forward(s, &qkv, [&q, &k], y, &mut rrms));
        let (mut dq, mut dk) = (vec![0f32; s.head_dim], vec![0f32; s.head_dim]);
        let dx = written(n * 3 * d, |dx| {
            qk::cpu::backward(s, (&qkv, &rrms), [&q, &k], &dy, dx, [&mut dq, &mut dk]);
        });
        let (gx, gy, gq, gk) = (c.up(&qkv)?, c.up(&dy)?, c.gpu.upload(&q)?, c.gpu.upload(&k)?);
        let (out, d_in, rrms) = (c.room(n * 3 * d)?, c.room(n * 3 * d)?, c.float_room(2 * n * s.heads)?);
        qk::gpu::forward(s, gx.all(), [gq.all(), gk.all()], out.all(), rrms.all())?;
        c.compare_slice("qk_norm", &name, out.all(), &want)?;
        let partial = c.float_room(reduce::partial_rows(c.gpu, n) * 2 * s.head_dim)?;
        let (saved, gains) = ((gx.all(), rrms.all()), [gq.all(), gk.all()]);
        qk::gpu::backward(s, saved, gains, gy.all(), d_in.all(), partial.all())?;
        c.compare_slice("qk_norm backward", &name, d_in.all(), &dx)?;
        let got = c.totals(&partial, 1, 2 * s.head_dim, 0)?;
        let want = [dq, dk].concat();
        c.compare("qk_norm gain gradients", &name, &got, &want);
    }
    Ok(())
}
