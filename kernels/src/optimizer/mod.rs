//! AdamW and SGD over whole tensors in one pass, with the statistics of W_Q and W_K per head on the way.

mod adamw;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;
mod update;

use candle_core::Tensor;

pub use adamw::{AdamW, AdamWSettings, StepInfo};
pub use update::{Decay, HeadUpdateStats, OptimizerState, Rule, Segment, Update};

use crate::error::{Result, shape_error};
use crate::tensor::{edit_from, read_as};
use update::OP;

/// Sum of squares of a gradient, for the global norm.
///
/// # Errors
/// Storage that is not contiguous float32.
pub fn sum_squares(g: &Tensor) -> Result<f64> {
    Ok(cpu::sum_squares(&read_as("sum_squares", "gradient", g)?))
}

/// Update one parameter in place; adds the sums of its marked runs to `slots`.
///
/// # Errors
/// A gradient or moments of another size, segments that do not partition the parameter in order, a group or slot that
/// does not exist, `t = 0`, or storage that is not contiguous float32.
pub fn step(
    update: &Update<'_>,
    param: &Tensor,
    grad: &Tensor,
    (decay, segments): (Decay, &[Segment]),
    moments: &mut OptimizerState,
    slots: &mut [HeadUpdateStats],
) -> Result<()> {
    let len = param.elem_count();
    if grad.elem_count() != len {
        return Err(shape_error(OP, "gradient", grad.dims(), format!("{:?}", param.dims())));
    }
    let mut outcome = Ok(());
    edit_from(OP, ("param", param), ("gradient", grad), |w, g| {
        outcome = cpu::step(update, w, g, (decay, segments), moments, slots);
    })?;
    outcome
}
