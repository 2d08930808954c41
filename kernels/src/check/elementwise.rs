//! Norms, activations, products, the loss, embeddings.

use faer::Accum;
use rand::Rng;

use super::case::{Case, Extent, matrix, vector, written};
use crate::Stats;
use crate::activation::{self, Activation};
use crate::embedding::gpu::TokenBatch;
use crate::error::Result;
use crate::gpu::{Elem, Slice, reduce};
use crate::norm::{self, Norm, NormParams};
use crate::{cross_entropy as head, embedding as emb, linear as lin};

const EPS: f32 = 1e-5;

pub(super) fn norms(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let shapes: &[(usize, usize)] =
        extent.pick(&[(5, 64), (33, 260)], &[(5, 64), (1000, 768), (777, 1280), (130, 4096)]);
    for (kind, &(n, d)) in
        [Norm::LayerNorm, Norm::RmsNorm].into_iter().flat_map(|k| shapes.iter().map(move |s| (k, s)))
    {
        let shape = format!("{kind:?} [{n}, {d}]");
        let (h, w) = (c.normals(n * d, 0.3, 2.0)?, c.normals(n * d, -0.1, 1.0)?);
        let (gain, bias) = (c.floats(d, 1.0, 0.1)?, c.floats(d, 0.0, 0.1)?);
        let (gain_t, bias_t) = (vector(&gain)?, vector(&bias)?);
        let shift = c.floats(d, 0.1, 0.3)?;
        let shifted: Vec<f32> = w.iter().enumerate().map(|(i, w)| w + shift[i % d]).collect();
        let write = matrix(&shifted, n)?;
        let params = NormParams { kind, eps: EPS, gain: &gain_t, bias: Some(&bias_t) };
        let want = norm::forward(params, &matrix(&h, n)?, Some(&write), Stats::Taken)?;
        let rows = reduce::partial_rows(c.gpu, n);
        let (gh, gw) = (c.up(&h)?, c.up(&w)?);
        let (gg, gb) = (c.gpu.upload(&gain)?, c.gpu.upload(&bias)?);
        let gs = c.gpu.upload(&shift)?;
        let (out, x, mean_rstd) = (c.room(n * d)?, c.room(n * d)?, c.float_room(2 * n)?);
        let (energy, columns) = (c.float_room(4 * rows)?, c.float_room(rows * d)?);
        norm::gpu::forward(
            kind,
            EPS,
            &norm::gpu::Forward {
                h: gh.all(),
                write: Some(gw.all()),
                write_bias: Some(gs.all()),
                gain: gg.all(),
                bias: Some(gb.all()),
                out: Some(out.all()),
                x: x.all(),
                mean_rstd: mean_rstd.all(),
                energy: energy.all(),
                columns: Some(columns.all()),
            },
        )?;
        c.compare_slice("add_norm stream", &shape, out.all(), &crate::tensor::read(&want.h)?)?;
        c.compare_slice("add_norm x", &shape, x.all(), &crate::tensor::read(&want.x)?)?;
        let totals = c.totals(&energy, 1, 4, 0)?;
        let column_totals = c.totals(&columns, 1, d, 0)?;
        let common: f64 = column_totals.iter().map(|v| (f64::from(*v) / n as f64).powi(2)).sum();
        if let Some(s) = want.stats {
            let means: Vec<f32> = totals.iter().map(|v| v / n as f32).collect();
            // `dot` cancels: held against the energies beside it.
            let want = [s.energy, s.dot, s.h2_before, s.h2_after].map(|v| v as f32);
            c.compare("add_norm energies", &shape, &means, &want);
            c.compare("add_norm common mode", &shape, &[common as f32], &[s.common as f32]);
        }
        norm_backward(c, params, (n, d), out.all(), mean_rstd.all())?;
    }
    Ok(())
}

/// The backward of the stream as the device stored it.
fn norm_backward(
    c: &mut Case<'_>,
    params: NormParams<'_>,
    (n, d): (usize, usize),
    stream: Slice<'_>,
    mean_rstd: Slice<'_>,
) -> Result<()> {
    let shape = format!("{:?} [{n}, {d}]", params.kind);
    let (dx, dr) = (c.normals(n * d, 0.0, 1.0)?, c.normals(n * d, 0.0, 1.0)?);
    let rows = reduce::partial_rows(c.gpu, n);
    let stored = stream.read()?;
    let saved = norm::forward(params, &matrix(&stored, n)?, None, Stats::Off)?;
    let want = norm::backward(params, &saved, &matrix(&dx, n)?, Some(&matrix(&dr, n)?))?;
    let (gdx, gdr, dh) = (c.up(&dx)?, c.up(&dr)?, c.room(n * d)?);
    let [dg, db, dw] = [c.float_room(rows * d)?, c.float_room(rows * d)?, c.float_room(rows * d)?];
    let gain = c.gpu.upload(&crate::tensor::read(params.gain)?)?;
    norm::gpu::backward(
        params.kind,
        &norm::gpu::Backward {
            dx: gdx.all(),
            d_residual: Some(gdr.all()),
            h: stream,
            mean_rstd,
            gain: gain.all(),
            dh: dh.all(),
            d_gain: dg.all(),
            d_bias: Some(db.all()),
            d_write: norm::gpu::sums_columns(d).then(|| dw.all()),
        },
    )?;
    c.compare_slice("add_norm backward", &shape, dh.all(), &crate::tensor::read(&want.h)?)?;
    if norm::gpu::sums_columns(d) {
        let stored = dh.all().read()?;
        let column = |j: usize| (0..n).map(|r| f64::from(stored[r * d + j])).sum::<f64>() as f32;
        let got = c.totals(&dw, 1, d, 0)?;
        c.compare("add_norm column sums", &shape, &got, &(0..d).map(column).collect::<Vec<_>>());
    }
    let got = c.totals(&dg, 1, d, 0)?;
    c.compare("add_norm gain gradient", &shape, &got, &crate::tensor::read(&want.gain)?);
    if let Some(b) = &want.bias {
        let got = c.totals(&db, 1, d, 0)?;
        c.compare("add_norm bias gradient", &shape, &got, &crate::tensor::read(b)?);
    }
    Ok(())
}

pub(super) fn activations(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let shapes: &[(usize, usize)] = extent.pick(&[(9, 520)], &[(9, 520), (1000, 3072), (333, 2048)]);
    for &act in Activation::ALL {
        for &(n, f) in shapes {
            let shape = format!("{act:?} [{n}, {f}]");
            let wide = if act.gated() { 2 * f } else { f };
            let (u, d) = (c.normals(n * wide, 0.1, 1.5)?, c.normals(n * f, 0.0, 1.0)?);
            let bias = c.floats(wide, 0.0, 0.5)?;
            let shifted: Vec<f32> = u.iter().enumerate().map(|(i, u)| u + bias[i % wide]).collect();
            let gb = c.gpu.upload(&bias)?;
            let mut stats = None;
            let want =
                written(n * f, |a| stats = activation::cpu::forward(act, f, &shifted, a, Stats::Taken));
            let rows = reduce::column_partials(c.gpu, n);
            let (gu, a) = (c.up(&u)?, c.room(n * f)?);
            let (energy, columns) =
                (c.float_room(rows * activation::gpu::energy_width(f))?, c.float_room(rows * f)?);
            let input = activation::gpu::Input { act, f, up: gu.all(), bias: Some(gb.all()) };
            activation::gpu::forward(input, a.all(), energy.all(), columns.all())?;
            c.compare_slice("activation", &shape, a.all(), &want)?;
            let square = c.totals(&energy, 1, 1, 0)?[0] / (n * f) as f32;
            if let Some(s) = stats {
                c.compare("activation energy", &shape, &[square], &[s.hidden_ms as f32]);
            }
            let want = written(n * wide, |du| activation::cpu::backward(act, f, &shifted, &d, du));
            let (gd, du, partial) = (c.up(&d)?, c.room(n * wide)?, c.float_room(rows * wide)?);
            activation::gpu::backward(input, gd.all(), du.all(), Some(partial.all()))?;
            c.compare_slice("activation backward", &shape, du.all(), &want)?;
            let sums = column_sums(&du.all().read()?, wide);
            let got = c.totals(&partial, 1, wide, 0)?;
            c.compare("activation bias gradient", &shape, &got, &sums);
        }
    }
    Ok(())
}

fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0f64; columns];
    for row in rows.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
    }
    sums.into_iter().map(|s| s as f32).collect()
}

pub(super) fn linear(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let shapes: &[(usize, usize, usize)] = extent.pick(&[(7, 24, 40)], &[(7, 24, 40), (500, 768, 2304)]);
    for &(n, k, m) in shapes {
        let shape = format!("[{n}, {k}] x [{m}, {k}]");
        let (x, w, dy) =
            (c.normals(n * k, 0.0, 1.0)?, c.normals(m * k, 0.0, 0.1)?, c.normals(n * m, 0.0, 1.0)?);
        let b = c.floats(m, 0.0, 1.0)?;
        let want = written(n * m, |y| lin::cpu::forward(y, &x, &w, Some(&b), k, m));
        let (gx, gw, gdy, gb) = (c.up(&x)?, c.up(&w)?, c.up(&dy)?, c.gpu.upload(&b)?);
        let (y, dx, dw) = (c.room(n * m)?, c.room(n * k)?, c.float_room(m * k)?);
        lin::gpu::forward(n, gx.all(), gw.all(), Some(gb.all()), y.all())?;
        c.compare_slice("linear", &shape, y.all(), &want)?;
        let (mut want_x, mut want_w, mut want_b) = (vec![0f32; n * k], vec![0f32; m * k], vec![0f32; m]);
        lin::cpu::backward((&mut want_x, &mut want_w, Some(&mut want_b)), &dy, &x, &w, (m, k));
        lin::gpu::backward_input(n, gdy.all(), gw.all(), dx.all())?;
        lin::gpu::backward_weight(n, gdy.all(), gx.all(), dw.all(), Accum::Replace)?;
        c.compare_slice("linear input gradient", &shape, dx.all(), &want_x)?;
        c.compare_slice("linear weight gradient", &shape, dw.all(), &want_w)?;
        lin::gpu::backward_weight(n, gdy.all(), gx.all(), dw.all(), Accum::Add)?;
        let twice: Vec<f32> = want_w.iter().map(|w| 2.0 * w).collect();
        c.compare_slice("linear weight gradient, added", &shape, dw.all(), &twice)?;
        let partial = c.float_room(reduce::column_partials(c.gpu, n) * m)?;
        reduce::column_sums(gdy.all(), m, partial.all())?;
        let got = c.totals(&partial, 1, m, 0)?;
        c.compare("linear bias gradient", &shape, &got, &want_b);
    }
    Ok(())
}

pub(super) fn cross_entropy(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let shapes: &[(usize, usize, usize)] =
        extent.pick(&[(5, 257, 320)], &[(5, 257, 320), (200, 50_257, 50_304)]);
    for &(n, v, pitch) in shapes {
        let shape = format!("[{n}, {v}]");
        let logits = c.normals(n * pitch, 0.0, 3.0)?;
        let targets: Vec<u32> = (0..n).map(|_| c.rng.random_range(0..v as u32)).collect();
        // The CPU twin multiplies by a matrix first: the identity leaves the logits as they are, row by row.
        let mut want = Vec::with_capacity(n * pitch);
        let mut losses = Vec::with_capacity(n);
        for (row, t) in logits.chunks_exact(pitch).zip(&targets) {
            let (mut room, mut loss, mut dx, mut dw) = (vec![0f32; v], [0f32], [0f32], vec![0f32; v]);
            head::cpu::head_loss(
                &[1.0],
                (&row[..v], v),
                &[*t],
                &mut room,
                &mut loss,
                Some((&mut dx, &mut dw)),
            );
            losses.push(loss[0]);
            want.extend(dw.iter().map(|g| g / n as f32));
            want.extend(std::iter::repeat_n(0.0, pitch - v));
        }
        let (gl, gt) = (c.up(&logits)?, c.gpu.upload_u32(&targets)?);
        let rows = reduce::partial_rows(c.gpu, n);
        let (partial, each) = (c.float_room(2 * rows)?, c.float_room(n)?);
        head::gpu::rows(gl.all(), v, gt.all(), partial.all(), each.all(), 1.0 / n as f32)?;
        let got = gl.all().read()?;
        c.compare("cross_entropy gradient", &shape, &got, &want);
        let got = each.all().read()?;
        c.compare("cross_entropy losses", &shape, &got, &losses);
        let got = c.totals(&partial, 1, 2, head::gpu::STATS_MAXIMA)?;
        let top = logits.chunks_exact(pitch).flat_map(|r| &r[..v]).fold(f32::NEG_INFINITY, |m, x| m.max(*x));
        c.compare("cross_entropy totals", &shape, &got, &[losses.iter().sum(), top]);
    }
    Ok(())
}

pub(super) fn embedding(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let shapes: &[(usize, usize, usize, usize)] =
        extent.pick(&[(2, 5, 11, 24)], &[(2, 5, 11, 24), (4, 500, 5000, 768)]);
    for &(b, t, v, d) in shapes {
        let (n, shape) = (b * t, format!("B {b}, T {t}, V {v}, d {d}"));
        let tokens: Vec<u32> = (0..n).map(|_| c.rng.random_range(0..v as u32)).collect();
        let (wte, wpe) = (c.floats(v * d, 0.0, 1.0)?, c.floats(t * d, 0.0, 1.0)?);
        let d_h = c.normals(n * d, 0.0, 1.0)?;
        let want = written(n * d, |h| emb::cpu::forward(&tokens, t, &wte, Some(&wpe), h));
        let mut batch = TokenBatch::new(c.gpu, n, v)?;
        batch.send(&tokens, &tokens, t)?;
        let (gte, gpe, h) = (c.gpu.upload(&wte)?, c.gpu.upload(&wpe)?, c.room(n * d)?);
        emb::gpu::forward(&batch, gte.all(), Some(gpe.all()), h.all())?;
        c.compare_slice("embedding", &shape, h.all(), &want)?;
        // Into what a tied head has written already.
        let mut d_wte = wte.clone();
        emb::cpu::backward(&tokens, &d_h, &mut d_wte);
        let want = written(t * d, |p| emb::cpu::positions(&d_h, t, d, p));
        let (gd, d_wpe) = (c.up(&d_h)?, c.gpu.zeros(Elem::F32, t * d)?);
        emb::gpu::backward(&batch, gd.all(), gte.all())?;
        emb::gpu::positions(gd.all(), t, d, d_wpe.all())?;
        c.compare_slice("embedding gradient", &shape, gte.all(), &d_wte)?;
        c.compare_slice("position gradient", &shape, d_wpe.all(), &want)?;
    }
    Ok(())
}
