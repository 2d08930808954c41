//! Token ids of a tokenizer file, looked at before the library does: it sets memory aside for the largest.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Ids are below this; published vocabularies end near 260,000.
pub(super) const MOST_IDS: u64 = 1 << 22;

/// Refuses a file with an id too large to be one.
pub(super) fn check(json: &str) -> Result<(), String> {
    // What is no such object the library refuses with better words.
    let Ok(file) = serde_json::from_str::<File>(json) else { return Ok(()) };
    match file.added_tokens.0.max(file.model.vocab.0) {
        largest if largest < MOST_IDS => Ok(()),
        largest => Err(format!("it has a token of id {largest}; ids must be below {MOST_IDS}")),
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Largest,
    #[serde(default)]
    model: Model,
}

#[derive(Default, Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Largest,
}

/// The largest id in a vocabulary (an object of ids) or in a list of tokens (objects with an `id`).
#[derive(Default)]
struct Largest(u64);

impl<'de> Deserialize<'de> for Largest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Ids).map(Self)
    }
}

struct Ids;

/// A value where an id may stand.
struct Id(u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Id(u64),
            Token { id: u64 },
            Other(IgnoredAny),
        }
        Ok(Self(match Any::deserialize(d)? {
            Any::Id(id) | Any::Token { id } => id,
            Any::Other(_) => 0,
        }))
    }
}

impl<'de> Visitor<'de> for Ids {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("token ids")
    }
    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut largest = 0;
        while let Some((_, Id(id))) = map.next_entry::<IgnoredAny, Id>()? {
            largest = largest.max(id);
        }
        Ok(largest)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
        let mut largest = 0;
        while let Some(Id(id)) = seq.next_element::<Id>()? {
            largest = largest.max(id);
        }
        Ok(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_ids_are_refused_wherever_they_stand() {
        for good in [
            "{}",
            "[",
            r#"{"model": {"vocab": {"a": 0, "b": 4194303}}, "added_tokens": null}"#,
            r#"{"model": {"vocab": [["a", -1.5], ["b", -2.5]]}, "added_tokens": [{"id": 7, "content": "x"}]}"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            r#"{"model": {"vocab": {"a": 4294967295}}}"#,
            r#"{"model": {"vocab": {"a": 4194304}}}"#,
            r#"{"model": {"vocab": {}}, "added_tokens": [{"content": "x", "id": 4294967290, "special": true}]}"#,
        ] {
            assert!(check(bad).is_err_and(|e| e.contains("id 4")), "{bad}");
        }
    }
}
