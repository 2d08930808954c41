//! On a device: one launch from logits to losses and, in place, to the loss's gradient.

use crate::error::{Result, shape_error};
use crate::gpu::reduce::{float, partial_blocks};
use crate::gpu::{Elem, Gpu, Grid, Slice, int};

/// Threads of a block.
const THREADS: usize = 1024;
/// Shared memory that a block needs beside the row, bytes: its scratch, and what the driver keeps.
const BESIDE: usize = 2048;

/// Whether a block can keep a row of `pitch` logits in shared memory: one read of the logits in place of two.
fn held(gpu: &Gpu, elem: Elem, pitch: usize) -> bool {
    pitch * elem.bytes() + BESIDE <= gpu.shared_memory()
}

/// Partial rows for `n` rows of `pitch` logits: the blocks that are on the device at a time.
pub fn partial_rows(gpu: &Gpu, elem: Elem, n: usize, pitch: usize) -> usize {
    let blocks = if held(gpu, elem, pitch) { 2 } else { 8 };
    n.min(blocks * gpu.processors()).max(1)
}

/// Columns of the partial statistics: sum of the losses, largest logit.
pub const STATS: usize = 2;
/// Which of them are maxima, for [`crate::gpu::reduce::totals`].
pub const STATS_MAXIMA: u32 = 0b10;

/// Replace logits by `(softmax - onehot) * scale`.
///
/// # Shapes
/// `logits [n, pitch]`, pitch a multiple of 8, of which the first V columns count and the others become zeros; `targets [n]` of u32, below V
/// (another one makes its row's loss and gradient NaN); `partials [P, 2]`, `losses [n]` float32.
///
/// # Errors
/// Slices of other lengths or types.
pub fn rows(
    logits: Slice<'_>,
    vocabulary: usize,
    targets: Slice<'_>,
    partials: Slice<'_>,
    losses: Slice<'_>,
    scale: f32,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    let n = targets.len();
    float(OP, logits)?;
    targets.check(OP, "targets", Elem::U32, n)?;
    if n == 0 || logits.len() == 0 || !logits.len().is_multiple_of(n) {
        return Err(shape_error(OP, "logits", &[logits.len()], format!("[{n}, pitch]")));
    }
    let pitch = logits.len() / n;
    if vocabulary == 0 || vocabulary > pitch || !pitch.is_multiple_of(8) {
        let fits = format!("between 1 and the pitch {pitch}, a multiple of 8");
        return Err(shape_error(OP, "vocabulary", &[vocabulary], fits));
    }
    losses.check(OP, "losses", Elem::F32, n)?;
    let blocks = partial_blocks(OP, partials, STATS)?;
    let args = [
        logits.into(),
        targets.into(),
        partials.into(),
        losses.into(),
        int(OP, n)?.into(),
        int(OP, vocabulary)?.into(),
        int(OP, pitch)?.into(),
        scale.into(),
    ];
    let elem = logits.elem();
    let held = held(logits.gpu(), elem, pitch);
    let kernel = format!("cross_entropy_{}{}", if held { "held_" } else { "" }, elem.suffix());
    let grid = Grid::new([blocks, 1, 1], THREADS).with_shared(if held { pitch * elem.bytes() } else { 0 });
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { logits.gpu().launch(&kernel, grid, &args) }
}
