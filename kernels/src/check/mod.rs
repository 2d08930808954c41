//! Every operation on a device against its CPU twin, on fresh random inputs: what to run first on a new machine.
//!
//! The CPU twins are held against float64 in this crate's tests, and the kernels, with bounds from the arithmetic, on
//! the host emulator; what is left to see is whether a device computes what the emulator does. So the limits here are
//! plain ones: an element, relative to the largest of its array, may be off by [`FLOAT`] in float32 (sums in another
//! order, fused multiply-adds) and by [`BF16`] where tensors are stored as bf16 (2^-9 at every store, three stores deep).

mod attention;
mod case;
mod elementwise;
mod graph;
mod update;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use case::{BF16, Compared, Extent, FLOAT};

use crate::error::Result;
use crate::gpu::{Elem, Gpu};
use case::Case;

/// Run all checks. `begin` hears what is next.
///
/// # Errors
/// What a launch meets. Differences are findings, not errors.
pub fn run(gpu: &Gpu, seed: u64, extent: Extent, begin: &mut dyn FnMut(&str)) -> Result<Vec<Compared>> {
    type Check = fn(&mut Case<'_>, Extent) -> Result<()>;
    const BOTH: [(&str, Check); 7] = [
        ("norms", elementwise::norms),
        ("activations", elementwise::activations),
        ("products", elementwise::linear),
        ("cross-entropy", elementwise::cross_entropy),
        ("embedding", elementwise::embedding),
        ("attention", attention::attention),
        ("norms of queries and keys", attention::qk_norm),
    ];
    const FLOAT_ONLY: [(&str, Check); 2] = [("optimizers", update::optimizers), ("graphs", graph::graphs)];
    let mut out = Vec::new();
    for elem in [Elem::F32, Elem::Bf16] {
        let mut case = Case { gpu, rng: ChaCha8Rng::seed_from_u64(seed), elem, out: &mut out };
        for (what, check) in BOTH {
            begin(&format!("{what}, {}", elem.suffix()));
            check(&mut case, extent)?;
        }
    }
    let mut case = Case { gpu, rng: ChaCha8Rng::seed_from_u64(seed), elem: Elem::F32, out: &mut out };
    for (what, check) in FLOAT_ONLY {
        begin(what);
        check(&mut case, extent)?;
    }
    Ok(out)
}
