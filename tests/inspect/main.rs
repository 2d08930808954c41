//! `growthpath inspect` on checkpoints of many kinds: the right numbers, or a refusal that says why.

mod layouts;
mod meaning;
mod mistakes;
mod support;
