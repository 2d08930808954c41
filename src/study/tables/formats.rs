//! Table files: Markdown, LaTeX with booktabs, CSV.

use super::table::Table;

/// A pipe table with its notes below.
pub fn markdown(t: &Table) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| escape_markdown(c)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let align: Vec<&str> = (0..t.head.len()).map(|i| if i == 0 { "---" } else { "---:" }).collect();
    let mut text = row(&t.head) + &format!("| {} |\n", align.join(" | "));
    text.extend(t.rows.iter().map(|r| row(r)));
    for note in &t.notes {
        text += &format!("\n{}\n", escape_markdown(note));
    }
    text
}

/// Text that Markdown shows as it is.
pub fn escape_markdown(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "\\<").replace('_', "\\_").replace('*', "\\*")
}

/// A `table` environment; needs `\usepackage{booktabs}`.
pub fn latex(t: &Table) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| escape_latex(c)).collect();
        format!("{} \\\\\n", cells.join(" & "))
    };
    let columns = format!("l{}", "r".repeat(t.head.len().saturating_sub(1)));
    let mut text = String::from("% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n\\small\n");
    let notes: Vec<String> = t.notes.iter().map(|n| escape_latex(n)).collect();
    text +=
        &format!("\\caption{{{}. {}}}\n\\label{{tab:{}}}\n", escape_latex(&t.title), notes.join(" "), t.name);
    text += &format!("\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n", row(&t.head));
    text.extend(t.rows.iter().map(|r| row(r)));
    text + "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
}

/// Text with LaTeX's special characters escaped and minus signs set as such.
fn escape_latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next_is_digit = chars.peek().is_some_and(char::is_ascii_digit);
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' => out += "$<$",
            '>' => out += "$>$",
            // A sign, not a hyphen within a name.
            '-' if next_is_digit && !before.is_alphanumeric() => out += "$-$",
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// Comma-separated values with one header line, quoted where needed (RFC 4180).
pub fn csv(head: &[String], rows: &[Vec<String>]) -> String {
    let field = |c: &String| match c.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", c.replace('"', "\"\"")),
        false => c.clone(),
    };
    let line = |cells: &[String]| cells.iter().map(field).collect::<Vec<_>>().join(",") + "\n";
    let mut text = line(head);
    text.extend(rows.iter().map(|r| line(r)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_survive() {
        let mut t = Table::new("x", "Share of a_b, 95 %", &["arm", "v"]);
        t.rows.push(vec!["gpt+a|b".into(), "-0.5 [-1, 2]".into()]);
        t.notes.push("p < 0.05".into());
        let md = markdown(&t);
        assert!(md.contains("gpt+a\\|b") && md.contains("p \\< 0.05"), "{md}");
        let tex = latex(&t);
        for part in ["a\\_b, 95 \\%", "$-$0.5 [$-$1, 2]", "\\toprule", "\\label{tab:x}", "p $<$ 0.05"] {
            assert!(tex.contains(part), "{part}: {tex}");
        }
        let got = csv(&t.head, &[vec!["a\"b".into(), "1,2".into()]]);
        assert_eq!(got, "arm,v\n\"a\"\"b\",\"1,2\"\n");
        // A hyphen in a name stays one.
        assert!(latex(&Table { title: "slow-4".into(), ..t }).contains("slow-4"));
    }
}
