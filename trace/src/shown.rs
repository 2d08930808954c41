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
    fn nothing_that_is_shown_steers() {
        assert_eq!(shown("a\nb\t\u{1b}[2Jc\u{202e}"), "a\\nb\\t\\u{1b}[2Jc\\u{202e}");
        assert_eq!(shown_lines("a\nb\tc\r\u{7f}"), "a\nb\tc\\r\\u{7f}");
        assert_eq!(shown("größe 大 `x\\y`"), "größe 大 `x\\y`");
        let long = "ü".repeat(LONGEST_LABEL);
        assert_eq!(shown_label(&long), long);
        assert_eq!(shown_label(&(long.clone() + "x")), long + "...");
    }
}
