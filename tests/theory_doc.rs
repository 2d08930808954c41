//! docs/theory.md and the code name the same equations, files and columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use growthpath_trace::Table;

/// Source trees whose comments and messages cite equations.
const SOURCES: [&str; 6] =
    ["analysis/src", "trace/src", "statistics/src", "kernels/src", "figures/src", "src"];

/// Trees of tests and examples, which cite them too.
const TESTS: [&str; 6] =
    ["tests", "analysis/tests", "analysis/examples", "kernels/tests", "kernels/emu/tests", "figures/tests"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn theory() -> String {
    fs::read_to_string(root().join("docs/theory.md")).unwrap()
}

/// Comments and string literals of a Rust file: what a reader is told, without the code. Spans are separated by
/// newlines.
fn prose(source: &str) -> String {
    let (mut out, mut rest) = (String::new(), source);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("//") {
            let end = after.find('\n').unwrap_or(after.len());
            out.push_str(&after[..end]);
            out.push('\n');
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("r#\"") {
            let end = after.find("\"#").unwrap_or(after.len());
            out.push_str(&after[..end]);
            out.push('\n');
            rest = after[end..].strip_prefix("\"#").unwrap_or("");
        } else if let Some(after) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = after.find(|c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            let end = end.unwrap_or(after.len());
            out.push_str(&after[..end]);
            out.push('\n');
            rest = after[end..].strip_prefix('"').unwrap_or("");
        } else if let Some(after) = ["'\"'", "'\\\"'"].iter().find_map(|quote| rest.strip_prefix(quote)) {
            rest = after;
        } else {
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str();
        }
    }
    out
}

/// Equation numbers such as (3.2) in a text, not preceded by a name (a call like `f(2.4)`).
fn equations(text: &str) -> BTreeSet<String> {
    let bytes = text.as_bytes();
    let number = |w: &[u8]| {
        w[0] == b'('
            && (b'2'..=b'8').contains(&w[1])
            && w[2] == b'.'
            && (b'1'..=b'9').contains(&w[3])
            && w[4] == b')'
    };
    let called =
        |at: usize| at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || b"_)]".contains(&bytes[at - 1]));
    let found = bytes.windows(5).enumerate().filter(|(at, w)| number(w) && !called(*at));
    found.map(|(at, _)| text[at + 1..at + 4].to_owned()).collect()
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Every file of some trees: its path in the repository and its prose.
fn files_of(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| rust_files(&root().join(folder), &mut files));
    let name = |p: &Path| p.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|p| (name(p), prose(&fs::read_to_string(p).unwrap()))).collect()
}

/// The part of the document under each `### (N.M)` heading.
fn blocks(doc: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in doc.lines() {
        if line.starts_with('#') {
            current = line.strip_prefix("### (").and_then(|l| l.split_once(')')).map(|(n, _)| n.to_owned());
            if let Some(n) = &current {
                assert!(out.insert(n.clone(), String::new()).is_none(), "({n}) is defined twice");
            }
        } else if let Some(text) = current.as_ref().and_then(|n| out.get_mut(n)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    out
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The paragraph that begins with `label`, without it, up to the next label or blank line.
fn paragraph(block: &str, label: &str) -> Option<String> {
    let labels = ["Code:", "Columns:"];
    let mut lines = block.lines().skip_while(|l| !l.starts_with(label));
    let first = lines.next()?.strip_prefix(label)?.to_owned();
    let rest = lines.take_while(|l| !l.is_empty() && !labels.iter().any(|m| l.starts_with(m)));
    Some(rest.fold(first, |text, line| text + "\n" + line))
}

#[test]
fn scanning_tells_prose_from_code() {
    let source =
        "let x = f(2.4); // by (2.4)\nlet s = \"see (3.1)\\\" (3.2)\"; let q = '\"'; g(5.1); /// (6.3)\n";
    let all: Vec<String> = equations(&prose(source)).into_iter().collect();
    assert_eq!(all, ["2.4", "3.1", "3.2", "6.3"]);
    assert!(equations("erfc(2.5) (1.2) (9.1) (2.0) (2.55) x[0](3.1)").is_empty());
    assert_eq!(equations("(3.1)-(3.3)").len(), 2);
}

#[test]
fn every_equation_is_cited_by_the_code_that_computes_it() {
    let (doc, sources) = (theory(), files_of(&SOURCES));
    let blocks = blocks(&doc);
    // Sections 2 to 6 have 5, 3, 3, 4 and 4 statements.
    assert_eq!(blocks.len(), 19, "{:?}", blocks.keys());
    for (number, block) in &blocks {
        let code = paragraph(block, "Code:").unwrap_or_else(|| panic!("({number}) has no Code: line"));
        let files: Vec<&str> = in_backticks(&code).filter(|p| p.ends_with(".rs")).collect();
        let cites = |path: &&str| {
            let text =
                fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("({number}), {path}: {e}"));
            equations(&prose(&text)).contains(number)
        };
        let citing = files.iter().filter(|p| cites(p)).count();
        assert!(citing > 0, "({number}): none of {files:?} cites it");
        // A statement that only a test computes has no source to be cited in.
        if files.iter().any(|p| !p.starts_with("tests/")) {
            assert!(
                sources.iter().any(|(_, text)| equations(text).contains(number)),
                "({number}) is not cited"
            );
        }
    }
}

#[test]
fn every_equation_and_section_that_the_code_cites_is_defined() {
    let doc = theory();
    let defined = blocks(&doc);
    let mut cited = 0;
    for (path, text) in files_of(&SOURCES).into_iter().chain(files_of(&TESTS)) {
        for number in equations(&text) {
            assert!(
                defined.contains_key(&number),
                "{path} cites ({number}), which docs/theory.md does not define"
            );
            cited += 1;
        }
        for (at, _) in text.match_indices("section ") {
            let digits: String = text[at + 8..].chars().take_while(char::is_ascii_digit).collect();
            let heading = format!("\n## {digits}. ");
            assert!(digits.is_empty() || doc.contains(&heading), "{path} cites section {digits}");
        }
    }
    assert!(cited > 50, "only {cited} citations found: the scan is broken");
    // Within the document itself.
    let own = equations(&doc);
    assert!(own.iter().all(|n| defined.contains_key(n)), "{own:?}");
}

#[test]
fn every_path_column_and_link_in_the_document_exists() {
    let doc = theory();
    let (mut paths, mut columns) = (0, 0);
    // Fenced formulas hold no names of ours, and their backticks come in threes.
    let text: String = doc.split("```").step_by(2).collect();
    for token in in_backticks(&text) {
        if token.contains('/') && token.ends_with(".rs") {
            assert!(root().join(token).is_file(), "{token} does not exist");
            paths += 1;
        } else if let Some((table, column)) = token.split_once('.')
            && let Some(table) = Table::ALL.iter().find(|t| t.name() == table)
        {
            let known = table.columns().iter().any(|c| c.name == column);
            assert!(known, "table {} has no column `{column}`", table.name());
            columns += 1;
        }
    }
    assert!(paths > 30 && columns > 60, "only {paths} paths and {columns} columns found: the scan is broken");

    let slug = |heading: &str| -> String {
        let kept = heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -".contains(*c))
            .collect::<String>();
        kept.replace(' ', "-")
    };
    let slugs: Vec<String> =
        text.lines().filter(|l| l.starts_with('#')).map(|l| slug(l.trim_start_matches('#').trim())).collect();
    for target in text.split("](").skip(1).filter_map(|t| t.split_once(')')).map(|(t, _)| t) {
        let anchor = target.strip_prefix('#').unwrap_or_else(|| panic!("link out of the document: {target}"));
        assert!(slugs.iter().any(|s| s == anchor), "no heading for #{anchor} among {slugs:?}");
    }
}

#[test]
fn columns_that_cite_an_equation_are_listed_under_it() {
    let blocks = blocks(&theory());
    for (number, block) in &blocks {
        let listed =
            paragraph(block, "Columns:").unwrap_or_else(|| panic!("({number}) has no Columns: line"));
        let names: Vec<&str> = in_backticks(&listed).collect();
        assert!(!names.is_empty() || listed.trim() == "none", "({number}): `Columns:{listed}`");
    }
    let mut seen = 0;
    for table in Table::ALL {
        for column in table.columns() {
            let name = format!("{}.{}", table.name(), column.name);
            for number in equations(column.doc) {
                let block = blocks.get(&number).unwrap_or_else(|| panic!("{name} cites ({number})"));
                let listed = paragraph(block, "Columns:").unwrap_or_default();
                assert!(in_backticks(&listed).any(|n| n == name), "({number}) does not list {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} columns cite an equation: the scan is broken");
}
