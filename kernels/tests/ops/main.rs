//! Every CPU operation against plain float64 references on fresh random inputs and odd shapes.

mod activation;
mod attention;
mod attention_reference;
mod autograd;
mod embedding;
mod errors;
mod extremes;
mod forms;
mod head_loss;
mod linear;
mod memory;
mod norm;
mod optimizer;
mod qk_norm;
mod support;
mod threads;
