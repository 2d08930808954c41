//! The text that travels with the program: enough of Shakespeare's plays for attention to pay within minutes.

/// Under zstd; public domain.
const PACKED: &[u8] = include_bytes!("../../assets/shakespeare.txt.zst");

/// Bytes of the validation text, at the end: 192 windows of 128 bytes and a target.
const VALID_BYTES: usize = 24_600;

/// Training and validation text.
///
/// # Errors
/// Bytes in the program that are not what was packed.
pub fn shakespeare() -> std::io::Result<(String, String)> {
    let text = String::from_utf8(zstd::decode_all(PACKED)?).map_err(std::io::Error::other)?;
    let cut = text.len().saturating_sub(VALID_BYTES);
    match text.get(cut..) {
        Some(valid) => Ok((text[..cut].to_owned(), valid.to_owned())),
        None => Err(std::io::Error::other("the bundled text cannot be cut")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_whole() {
        let (train, valid) = shakespeare().unwrap();
        assert_eq!((train.len(), valid.len()), (719855, VALID_BYTES));
        assert!(train.starts_with("First Citizen:"), "{}", &train[..40]);
        assert!(train.ends_with("\n\n"), "a speech is not cut");
    }
}
