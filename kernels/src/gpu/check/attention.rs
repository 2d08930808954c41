//! Attention and the normalization of queries and keys.

use super::{Case, matrix, vector};
use crate::attention::accumulators::{backward, forward};
use crate::attention::gpu::{Tables, partials};
use crate::attention::{self as att, Shape};
use crate::error::Result;
use crate::gpu::reduce;
use crate::qk_norm as qk;
use crate::rope::Rope;
use crate::tensor::read;

fn shapes(quick: bool) -> Vec<Shape> {
    let shape = |batch, seq_len, heads, head_dim| Shape { batch, seq_len, heads, head_dim };
    if quick {
        return vec![shape(1, 70, 2, 32), shape(2, 33, 1, 64), shape(1, 40, 1, 128), shape(1, 20, 2, 16)];
    }
    vec![
        shape(2, 77, 3, 32),
        shape(2, 300, 4, 64),
        shape(1, 1024, 2, 64),
        shape(2, 130, 2, 128),
        shape(2, 150, 3, 16),
    ]
}

pub(super) fn attention(c: &mut Case<'_>, quick: bool) -> Result<()> {
    for (s, rotary) in shapes(quick).into_iter().flat_map(|s| [(s, false), (s, true)]) {
        let (n, d) = (s.tokens(), s.width());
        let name = format!(
            "B {}, T {}, H {}, dh {}{}",
            s.batch,
            s.seq_len,
            s.heads,
            s.head_dim,
            if rotary { ", rotary" } else { "" }
        );
        let (qkv, d_out) = (c.normals(n * 3 * d, 0.0, 1.5)?, c.normals(n * d, 0.0, 1.0)?);
        let rope = rotary.then(|| Rope::new(s.seq_len, s.head_dim, 1e4));
        let (x, dy) = (matrix(&qkv, n)?, matrix(&d_out, n)?);
        let want = att::forward(s, &x, rope.as_ref(), true)?;
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
        let (stats, grad_stats) =
            (c.float_room(each * forward::COUNT)?, c.float_room(each * backward::COUNT)?);
        att::gpu::forward(s, gx.all(), tables, out.all(), lse.all(), stats.all())?;
        c.compare_slice("attention", &name, out.all(), &want.out)?;
        let got = lse.all().read()?;
        c.compare("attention log-sum-exp", &name, &got, &want.lse);
        let totals = c.totals(&stats, s.heads, forward::COUNT, forward::MAXIMA)?;
        let got: Vec<_> = totals
            .as_chunks::<{ forward::COUNT }>()
            .0
            .iter()
            .map(|t| att::LogitStats::finish(s, &t.map(f64::from)))
            .collect();
        let want_stats = want.stats.clone().unwrap_or_default();
        for (what, pick) in [
            ("logit maximum", (|l| l.s_max) as fn(&att::LogitStats) -> f64),
            ("logit mean square", |l| l.s_ms),
            ("logit spread", |l| l.spread),
            ("attention entropy", |l| l.entropy),
            ("attention sharpness", |l| 1.0 - l.sharpness),
            ("attention top-1", |l| l.top1),
            ("logit minimum", |l| l.s_min),
            ("query norm", |l| l.q_rms),
            ("key norm", |l| l.k_rms),
        ] {
            let list = |v: &[att::LogitStats]| v.iter().map(|l| pick(l) as f32).collect::<Vec<_>>();
            c.compare(what, &name, &list(&got), &list(&want_stats));
        }
        let args = att::gpu::Backward {
            qkv: gx.all(),
            out: out.all(),
            lse: lse.all(),
            d_out: gy.all(),
            delta: delta.all(),
            d_qkv: d_qkv.all(),
            stats: grad_stats.all(),
        };
        att::gpu::backward(s, tables, &args)?;
        c.compare_slice("attention backward", &name, d_qkv.all(), &d_want)?;
        let totals = c.totals(&grad_stats, s.heads, backward::COUNT, backward::MAXIMA)?;
        let got: Vec<_> = totals
            .as_chunks::<{ backward::COUNT }>()
            .0
            .iter()
            .map(|t| att::LogitGradStats::finish(&t.map(f64::from)))
            .collect();
        let list = |v: &[att::LogitGradStats]| v.iter().map(|g| g.gs2 as f32).collect::<Vec<_>>();
        c.compare("logit gradient square", &name, &list(&got), &list(&g_want));
        // Every other head loses its preference.
        let flags: Vec<u32> = (0..s.heads as u32).map(|h| 1 - h % 2).collect();
        let flat: Vec<usize> = (0..s.heads).step_by(2).collect();
        att::uniform(s, &x, &want.out, &flat)?;
        att::gpu::uniform(s, gx.all(), c.gpu.upload_u32(&flags)?.all(), out.all())?;
        c.compare_slice("uniform attention", &name, out.all(), &want.out)?;
        // <S, G_S> cancels: held against its bound |S| |G_S|.
        let pairs = (s.batch * s.seq_len * (s.seq_len + 1) / 2) as f64;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for ((g, w), l) in got.iter().zip(&g_want).zip(&want_stats) {
            let bound = (l.s_ms * pairs * w.gs2).sqrt();
            left.extend([(g.sgs / bound) as f32, 1.0]);
            right.extend([(w.sgs / bound) as f32, 1.0]);
        }
        c.compare("logit and gradient product", &name, &left, &right);
    }
    Ok(())
}

pub(super) fn qk_norm(c: &mut Case<'_>, quick: bool) -> Result<()> {
    for s in shapes(quick) {
        let (n, d) = (s.tokens(), s.width());
        let name = format!("N {n}, H {}, dh {}", s.heads, s.head_dim);
        let (qkv, dy) = (c.normals(n * 3 * d, 0.0, 1.5)?, c.normals(n * 3 * d, 0.0, 1.0)?);
        let (q, k) = (c.floats(s.head_dim, 1.0, 0.2)?, c.floats(s.head_dim, 1.0, 0.2)?);
        let (x, tq, tk) = (matrix(&qkv, n)?, vector(&q)?, vector(&k)?);
        let want = qk::forward(s, &x, &tq, &tk)?;
        let (dx, dq, dk) = qk::backward(s, &x, &want, &tq, &tk, &matrix(&dy, n)?)?;
        let (gx, gy, gq, gk) = (c.up(&qkv)?, c.up(&dy)?, c.gpu.upload(&q)?, c.gpu.upload(&k)?);
        let (out, d_in, rrms) = (c.room(n * 3 * d)?, c.room(n * 3 * d)?, c.float_room(2 * n * s.heads)?);
        qk::gpu::forward(s, gx.all(), [gq.all(), gk.all()], out.all(), rrms.all())?;
        c.compare_slice("qk_norm", &name, out.all(), &want.qkv)?;
        let partial = c.float_room(reduce::partial_rows(c.gpu, n) * 2 * s.head_dim)?;
        qk::gpu::backward(
            s,
            gy.all(),
            gx.all(),
            rrms.all(),
            [gq.all(), gk.all()],
            d_in.all(),
            partial.all(),
        )?;
        c.compare_slice("qk_norm backward", &name, d_in.all(), &dx)?;
        let got = c.totals(&partial, 1, 2 * s.head_dim, 0)?;
        let want = [read(&dq)?.to_vec(), read(&dk)?.to_vec()].concat();
        c.compare("qk_norm gain gradients", &name, &got, &want);
    }
    Ok(())
}
