//! Prose on a terminal: the words that tables use, names that tell runs apart, command lines that can be pasted.

use std::path::Path;

use growthpath_trace::shown_path;

pub use crate::tables::{WIDTH, wrap};

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
    let text = shown_path(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Two names that tell runs apart: the labels, with the directory where both are the same.
pub fn told_apart(a: (&str, &Path), b: (&str, &Path)) -> (String, String) {
    let name = |(label, dir): (&str, &Path)| match a.0 == b.0 || label.is_empty() {
        true => format!("{label} ({})", shown_path(dir)).trim_start().to_owned(),
        false => label.to_owned(),
    };
    (name(a), name(b))
}

#[cfg(test)]
mod tests {
    use super::*;

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
