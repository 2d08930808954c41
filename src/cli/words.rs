//! Prose on a terminal: the words that tables use, names that tell runs apart, command lines that can be pasted.

use std::path::Path;

use growthpath_figures::names::{Unnamed, names};
use growthpath_trace::{Run, shown_path};

use crate::tables::shell_word;
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
    shell_word(shown_path(path))
}

/// Two names that tell runs apart: the labels, with what differs where both are the same.
pub fn told_apart(a: &Run, b: &Run) -> (String, String) {
    let unnamed = [a, b].map(|r| Unnamed { label: &r.info().label, config: &r.info().config, dir: r.dir() });
    let mut names = names(&unnamed).into_iter();
    (names.next().unwrap_or_default(), names.next().unwrap_or_default())
}

/// Whether both are one record: of one folder, or copies of it.
pub fn same_run(a: &Run, b: &Run) -> bool {
    let id = &a.info().id;
    (!id.is_empty() && *id == b.info().id) || a.dir().canonicalize().ok() == b.dir().canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(shell(Path::new("runs/gpt+rope-5")), "runs/gpt+rope-5");
        assert_eq!(shell(Path::new("my run/it's")), r"'my run/it'\''s'");
    }
}
