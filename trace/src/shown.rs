//! Names that somebody else chose, as they are shown: on one line, without characters that steer a terminal.

use std::path::Path;

/// Longest label that is kept, in characters.
pub const LONGEST_LABEL: usize = 200;

/// Whether a character would end the line, steer the terminal, or turn or hide the text around it.
fn steers(c: char) -> bool {
    let marks = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    c.is_control() || c == '\u{feff}' || marks.iter().any(|m| m.contains(&c))
}

/// `text` with such characters escaped, as `\n` or `\u{1b}`.
pub fn shown(text: &str) -> String {
    escaped(text, steers)
}

/// The same of a text of several lines: line ends and tabs stay.
pub fn shown_lines(text: &str) -> String {
    escaped(text, |c| steers(c) && c != '\n' && c != '\t')
}

/// [`shown`] of a path; bytes that are not UTF-8 become U+FFFD.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// [`shown`] of a name, cut after [`LONGEST_LABEL`] characters.
pub fn shown_label(text: &str) -> String {
    match text.char_indices().nth(LONGEST_LABEL) {
        None => shown(text),
        Some((end, _)) => shown(&text[..end]) + "...",
    }
}

/// A number with so many decimals; one that rounds to zero has no sign.
pub fn fixed(v: f64, decimals: usize) -> String {
    let text = format!("{v:.decimals$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.bytes().all(|b| matches!(b, b'0' | b'.')) => zero.to_owned(),
        _ => text,
    }
}

/// [`fixed`] with a sign before it, as numbers that are added have; one that rounds to zero has none.
pub fn signed(v: f64, decimals: usize) -> String {
    let text = fixed(v, decimals);
    if v > 0.0 && (v.is_infinite() || text.bytes().any(|b| matches!(b, b'1'..=b'9'))) {
        format!("+{text}")
    } else {
        text
    }
}

fn escaped(text: &str, odd: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_to_zero_has_no_sign() {
        for (v, plain, with_sign) in [
            (-0.0, "0.00", "0.00"),
            (-0.0049, "0.00", "0.00"),
            (0.0049, "0.00", "0.00"),
            (-0.006, "-0.01", "-0.01"),
            (0.006, "0.01", "+0.01"),
            (-10.0, "-10.00", "-10.00"),
            (f64::NAN, "NaN", "NaN"),
            (f64::NEG_INFINITY, "-inf", "-inf"),
        ] {
            assert_eq!((&*fixed(v, 2), &*signed(v, 2)), (plain, with_sign));
        }
        assert_eq!(
            (signed(f64::INFINITY, 2), signed(f64::NEG_INFINITY, 2)),
            ("+inf".to_owned(), "-inf".to_owned())
        );
        assert_eq!((fixed(-0.3, 0), signed(-0.7, 0)), ("0".to_owned(), "-1".to_owned()));
    }

    #[test]
    fn nothing_that_is_shown_steers() {
        assert_eq!(shown("a\nb\t\u{1b}[2Jc\u{202e}"), "a\\nb\\t\\u{1b}[2Jc\\u{202e}");
        assert_eq!(shown_lines("a\nb\tc\r\u{7f}"), "a\nb\tc\\r\\u{7f}");
        assert_eq!(shown("größe 大 `x\\y`"), "größe 大 `x\\y`");
        let long = "ü".repeat(LONGEST_LABEL);
        assert_eq!(shown_label(&long), long);
        assert_eq!(shown_label(&(long.clone() + "x")), long + "...");
    }
}
