//! Aligned tables, short numbers and wrapped lines, for the terminal and the report.

use comfy_table::{CellAlignment, Table, presets};

/// An aligned table: the first column left, the others right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut t = Table::new();
    t.load_preset(presets::NOTHING).set_header(header);
    for r in rows {
        t.add_row(r);
    }
    for (i, c) in t.column_iter_mut().enumerate() {
        c.set_padding((0, 2));
        c.set_cell_alignment(if i == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    let lines: Vec<String> = t.lines().map(|l| l.trim_end().to_string()).collect();
    lines.join("\n") + "\n"
}

/// A number to three significant figures in as few characters as keep the columns readable; `-` for undefined.
pub fn number(v: f64) -> String {
    let a = v.abs();
    if !v.is_finite() {
        "-".into()
    } else if a == 0.0 {
        "0".into()
    } else if (0.001..10_000.0).contains(&a) {
        let digits = (3 - a.log10().floor() as i32).clamp(0, 5) as usize;
        format!("{v:.digits$}")
    } else {
        format!("{v:.2e}")
    }
}

/// `1 step`, `2 steps`.
pub fn plural(n: impl Into<u64>, what: &str) -> String {
    let n = n.into();
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Words on lines of at most `width` columns.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    lines("", text, 0, width)
}

/// Words on lines of at most `width` columns, the first after `head`, the others indented.
fn lines(head: &str, text: &str, indent: usize, width: usize) -> Vec<String> {
    let (mut lines, mut line, mut empty) = (Vec::new(), head.to_owned(), true);
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            empty = true;
        }
        line += if empty { "" } else { " " };
        line += word;
        empty = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Columns of every text that is printed.
pub const WIDTH: usize = 80;

/// `text` in lines of at most [`WIDTH`] characters, the first after `head`, the others indented as far as `indent`.
pub fn wrap(head: &str, text: &str, indent: usize) -> String {
    lines(head, text, indent, WIDTH).join("\n") + "\n"
}

/// A word as a shell takes it.
pub fn shell_word(word: String) -> String {
    match word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c)) {
        true if !word.is_empty() => word,
        _ => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_size() {
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(1234.567), "1235");
        assert_eq!(number(-0.123_45), "-0.1235");
        assert_eq!(number(1.5e-7), "1.50e-7");
    }

    #[test]
    fn lines_are_no_wider_than_the_terminal_and_keep_every_word() {
        let text = "upper half commits in steps 30..38, ".repeat(9);
        let wrapped = wrap("  note: ", &text, 4);
        assert!(wrapped.lines().all(|l| l.chars().count() <= WIDTH), "{wrapped}");
        let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&wrapped)[1..], words(&text)[..]);
    }

    #[test]
    fn tables_align() {
        let t = table(&["a", "bbbb"], &[vec!["x".into(), "1".into()], vec!["yyy".into(), "22".into()]]);
        let widths: Vec<usize> = t.lines().map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|w| *w == widths[0]), "{t}");
    }

    #[test]
    fn text_wraps_at_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 4), ["incomprehensible"]);
    }
}
