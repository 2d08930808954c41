//! The hash that a JSON file such as `run.json` carries of itself.
//!
//! Its first field, `blake3`, is the blake3 of the file's bytes with the field's 64 digits put to zeros.

use std::path::Path;

use crate::error::{Error, Result};

/// Name of the field.
pub const FIELD: &str = "blake3";

/// What the file begins with; the digits follow.
const START: &str = "{\n  \"blake3\": \"";

/// Digits of a hash.
const DIGITS: usize = 64;

/// A pretty-printed JSON object with its hash in front, ready to be written.
pub fn seal(json: &str) -> String {
    let rest = json.strip_prefix('{').unwrap_or(json);
    let zeros = format!("{START}{}\",{rest}\n", "0".repeat(DIGITS));
    let hash = blake3::hash(zeros.as_bytes()).to_hex();
    zeros.replacen(&"0".repeat(DIGITS), &hash, 1)
}

/// Whether a file must carry its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// It was written with one.
    Required,
    /// It may be older than hashes.
    Optional,
}

/// Compares a file's bytes with the hash that they carry.
///
/// # Errors
/// [`Error::Corrupt`] if they differ, or if a required one is not there.
pub fn check(path: &Path, bytes: &[u8], hash: Hash) -> Result<()> {
    let digits = START.len()..START.len() + DIGITS;
    let Some(stated) = bytes.get(digits.clone()).filter(|_| bytes.starts_with(START.as_bytes())) else {
        return match hash {
            Hash::Required => Err(Error::corrupt(
                path,
                "it does not begin with its hash: it was changed after it was written",
            )),
            Hash::Optional => Ok(()),
        };
    };
    let mut zeros = bytes.to_vec();
    zeros[digits].fill(b'0');
    if blake3::hash(&zeros).to_hex().as_bytes() == stated {
        Ok(())
    } else {
        Err(Error::corrupt(path, "its hash is another one: it was changed after it was written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = seal("{\n  \"label\": \"gpt\",\n  \"steps\": 3\n}");
        assert!(serde_json::from_str::<serde_json::Value>(&good).unwrap()[FIELD].is_string());
        let path = Path::new("run.json");
        check(path, good.as_bytes(), Hash::Required).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone().into_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(path, &bad, Hash::Required).is_err(), "bit {bit}");
        }
        check(path, b"{}", Hash::Optional).unwrap();
        assert!(check(path, b"{}", Hash::Required).is_err());
    }
}
