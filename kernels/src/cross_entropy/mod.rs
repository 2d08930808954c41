//! Vocabulary projection fused with cross-entropy: logits exist only for a chunk of tokens at a time.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod gpu;
