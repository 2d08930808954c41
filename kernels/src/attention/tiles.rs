//! Tiles of the attention kernels: what a launch has to know of `../../cuda/attention.cuh` (float32) and
//! `../../cuda/attention_tensor.cuh` (bf16). The emulator refuses a launch that gives too little shared memory.

/// How a head is cut into tiles, and what a block takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Queries (or keys) that one block owns.
    pub rows: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Dynamic shared memory of the forward, bytes.
    pub forward_bytes: usize,
    /// Dynamic shared memory of either kernel of the backward, bytes.
    pub backward_bytes: usize,
}

/// The tiles of heads of this width, 16, 32, 64 or 128; `bf16`: on tensor cores.
pub const fn tiles(bf16: bool, head_dim: usize) -> Tiles {
    if !bf16 {
        let rows = if head_dim == 128 { 32 } else { 64 };
        return Tiles { rows, threads: 2 * rows, forward_bytes: 0, backward_bytes: 0 };
    }
    let (rows, staged) = if head_dim == 128 { (64, 32) } else { (128, 64) };
    // Rows are padded by 16 bytes; two tiles of the other side arrive in two stages each.
    let pitch = 2 * head_dim + 16;
    let (own, stages) = (rows * pitch, 4 * staged * pitch);
    Tiles { rows, threads: 128, forward_bytes: own + stages, backward_bytes: 2 * own + stages }
}
