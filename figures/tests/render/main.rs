//! Every figure, drawn from real traces and from hostile numbers, in every format and width.

mod documents;
mod hostile;
mod marks;
mod refusals;
#[path = "../../examples/samples/mod.rs"]
#[allow(dead_code)]
mod samples;
mod support;
