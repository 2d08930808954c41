//! What hostile, damaged and incomplete input does to the program as its user meets it: one clear error, soon, and
//! never a wrong "all checks hold".

#![cfg(unix)]

mod against;
mod codes;
mod completeness;
mod corpus;
mod damage;
mod extremes;
mod files;
mod mutation;
mod rewrite;
mod shown;
mod sizes;
#[allow(dead_code)] // shared with tests/reliability, each uses a part
#[path = "../reliability/support.rs"]
mod support;
mod text;
