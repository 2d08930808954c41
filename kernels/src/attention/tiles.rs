//! Tiles of the attention kernels: what a launch has to know of `../../cuda/attention.cuh` (float32) and
//! `../../cuda/attention_tensor.cuh` (bf16). The emulator refuses a launch that gives too little shared memory.

/// How an attention kernel multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// Float32, by fused multiply-adds.
    Float,
    /// bf16 on tensor cores, every warp for itself (`mma.sync`, compute capability 8.0).
    Warp,
    /// bf16 on tensor cores, four warps together (`wgmma`, compute capability 9.0 alone; heads of 32, 64 and 128).
    Group,
}

impl Products {
    /// Name of a kernel, `fwd`, `bwd_q` or `bwd_kv`.
    pub fn kernel(self, part: &str, head_dim: usize) -> String {
        let (group, elem) = match self {
            Self::Float => ("", "f32"),
            Self::Warp => ("", "bf16"),
            Self::Group => ("group_", "bf16"),
        };
        format!("attention_{part}_{group}d{head_dim}_{elem}")
    }
}

/// How a head is cut into tiles, and what a block takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Queries (or keys) that one block owns.
    pub rows: usize,
    /// Threads of a block of the forward.
    pub forward_threads: usize,
    /// Threads of a block of either kernel of the backward.
    pub backward_threads: usize,
    /// Dynamic shared memory of the forward, bytes.
    pub forward_bytes: usize,
    /// Dynamic shared memory of either kernel of the backward, bytes.
    pub backward_bytes: usize,
}

/// Queries that a block owns of heads of this width, whatever multiplies them.
pub const fn rows(bf16: bool, head_dim: usize) -> usize {
    if !bf16 && head_dim == 128 { 32 } else { 64 }
}

/// The tiles of heads of this width, 16, 32, 64 or 128.
pub const fn tiles(products: Products, head_dim: usize) -> Tiles {
    let rows = rows(!matches!(products, Products::Float), head_dim);
    let (forward_threads, backward_threads) = match products {
        Products::Float => (2 * rows, 2 * rows),
        Products::Group => (128, 128),
        Products::Warp => (128, if head_dim == 128 { 128 } else { 64 }),
    };
    // Two tiles of the other side arrive in two stages each; of wide heads by warpgroups, the forward's values in one.
    let (own, staged, values) = match (products, head_dim) {
        (Products::Float, _) => (0, 0, 0),
        (Products::Warp, 128) => (2 * rows * head_dim, 2 * 32 * head_dim, 2),
        (Products::Group, 128) => (2 * rows * head_dim, 2 * 64 * head_dim, 1),
        _ => (2 * rows * head_dim, 2 * 64 * head_dim, 2),
    };
    let (forward_bytes, backward_bytes) = (own + (2 + values) * staged, 2 * own + 4 * staged);
    Tiles { rows, forward_threads, backward_threads, forward_bytes, backward_bytes }
}
