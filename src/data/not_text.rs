//! Files that are no text, although they may be valid UTF-8: told by their first bytes, or by the NULs in them.

/// First bytes, what such a file is, and the mend.
const MARKS: &[(&[u8], &str, &str)] = &[
    (b"\x00\x00\xfe\xff", "UTF-32 text", "iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "UTF-16 text (byte-order mark)", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text (byte-order mark)", "iconv -f UTF-16 -t UTF-8"),
    (b"\x1f\x8b", "gzip-compressed data", "gunzip it"),
    (b"PK\x03\x04", "a zip archive", "unzip it"),
    (b"BZh", "bzip2-compressed data", "bunzip2 it"),
    (b"\xfd7zXZ\x00", "xz-compressed data", "unxz it"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data", "unzstd it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"PAR1", "a Parquet table", "write its text column to a text file"),
    (b"ARROW1", "an Arrow file", "write its text column to a text file"),
    (b"\x93NUMPY", "a NumPy array", "give the text that it was made from"),
    (b"\x89HDF", "an HDF5 file", "write its text to a text file"),
    (b"SQLite format 3\x00", "an SQLite database", "write its text to a text file"),
    (b"%PDF-", "a PDF document", "pdftotext"),
    (b"\x89PNG", "a picture", "give a text file"),
    (b"\xff\xd8\xff", "a picture", "give a text file"),
    (b"\x7fELF", "a program", "give a text file"),
    (b"GGUF", "a GGUF model", "give a text file"),
    (
        b"\xc3\xbf\xc3\xbe",
        "UTF-16 text that was converted as if it were Latin-1",
        "convert the original with iconv -f UTF-16 -t UTF-8",
    ),
];

/// Bytes looked at for NULs.
const SAMPLE: usize = 1 << 20;

/// What a file is that is no text, and the mend; `None` for what may be text.
pub(super) fn looks_like(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if let Some((_, what, mend)) = MARKS.iter().find(|(mark, ..)| bytes.starts_with(mark)) {
        return Some((what, mend));
    }
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    let nuls = |from: usize| sample.iter().skip(from).step_by(2).filter(|b| **b == 0).count();
    let (even, odd) = (nuls(0), nuls(1));
    // Text has none; a file may hold a stray one.
    if (even + odd) * 100 <= sample.len() {
        return None;
    }
    if even.max(odd) > 8 * even.min(odd) && std::str::from_utf8(sample).is_ok() {
        return Some((
            "every other byte is NUL: UTF-16 text without a mark, or token ids",
            "iconv -f UTF-16LE -t UTF-8, or give the text that the ids were made from",
        ));
    }
    Some(("many bytes are NUL: binary data such as token ids", "give the text that they were made from"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_and_text_passes() {
        for good in ["plain\n", "größe\u{feff}", "BZ", "PK in words", "\u{feff}with a mark"] {
            assert_eq!(looks_like(good.as_bytes()), None, "{good}");
        }
        let mut stray = vec![b'a'; 1000];
        stray[500] = 0;
        assert_eq!(looks_like(&stray), None);
        let text = "the king is dead ".repeat(20);
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(looks_like(&wide).is_some_and(|w| w.0.contains("UTF-16")));
        let marked = [&b"\xff\xfe"[..], &wide].concat();
        assert!(looks_like(&marked).is_some_and(|w| w.1.contains("iconv -f UTF-16")));
        let ids: Vec<u8> = (0..400_u16).flat_map(|i| (i * 131 % 50_000).to_le_bytes()).collect();
        assert!(looks_like(&[0, 0, 1, 0].repeat(50)).is_some());
        assert!(looks_like(&ids).is_some() || std::str::from_utf8(&ids).is_err());
        assert!(looks_like(b"\x1f\x8b\x08\x00").is_some_and(|w| w.0.contains("gzip")));
    }
}
