//! A command line that cannot be parsed, in one sentence: what is wrong and the mend, as every other error is told.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::examples::verbs;
use crate::hint::unknown;

/// What is wrong, in a sentence; `help` is the command that lists what there is.
pub fn sentence(e: &clap::Error, help: &str) -> String {
    let all = |kind| texts(e, kind);
    let first = |kind| all(kind).into_iter().next();
    let argument = first(ContextKind::InvalidArg).unwrap_or_default();
    let flag = argument.split_whitespace().next().unwrap_or_default().to_owned();
    let value = first(ContextKind::InvalidValue).unwrap_or_default();
    match e.kind() {
        ErrorKind::InvalidValue if value.is_empty() => format!("{flag} wants a value: {argument}"),
        ErrorKind::InvalidValue => {
            let known = all(ContextKind::ValidValue);
            unknown(&format!("value of {flag}"), &value, known.iter().map(String::as_str))
        }
        ErrorKind::ValueValidation => format!("{flag}: {}", no_value(&value, &source(e))),
        ErrorKind::UnknownArgument if !flag.starts_with('-') => {
            format!("`{argument}` is one argument too many: {help} says what there is")
        }
        ErrorKind::UnknownArgument => {
            let meant = first(ContextKind::SuggestedArg);
            let meant = meant.map_or(String::new(), |m| format!("did you mean `{}`? ", first_word(&m)));
            format!("unknown flag `{flag}`: {meant}{help} lists them")
        }
        ErrorKind::InvalidSubcommand => {
            let name = first(ContextKind::InvalidSubcommand).unwrap_or_default();
            unknown("verb", &name, verbs())
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => format!(
            "a verb is missing: one of {}; {help} says what each does",
            verbs().collect::<Vec<_>>().join(", ")
        ),
        ErrorKind::MissingRequiredArgument => {
            format!("missing: {}; {help} shows examples", all(ContextKind::InvalidArg).join(", "))
        }
        ErrorKind::ArgumentConflict => {
            let others: Vec<String> = all(ContextKind::PriorArg).iter().map(|a| first_word(a)).collect();
            match others.contains(&flag) || others.is_empty() {
                true => format!("{flag} is given twice: leave one out"),
                false => format!("{flag} cannot go with {}: leave one out", others.join(", ")),
            }
        }
        ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{flag} wants another number of values: {argument}")
        }
        _ => format!("{}; {help} shows examples", first_line(e)),
    }
}

/// The verb that a command line names, for its help.
pub fn help_of(args: impl IntoIterator<Item = std::ffi::OsString>) -> String {
    let named = args.into_iter().filter_map(|a| a.into_string().ok()).find(|a| verbs().any(|v| v == a));
    named.map_or("growthpath --help".into(), |verb| format!("growthpath {verb} --help"))
}

fn texts(e: &clap::Error, kind: ContextKind) -> Vec<String> {
    match e.get(kind) {
        Some(ContextValue::String(s)) => vec![s.clone()],
        Some(ContextValue::Strings(s)) => s.clone(),
        Some(ContextValue::StyledStr(s)) => vec![s.to_string()],
        Some(ContextValue::StyledStrs(s)) => s.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

fn source(e: &clap::Error) -> String {
    std::error::Error::source(e).map_or_else(|| first_line(e), ToString::to_string)
}

fn first_line(e: &clap::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Why a value is none, where only a number is taken; the parser's own words otherwise.
fn no_value(value: &str, why: &str) -> String {
    let number = value.parse::<f64>().ok();
    if why.contains("float literal") || why.contains("empty string") {
        return format!("`{value}` is not a number");
    }
    if !["invalid digit", "is not in", "too large", "too small"].iter().any(|w| why.contains(w)) {
        return why.to_owned();
    }
    match number {
        Some(v) if v < 0.0 => format!("must be 0 or more, got {value}"),
        Some(v) if v.fract() != 0.0 => format!("must be a whole number, got {value}"),
        Some(v) if v.is_finite() && value.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{value} is too large")
        }
        _ => format!("`{value}` is not a whole number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let e = super::super::command().try_get_matches_from(line.split(' ')).unwrap_err();
        sentence(&e, "growthpath x --help")
    }

    #[test]
    fn every_kind_of_mistake_is_one_sentence() {
        for (line, says) in [
            ("growthpath trian", "unknown verb `trian`: did you mean `train`? known: demo, train"),
            ("growthpath train --out x --prest gpt", "unknown flag `--prest`: did you mean `--preset`? "),
            ("growthpath train --out x --steps -5", "--steps: must be 0 or more, got -5"),
            ("growthpath demo --steps -5", "--steps: must be 0 or more, got -5"),
            ("growthpath demo --steps 1.5", "--steps: must be a whole number, got 1.5"),
            ("growthpath demo --steps 99999999999", "--steps: 99999999999 is too large"),
            ("growthpath demo --steps few", "--steps: `few` is not a whole number"),
            ("growthpath train --out x --lr fast", "--lr: `fast` is not a number"),
            ("growthpath train --out x --batch -1", "--batch: must be 0 or more, got -1"),
            ("growthpath demo --threads -1", "--threads: must be 0 or more, got -1"),
            ("growthpath train --out x --lr", "--lr wants a value"),
            ("growthpath train", "missing: --out <RUN>; "),
            ("growthpath plot a --width poster", "unknown value of --width `poster`: known: column, page"),
            ("growthpath plot a --width page --width page", "--width is given twice"),
            ("growthpath demo --language --data x", "cannot go with --"),
            ("growthpath analyze a b", "`b` is one argument too many"),
            ("growthpath analyze a --window 9", "--window: `9` is not a range of steps such as 100..300"),
        ] {
            let got = told(line);
            assert!(got.contains(says), "{line}: {got}");
            assert!(!got.contains('\n'), "{line}: {got}");
        }
    }
}
