//! Groups in the document by arm. The SVG writer knows no groups: their begin and end are drawn as texts that no font
//! has, and replaced when the document is done.

use crate::colour::Colour;
use crate::model::Dash;

/// First character of a text that is the begin or the end of a group: private use, in no font.
const SIGN: &str = "\u{E000}";
/// The end of a group.
pub const CLOSE: &str = SIGN;

/// The begin of a group: an arm's colour, and its dash where the mark has one.
pub fn opening(colour: Colour, dash: Option<Dash>) -> String {
    let dash = dash.map_or(String::new(), |d| format!("{d:?}"));
    format!("{SIGN}#{:02X}{:02X}{:02X} {dash}", colour.r, colour.g, colour.b)
}

/// The document with groups in place of their signs: `<g data-colour="#RRGGBB" data-dash="Dashed">`.
pub fn ungroup(svg: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut lines = svg.lines().peekable();
    while let Some(line) = lines.next() {
        match lines.peek().and_then(|next| next.strip_prefix(SIGN)) {
            Some("") => out.push_str("</g>"),
            Some(of) => {
                let (colour, dash) = of.split_once(' ').unwrap_or((of, ""));
                let dash = if dash.is_empty() { String::new() } else { format!(" data-dash=\"{dash}\"") };
                out.push_str(&format!("<g data-colour=\"{colour}\"{dash}>"));
            }
            None => {
                out.push_str(line);
                out.push('\n');
                continue;
            }
        }
        out.push('\n');
        // The sign itself and the end of its text element.
        lines.next();
        lines.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_become_groups_and_texts_stay() {
        let sign = |text: &str| format!("<text x=\"0\">\n{text}\n</text>\n");
        let open = opening(Colour::hex(0x0B4F8A), Some(Dash::Dashed));
        let svg = format!("{}<line/>\n{}{}", sign(&open), sign(CLOSE), sign("layer"));
        assert_eq!(
            ungroup(&svg),
            "<g data-colour=\"#0B4F8A\" data-dash=\"Dashed\">\n<line/>\n</g>\n<text x=\"0\">\nlayer\n</text>\n"
        );
        assert!(ungroup(&sign(&opening(Colour::hex(0), None))).starts_with("<g data-colour=\"#000000\">"));
    }
}
