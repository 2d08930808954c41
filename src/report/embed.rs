//! Figures inside the page: vectors at two widths, with the numbers that the pointer is told.

use growthpath_figures::Width;

use super::picture::Picture;
use crate::error::Result;

/// A figure at both widths, with the numbers behind it.
pub fn shown(p: &Picture) -> Result<String> {
    let mut out = String::from("<figure>");
    for (class, width) in [("wide", Width::Page), ("narrow", Width::Column)] {
        let svg = p.drawing.to_svg(width)?;
        // A title element would be the tooltip of the whole picture.
        let start = svg.find("<title>").zip(svg.find("</title>\n"));
        let svg = start.map_or(svg.clone(), |(a, b)| svg[..a].to_owned() + &svg[b + 9..]);
        // Nothing in JSON strings ends a script element once "<" is escaped.
        let data = p.drawing.hover(width)?.to_string().replace('<', "\\u003c");
        out += &format!(
            "<div class=\"plot {class}\" role=\"img\" aria-label=\"{}\">{svg}<script type=\"application/json\">{data}</script></div>",
            attribute(&p.drawing.title)
        );
    }
    Ok(out + &format!("<figcaption>{}</figcaption></figure>", attribute(p.about)))
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
