//! Recorded launches against the same ones launched one by one: the same bits.

use faer::Accum;

use super::case::{Case, Extent};
use crate::error::Result;
use crate::gpu::{Elem, Matrix, Slice, reduce};

/// Buffers of a small piece of work with everything that a training step is recorded with.
struct Work<'a> {
    n: usize,
    x: Slice<'a>,
    rounded: Slice<'a>,
    product: Slice<'a>,
    half: Slice<'a>,
    totals: Slice<'a>,
}

impl Work<'_> {
    /// A kernel, products in both types, a clear and a copy within the device, then sums of all.
    fn run(&self) -> Result<()> {
        let (gpu, n) = (self.x.gpu(), self.n);
        reduce::round(self.x, self.rounded)?;
        let (x, r) = (Matrix::new(self.x, n, n)?, Matrix::new(self.rounded, n, n)?);
        let product = Matrix::new(self.product, n, n)?;
        gpu.gemm(product, x, x.t(), Accum::Replace)?;
        gpu.gemm(product, r, r, Accum::Add)?;
        let lower = self.product.at(n * n / 2, n * n / 2)?;
        self.half.copy_from(lower)?;
        lower.zero()?;
        reduce::totals(self.product, 1, n, 0, self.totals.at(0, n)?)?;
        reduce::totals(self.half, 1, n, 1, self.totals.at(n, n)?)
    }

    /// The sums over `x`.
    fn of(&self, x: &[f32], run: impl FnOnce() -> Result<()>) -> Result<Vec<f32>> {
        self.x.write(x)?;
        run()?;
        self.totals.read()
    }
}

pub(super) fn graphs(c: &mut Case<'_>, extent: Extent) -> Result<()> {
    let n = extent.pick(32, 512);
    let shape = format!("[{n}, {n}]");
    let (x, product, totals) = (c.float_room(n * n)?, c.float_room(n * n)?, c.float_room(2 * n)?);
    let (rounded, half, other) =
        (c.gpu.zeros(Elem::Bf16, n * n)?, c.float_room(n * n / 2)?, c.float_room(1)?);
    let (x, product, totals) = (x.all(), product.all(), totals.all());
    let work = Work { n, x, rounded: rounded.all(), product, half: half.all(), totals };
    let inputs = [c.floats(n * n, 0.1, 1.0)?, c.floats(n * n, 0.1, 1.0)?];
    let mut want = Vec::new();
    for x in &inputs {
        want.push(work.of(x, || work.run())?);
    }
    let recording = c.gpu.record()?;
    work.run()?;
    let graph = recording.finish()?;
    for (x, want) in inputs.iter().zip(&want) {
        let got = work.of(x, || graph.launch())?;
        c.compare_within("recorded launches", &shape, &got, want, 0.0);
    }
    // What must not come to pass, as zeros: copies to the host while recording; the end of a graph with memory that it does
    // not use; a launch without memory that it does.
    let recording = c.gpu.record()?;
    let read = totals.read().is_ok();
    drop(recording);
    let got = work.of(&inputs[0], || work.run())?;
    c.compare_within("launches after a dropped recording", &shape, &got, &want[0], 0.0);
    drop(other);
    let unused = !graph.alive();
    drop(half);
    let launched = graph.launch().is_ok();
    let wrong = [read, unused, graph.alive(), launched].map(|w| f32::from(u8::from(w)));
    c.compare_within("refusals of recordings", "read, unused, alive, launched", &wrong, &[0.0; 4], 0.0);
    Ok(())
}
