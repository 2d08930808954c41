//! Query and key weights of other people's checkpoints: right for every architecture that is known, refused by name for
//! every other.
//!
//! An architecture is known by its `model_type` (`family`) and by every tensor under its attention: one that is not
//! expected there is an error, for what it does to the logits is unknown. Only W_Q, W_K and their biases and norms are
//! read, layer by layer (`store`).

mod arrays;
mod checkpoint;
mod config;
mod dtype;
mod family;
mod find;
mod heads;
mod known;
mod layer;
mod matrix;
mod order;
mod read;
mod remarks;
mod rope;
mod store;
mod table;
mod what;

pub use arrays::{Arrays, read_config};
pub use checkpoint::Checkpoint;
pub use layer::{LayerWeights, NormGain, Pair};
pub use order::in_order;
pub use rope::Rotation;
