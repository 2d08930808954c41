//! In hindsight: when the lower half's key moments came to resemble their final ones.

use serde::Serialize;

use super::bracket::Bracket;
use super::record::Record;

/// From when on the lower half's mean cosine to its final key moment is above the maturity threshold, known after the
/// run at the steps that were kept. It dates the end of all turning, maturity that of fast turning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settling {
    /// The cosine that counts: the maturity threshold.
    pub threshold: f64,
    /// First kept step from which the cosine is above it at every kept one; the last step of training where none is.
    pub step: u32,
    /// The kept steps between which that happened.
    #[serde(flatten)]
    pub bracket: Bracket,
    /// The finding in plain words.
    pub sentence: String,
}

/// The settling of a record; none where the run kept no final cosines.
pub(super) fn settling(record: &Record, threshold: f64) -> Option<Settling> {
    let curve = &record.final_cosine;
    let below = curve.lower.iter().rposition(|v| v.is_nan() || *v <= threshold);
    let first = below.map_or(0, |i| i + 1);
    let (&earliest, _) = curve.steps.split_first()?;
    let step = curve.steps.get(first).copied().unwrap_or(record.total);
    let low = below.map_or(0, |i| curve.steps[i]);
    let bracket = Bracket { low, high: step };
    let sentence = match below {
        None => format!(
            "in hindsight the lower half's key moments resemble their final ones (cosine above {threshold}) at every kept step from {earliest} on, the first"
        ),
        Some(_) if first == curve.steps.len() => format!(
            "in hindsight the lower half's key moments do not yet resemble their final ones (cosine above {threshold}) at step {low}, the last that was kept"
        ),
        Some(_) => format!(
            "in hindsight the lower half's key moments resemble their final ones (cosine above {threshold}) at every kept step from {step} on, not yet at step {low}"
        ),
    };
    Some(Settling { threshold, step, bracket, sentence })
}
