//! Values of flags that several verbs take.

use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};

/// A flag's value by name: (name, what help says of it, value), so that a type of another crate needs no twin here.
pub fn choice<T, const N: usize>(
    options: [(&'static str, &'static str, T); N],
) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let names = options.each_ref().map(|(name, about, _)| PossibleValue::new(*name).help(*about));
    let find = move |given: String| {
        // The parser has refused every other name.
        let found = options.iter().find(|(name, ..)| *name == given);
        found.map(|(.., value)| value.clone()).ok_or("unknown")
    };
    PossibleValuesParser::new(names).try_map(find)
}

/// Where something is to be written. `-` is a habit of other programs, and would become a file of that name.
pub fn place() -> impl TypedValueParser<Value = PathBuf> {
    let named = |path: PathBuf| match path == Path::new("-") {
        true => Err(
            "`-` is no place: name a file or a folder (./- for one of that name, /dev/stdout for standard output)",
        ),
        false => Ok(path),
    };
    PathBufValueParser::new().try_map(named)
}

/// Two run numbers, `A:B`.
pub fn pair(text: &str) -> std::result::Result<(usize, usize), String> {
    let numbers = text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match numbers {
        Some((a, b)) if a != b => Ok((a, b)),
        _ => Err(format!("`{text}` is not two different run numbers such as 1:2")),
    }
}

/// Steps `A..B`, `A..` or `..B`.
pub fn window(text: &str) -> std::result::Result<std::ops::Range<u32>, String> {
    let parse = |s: &str, empty: u32| if s.is_empty() { Ok(empty) } else { s.parse().map_err(|_| ()) };
    let wrong = || format!("`{text}` is not a range of steps such as 100..300");
    let (a, b) = text.split_once("..").ok_or_else(wrong)?;
    let (a, b) = (parse(a, 0).map_err(|()| wrong())?, parse(b, u32::MAX).map_err(|()| wrong())?);
    if a < b { Ok(a..b) } else { Err(format!("`{text}` is empty: the first step must be below the second")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_parse() {
        assert_eq!(window("3..9"), Ok(3..9));
        assert_eq!(window("..9"), Ok(0..9));
        assert_eq!(window("3.."), Ok(3..u32::MAX));
        for bad in ["", "3", "9..3", "a..b", "3..3", "-1..4"] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
