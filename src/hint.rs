//! Names that a user may have meant.

/// Similarity from which a name is taken for a slip of the keyboard.
const ALIKE: f64 = 0.75;

/// Jaro-Winkler for long names; for short ones, where that sees no swapped letters, half the share of edits.
fn similarity(name: &str, known: &str) -> f64 {
    let edits = strsim::damerau_levenshtein(name, known) as f64;
    let longer = name.chars().count().max(known.chars().count()).max(1) as f64;
    strsim::jaro_winkler(name, known).max(1.0 - edits / (2.0 * longer))
}

/// The known name most like `name`, where one is like enough.
pub fn closest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (similarity(&name, k), k))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|c| c.0 >= ALIKE)
        .map(|c| c.1)
}

/// ``unknown WHAT `NAME`: did you mean `THIS`? known: ...``
pub fn unknown<'k>(what: &str, name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    let meant = closest(name, known.clone()).map_or(String::new(), |k| format!("did you mean `{k}`? "));
    let all: Vec<&str> = known.into_iter().collect();
    format!("unknown {what} `{name}`: {meant}known: {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_named_and_strangers_are_not() {
        let known = ["gpt", "gpt+geglu", "llama"];
        assert_eq!(closest("gtp", known), Some("gpt"));
        assert_eq!(closest("LLAMA", known), Some("llama"));
        assert_eq!(closest("xyzzy", known), None);
        assert_eq!(
            unknown("preset", "lama", known),
            "unknown preset `lama`: did you mean `llama`? known: gpt, gpt+geglu, llama"
        );
    }
}
