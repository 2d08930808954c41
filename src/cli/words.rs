//! Prose on a terminal: wrapped lines, the words that tables use, command lines that can be pasted.

use std::path::Path;

/// Columns of every text that is printed.
pub const WIDTH: usize = 80;

/// `text` in lines of at most [`WIDTH`] characters, the first after `head`, the others indented as far as `indent`.
pub fn wrap(head: &str, text: &str, indent: usize) -> String {
    let (mut out, mut line) = (String::new(), head.to_owned());
    let mut empty = true;
    for word in text.split_whitespace() {
        let gap = usize::from(!empty);
        if !empty && line.chars().count() + gap + word.chars().count() > WIDTH {
            out += line.trim_end();
            out.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    out + line.trim_end() + "\n"
}

/// One wrapped line a term.
pub fn glossary(terms: &[(&str, &str)]) -> String {
    let mut out = String::from("\nWords:\n");
    for (term, meaning) in terms {
        out += &wrap(&format!("  {term}: "), meaning, 4);
    }
    out
}

/// A path as a shell takes it.
pub fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Two names that tell runs apart: the labels, with the directory where both are the same.
pub fn told_apart(a: (&str, &Path), b: (&str, &Path)) -> (String, String) {
    let name = |(label, dir): (&str, &Path)| match a.0 == b.0 || label.is_empty() {
        true => format!("{label} ({})", dir.display()).trim_start().to_owned(),
        false => label.to_owned(),
    };
    (name(a), name(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_the_terminal_and_keep_every_word() {
        let text = "upper half commits in steps 30..38, ".repeat(9);
        let wrapped = wrap("  note: ", &text, 4);
        assert!(wrapped.lines().all(|l| l.chars().count() <= WIDTH), "{wrapped}");
        let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&wrapped)[1..], words(&text)[..]);
    }

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(shell(Path::new("runs/gpt+rope-5")), "runs/gpt+rope-5");
        assert_eq!(shell(Path::new("my run/it's")), r"'my run/it'\''s'");
    }

    #[test]
    fn equal_labels_are_told_apart() {
        let (a, b) = told_apart(("gpt", Path::new("x/1")), ("gpt", Path::new("x/2")));
        assert_eq!((a.as_str(), b.as_str()), ("gpt (x/1)", "gpt (x/2)"));
        let (a, b) = told_apart(("gpt", Path::new("x/1")), ("llama", Path::new("x/2")));
        assert_eq!((a.as_str(), b.as_str()), ("gpt", "llama"));
    }
}
