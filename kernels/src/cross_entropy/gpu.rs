//! On a device: one launch from logits to losses and, in place, to the loss's gradient.

use crate::error::{Result, shape_error};
use crate::gpu::reduce::{float, partial_blocks};
use crate::gpu::{Elem, Grid, Slice, int};

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
    let kernel = format!("cross_entropy_{}", logits.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe { logits.gpu().launch(&kernel, Grid::new([blocks, 1, 1], 512), &args) }
}
