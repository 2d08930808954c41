//! The bundled font (DejaVu Sans, licence in `licenses/`): registration, measuring, wrapping.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

use crate::error::FigureError;
use crate::style;

/// Line height of DejaVu Sans (ascent plus descent) in em. The rasteriser's size is this height, not the em.
pub(crate) const HEIGHT_EM: f64 = (1901.0 + 483.0) / 2048.0;

/// Registers the bundled font with plotters, once in a process.
///
/// # Errors
/// [`FigureError::Font`] if the bundled bytes are not a font.
pub(crate) fn register() -> Result<(), FigureError> {
    static DONE: OnceLock<Result<(), &'static str>> = OnceLock::new();
    DONE.get_or_init(|| {
        register_font(style::FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "DejaVu Sans")?;
        register_font(style::FONT, FontStyle::Bold, dejavu::sans::bold()).map_err(|_| "DejaVu Sans Bold")
    })
    .map_err(FigureError::Font)
}

/// How heavy letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Weight {
    Regular,
    Bold,
}

impl Weight {
    /// The plotter's word for it.
    pub(crate) fn style(self) -> FontStyle {
        match self {
            Self::Regular => FontStyle::Normal,
            Self::Bold => FontStyle::Bold,
        }
    }
}

/// Width of `text` in CSS pixels at font size `em`.
pub(crate) fn width(text: &str, em: f64, weight: Weight) -> f64 {
    // The rasteriser reports whole pixels: measure at 1000 pixels an em, then scale down.
    const MEASURE: f64 = 1000.0;
    static SEEN: OnceLock<Mutex<HashMap<(String, Weight), f64>>> = OnceLock::new();
    let seen = SEEN.get_or_init(Default::default);
    let key = (text.to_string(), weight);
    if let Some(w) = seen.lock().ok().and_then(|m| m.get(&key).copied()) {
        return w * em;
    }
    let font = FontDesc::new(FontFamily::Name(style::FONT), MEASURE * HEIGHT_EM, weight.style());
    // Without the font (not registered) half an em a character is a fair guess.
    let w = match font.layout_box(text) {
        Ok(((x0, _), (x1, _))) => f64::from(x1 - x0) / MEASURE,
        Err(_) => 0.55 * text.chars().count() as f64,
    };
    if let Ok(mut m) = seen.lock() {
        if m.len() > 20_000 {
            m.clear();
        }
        m.insert(key, w);
    }
    w * em
}

/// Breaks `text` at spaces into lines no wider than `limit`; a word that is too long by itself is cut with an ellipsis.
pub(crate) fn wrap(text: &str, em: f64, weight: Weight, limit: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
        if width(&longer, em, weight) <= limit {
            line = longer;
        } else {
            if !line.is_empty() {
                lines.push(line);
            }
            line = shorten(word, em, weight, limit);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `text`, or its beginning with an ellipsis if it is wider than `limit`.
pub(crate) fn shorten(text: &str, em: f64, weight: Weight, limit: f64) -> String {
    if width(text, em, weight) <= limit {
        return text.to_string();
    }
    let mut kept: String = text.to_string();
    while kept.pop().is_some() {
        let cut = format!("{}…", kept.trim_end());
        if width(&cut, em, weight) <= limit {
            return cut;
        }
    }
    "…".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_we_print_is_in_the_font() {
        register().unwrap();
        // The width of a glyph that the font lacks is that of its replacement box.
        let missing = width("\u{E0FF}", 1.0, Weight::Regular);
        for c in "ηΓλτμωρâĝêûγΔ×·−–…⁰¹²³⁴⁵⁶⁷⁸⁹⁻≤≥∞₀".chars() {
            let w = width(&c.to_string(), 1.0, Weight::Regular);
            assert!(w > 0.0 && w != missing, "{c}: {w} against {missing}");
        }
    }

    #[test]
    fn wrapped_lines_fit_and_keep_the_words() {
        register().unwrap();
        let text =
            "the upper half committed before the lower half had settled and anextremelylongwordthatcannotfit";
        let lines = wrap(text, 10.0, Weight::Regular, 120.0);
        assert!(lines.len() > 2);
        for l in &lines {
            assert!(width(l, 10.0, Weight::Regular) <= 120.0, "{l}");
        }
        assert!(
            lines.join(" ").starts_with("the upper half committed before the lower half had settled and")
        );
        assert_eq!(wrap("  ", 10.0, Weight::Regular, 100.0), Vec::<String>::new());
        assert!(width(&shorten(text, 10.0, Weight::Bold, 60.0), 10.0, Weight::Bold) <= 60.0);
    }

    #[test]
    fn width_scales_with_the_size() {
        register().unwrap();
        assert!(
            (width("attention", 20.0, Weight::Regular) - 2.0 * width("attention", 10.0, Weight::Regular))
                .abs()
                < 1e-9
        );
        assert!(width("attention", 10.0, Weight::Bold) > width("attention", 10.0, Weight::Regular));
    }
}
