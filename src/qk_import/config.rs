//! `config.json` of a foreign checkpoint: lenient in notation, strict in meaning.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::input;

/// Sections in which multimodal checkpoints keep their language model's configuration.
const NESTED: [&str; 4] = ["text_config", "llm_config", "language_config", "text_model_config"];

/// A language model's configuration.
#[derive(Debug)]
pub(super) struct Config {
    path: PathBuf,
    json: Value,
    /// `model_type` of the language model.
    pub(super) model_type: String,
    /// `model_type` of the whole checkpoint, where that is another.
    pub(super) outer_type: Option<String>,
    quantization: Option<Value>,
}

impl Config {
    /// Read `config.json` of a checkpoint folder.
    ///
    /// # Errors
    /// A file that cannot be read, is not a JSON object, or names no `model_type`.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = input::read_text(&path, input::SMALL_FILE)?;
        let whole = parse(&text).map_err(|e| Error::format(&path, format!("not JSON: {e}")))?;
        if !whole.is_object() {
            return Err(Error::format(&path, "not a JSON object: not a model's configuration"));
        }
        let kind = |v: &Value| v.get("model_type").and_then(Value::as_str).map(str::to_string);
        let quantization = whole.get("quantization_config").filter(|v| !v.is_null()).cloned();
        let nested = NESTED.iter().find_map(|k| whole.get(k).filter(|v| v.is_object()).cloned());
        let outer = kind(&whole);
        let (json, outer_type) = match nested {
            Some(text) => (text, outer.clone()),
            None => (whole, None),
        };
        let Some(model_type) = kind(&json).or(outer) else {
            return Err(Error::format(
                &path,
                "names no `model_type`, so the architecture is unknown; add it (for nanoGPT weights: \"gpt2\")",
            ));
        };
        let quantization =
            quantization.or_else(|| json.get("quantization_config").filter(|v| !v.is_null()).cloned());
        let outer_type = outer_type.filter(|o| *o != model_type);
        Ok(Self { path, json, model_type, outer_type, quantization })
    }

    /// An error about this file.
    pub(super) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::format(&self.path, message)
    }

    /// The first of `keys` that is there and not null; a key may be a path with dots.
    pub(super) fn value(&self, keys: &[&str]) -> Option<&Value> {
        let at = |k: &&str| k.split('.').try_fold(&self.json, |v, part| v.get(part));
        keys.iter().filter_map(at).find(|v| !v.is_null())
    }

    /// A count of at least 1.
    ///
    /// # Errors
    /// When the key holds anything else.
    pub(super) fn count(&self, keys: &[&str]) -> Result<Option<usize>> {
        let Some(v) = self.value(keys) else { return Ok(None) };
        let n = v.as_u64().filter(|n| (1..=1 << 24).contains(n)).and_then(|n| usize::try_from(n).ok());
        n.map(Some).ok_or_else(|| self.wrong(format!("`{}` is {v}, not a count", keys[0])))
    }

    /// A count that must be there.
    ///
    /// # Errors
    /// When none of the keys holds one.
    pub(super) fn need(&self, keys: &[&str]) -> Result<usize> {
        self.count(keys)?.ok_or_else(|| self.wrong(format!("lacks `{}`", keys[0])))
    }

    /// A finite number.
    ///
    /// # Errors
    /// When the key holds anything else.
    pub(super) fn number(&self, keys: &[&str]) -> Result<Option<f64>> {
        let Some(v) = self.value(keys) else { return Ok(None) };
        let n = v.as_f64().filter(|n| n.is_finite());
        n.map(Some).ok_or_else(|| self.wrong(format!("`{}` is {v}, not a number", keys[0])))
    }

    /// A switch, and what it is when absent.
    ///
    /// # Errors
    /// When the key holds no boolean.
    pub(super) fn flag(&self, keys: &[&str], absent: bool) -> Result<bool> {
        match self.value(keys) {
            None => Ok(absent),
            Some(v) => {
                v.as_bool().ok_or_else(|| self.wrong(format!("`{}` is {v}, not true or false", keys[0])))
            }
        }
    }

    /// A string.
    pub(super) fn text(&self, keys: &[&str]) -> Option<&str> {
        self.value(keys).and_then(Value::as_str)
    }

    /// `layer_types[layer]`, where the configuration lists them.
    pub(super) fn layer_type(&self, layer: usize) -> Option<&str> {
        self.value(&["layer_types", "layers_block_type"])?.get(layer)?.as_str()
    }

    /// `quantization_config`, of the model or of the whole checkpoint.
    pub(super) fn quantization(&self) -> Option<&Value> {
        self.quantization.as_ref()
    }
}

/// JSON as Python writes it: `NaN` and `Infinity` become null; a byte-order mark is skipped.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).or_else(|e| match without_python_numbers(text) {
        Some(mended) => serde_json::from_str(&mended),
        None => Err(e),
    })
}

/// The text with bare `NaN`, `Infinity`, `-Infinity` outside strings replaced by null; none without any.
fn without_python_numbers(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped, mut found) = (false, false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|w| !inside && rest.starts_with(w));
        if let Some(word) = word {
            out.push_str("null");
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        if inside && !escaped && c == '\\' {
            escaped = true;
        } else {
            if c == '"' && !escaped {
                inside = !inside;
            }
            escaped = false;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_numbers_become_null_outside_strings_only() {
        let v =
            parse("\u{feff}{\"a\": [0.0, Infinity, -Infinity], \"b\\\"NaN\": NaN, \"c\": \"NaN\"}").unwrap();
        assert!(v["a"][1].is_null() && v["a"][2].is_null() && v["b\"NaN"].is_null());
        assert_eq!(v["c"], "NaN");
        assert!(parse("{\"a\": Infinit}").is_err());
    }
}
