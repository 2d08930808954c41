//! Tick layout along one axis.

use crate::model::Axis;
use crate::scale::Range;
use crate::style::TICK;
use crate::text;
use crate::ticks::{self, Ticks};

/// Ticks along one axis: places in CSS pixels (x rightwards, y downwards from the frame's top once shifted).
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    /// (place, label); a label is empty where it would touch its neighbour.
    pub major: Vec<(f64, String)>,
    pub minor: Vec<f64>,
}

impl Ruler {
    /// Width of the widest label.
    pub fn widest(&self) -> f64 {
        self.major.iter().map(|m| text::width(&m.1, TICK, text::Weight::Regular)).fold(0.0, f64::max)
    }

    /// Moves all places by `offset`.
    pub fn shift(&mut self, offset: f64) {
        self.major.iter_mut().for_each(|m| m.0 += offset);
        self.minor.iter_mut().for_each(|m| *m += offset);
    }
}

/// Ticks of a vertical axis of the given height, measured from the top.
pub(super) fn vertical(axis: &Axis, range: Range, height: f64, has_data: bool) -> Ruler {
    if !has_data {
        return Ruler { major: Vec::new(), minor: Vec::new() };
    }
    let place = |v: f64| range.position(v, axis.scale).map(|p| height * (1.0 - p));
    if let Some(names) = &axis.categories {
        return thinned(names, place, |_| TICK * 1.15, 0.0);
    }
    let t = ticks::ticks(range, axis.scale, ((height / 26.0) as usize).clamp(3, 9));
    let mut ruler = rule(&t, place);
    drop_touching(&mut ruler.major, |_| TICK * 1.2, 0.0);
    ruler
}

/// Ticks of a horizontal axis from `left`, as many as fit.
pub(super) fn horizontal(axis: &Axis, range: Range, left: f64, width: f64, has_data: bool) -> Ruler {
    if !has_data {
        return Ruler { major: Vec::new(), minor: Vec::new() };
    }
    let place = |v: f64| range.position(v, axis.scale).map(|p| left + p * width);
    let size = |label: &str| text::width(label, TICK, text::Weight::Regular);
    if let Some(names) = &axis.categories {
        return thinned(names, place, size, 5.0);
    }
    let most = ((width / 42.0) as usize).clamp(3, 10);
    for n in (2..=most).rev() {
        let ruler = rule(&ticks::ticks(range, axis.scale, n), place);
        if !touching(&ruler.major, size, 7.0) {
            return ruler;
        }
    }
    let mut ruler = rule(&ticks::ticks(range, axis.scale, most), place);
    drop_touching(&mut ruler.major, size, 7.0);
    ruler
}

fn rule(t: &Ticks, place: impl Fn(f64) -> Option<f64>) -> Ruler {
    Ruler {
        major: t.major.iter().zip(&t.labels).filter_map(|(v, l)| Some((place(*v)?, l.clone()))).collect(),
        minor: t.minor.iter().filter_map(|v| place(*v)).collect(),
    }
}

/// Every k-th name, with the smallest k that keeps them apart.
fn thinned(
    names: &[String],
    place: impl Fn(f64) -> Option<f64>,
    size: impl Fn(&str) -> f64 + Copy,
    gap: f64,
) -> Ruler {
    let mut every = 1;
    loop {
        let major: Vec<(f64, String)> = names
            .iter()
            .enumerate()
            .step_by(every)
            .filter_map(|(i, name)| Some((place(i as f64)?, name.clone())))
            .collect();
        if every >= names.len() || !touching(&major, size, gap) {
            return Ruler { major, minor: Vec::new() };
        }
        every += 1;
    }
}

fn touching(major: &[(f64, String)], size: impl Fn(&str) -> f64, gap: f64) -> bool {
    major.windows(2).any(|w| (w[1].0 - w[0].0).abs() < (size(&w[0].1) + size(&w[1].1)) / 2.0 + gap)
}

/// Empties the labels that touch the last kept one; the tick marks stay.
fn drop_touching(major: &mut [(f64, String)], size: impl Fn(&str) -> f64, gap: f64) {
    let mut last: Option<(f64, f64)> = None;
    for (place, label) in major {
        let half = size(label) / 2.0;
        match last {
            Some((p, h)) if (*place - p).abs() < h + half + gap => label.clear(),
            _ => last = Some((*place, half)),
        }
    }
}
