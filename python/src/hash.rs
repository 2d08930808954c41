//! blake3, the hash by which runs name their data.

use pyo3::prelude::*;

/// blake3 of some bytes, in hex.
#[pyfunction]
pub fn blake3(bytes: &[u8]) -> String {
    ::blake3::hash(bytes).to_hex().to_string()
}
