//! The schema version of a JSON file, whatever stands in its place, without keeping anything large.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::shown::shown_label;

/// A JSON object of which only the version is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Versioned {
    /// In words where it is no number; `none` where it is missing.
    #[serde(default)]
    pub schema_version: Version,
}

/// A version as it is to be shown.
#[derive(Debug, PartialEq)]
pub(crate) struct Version(pub String);

impl Default for Version {
    fn default() -> Self {
        Self("none".to_owned())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Any).map(Self)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a schema version")
    }
    fn visit_bool<E: Error>(self, v: bool) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<String, E> {
        Ok(format!("{v:?}"))
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<String, E> {
        Ok(format!("\"{}\"", shown_label(v)))
    }
    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok("a list".to_owned())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok("an object".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_version_is_read_and_shown() {
        for (json, shown) in [
            ("{}", "none"),
            ("{\"schema_version\": 2}", "2"),
            ("{\"schema_version\": -7}", "-7"),
            ("{\"schema_version\": \"x\\n\"}", "\"x\\n\""),
            ("{\"schema_version\": null}", "null"),
            ("{\"a\": [1], \"schema_version\": [[1], 2]}", "a list"),
            ("{\"schema_version\": {\"a\": 1}}", "an object"),
            ("{\"schema_version\": 2.0}", "2.0"),
        ] {
            assert_eq!(serde_json::from_str::<Versioned>(json).unwrap().schema_version.0, shown);
        }
        assert!(serde_json::from_str::<Versioned>("[").is_err());
    }
}
