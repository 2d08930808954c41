//! How far logits have moved, from the rows that every step records.

use std::collections::VecDeque;

use growthpath_trace::HeadRow;
use serde::{Deserialize, Serialize};

/// Second differences that the noise is a median of.
const NOISE: usize = 9;

/// What one recorded step says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The step.
    pub step: u32,
    /// Mean over heads of the ln spread on the training batch, one entry a layer; none where no head's spread has a
    /// logarithm.
    pub ln_spread: Vec<Option<f64>>,
    /// Mean sharpness (1 - entropy) of the upper half on the training batch.
    pub sharpness: Option<f64>,
}

impl Seen {
    /// From one step's rows, in (layer, head) order.
    pub fn new(step: u32, rows: &[HeadRow], layers: usize) -> Self {
        let mean = |v: Vec<f64>| {
            let n = v.len();
            (n > 0).then(|| v.iter().sum::<f64>() / n as f64)
        };
        let of = |l: usize| rows.iter().filter(move |r| usize::from(r.layer) == l);
        let ln = |l| of(l).map(|r| f64::from(r.spread).ln()).filter(|v| v.is_finite()).collect();
        let upper = rows.iter().filter(|r| usize::from(r.layer) >= layers / 2);
        let sharp = upper.map(|r| 1.0 - f64::from(r.entropy)).filter(|v| v.is_finite()).collect();
        Self { step, ln_spread: (0..layers).map(|l| mean(ln(l))).collect(), sharpness: mean(sharp) }
    }
}

/// One layer's ln spread over the steps looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Level {
    /// The last three values, the newest last.
    recent: VecDeque<f64>,
    /// Absolute second differences over the root of 6: the deviation of one value where the levels move evenly.
    jumps: VecDeque<f64>,
    /// Value at the last probe.
    reference: Option<f64>,
}

impl Level {
    fn push(&mut self, value: f64) {
        self.recent.push_back(value);
        if self.recent.len() > 3 {
            self.recent.pop_front();
        }
        if let [a, b, c] = self.recent.make_contiguous() {
            self.jumps.push_back((*a - 2.0 * *b + *c).abs() / 6f64.sqrt());
        }
        if self.jumps.len() > NOISE {
            self.jumps.pop_front();
        }
    }

    /// Deviation of a value from batch to batch: a median, so that a few steps of true acceleration do not count.
    fn noise(&self) -> f64 {
        let mut v: Vec<f64> = self.jumps.iter().copied().collect();
        v.sort_by(f64::total_cmp);
        // The first few say nothing of batches: a start moves by itself.
        if v.len() > NOISE / 2 { v[v.len() / 2] } else { 0.0 }
    }
}

/// Movement of every layer since the last probe, and the upper half's sharpness.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    layers: Vec<Level>,
    sharpness: VecDeque<f64>,
}

impl Signal {
    /// Take note of the next recorded step.
    pub fn push(&mut self, seen: &Seen) {
        self.layers.resize(seen.ln_spread.len(), Level::default());
        for (level, value) in self.layers.iter_mut().zip(&seen.ln_spread) {
            if let Some(v) = value {
                level.push(*v);
                // A probe before anything was known: what comes first is where it stood.
                level.reference.get_or_insert(*v);
            }
        }
        if let Some(s) = seen.sharpness {
            self.sharpness.push_back(s);
            if self.sharpness.len() > 3 {
                self.sharpness.pop_front();
            }
        }
    }

    /// A probe is taken now.
    pub fn mark(&mut self) {
        for level in &mut self.layers {
            level.reference = level.recent.back().copied().or(level.reference);
        }
    }

    /// The largest movement of a layer since the last probe, beyond `sigmas` deviations of a batch.
    pub fn movement(&self, sigmas: f64) -> f64 {
        let moved = |l: &Level| match (l.recent.back(), l.reference) {
            (Some(now), Some(then)) => (now - then).abs() - sigmas * l.noise(),
            _ => 0.0,
        };
        self.layers.iter().map(moved).fold(0.0, f64::max)
    }

    /// Sharpness of the upper half: median of the last three steps looked at; none before the third.
    pub fn sharpness(&self) -> Option<f64> {
        let mut v: Vec<f64> = self.sharpness.iter().copied().collect();
        v.sort_by(f64::total_cmp);
        (v.len() == 3).then(|| v[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(step: u32, v: f64) -> Seen {
        Seen { step, ln_spread: vec![Some(0.0), Some(v)], sharpness: Some(v) }
    }

    #[test]
    fn a_slope_is_movement_and_a_flicker_is_noise() {
        let (mut slope, mut flicker) = (Signal::default(), Signal::default());
        for t in 0..20 {
            slope.push(&seen(t, 0.1 * f64::from(t)));
            flicker.push(&seen(t, if t % 2 == 0 { 0.15 } else { -0.15 }));
        }
        assert!((slope.movement(2.0) - 1.9).abs() < 1e-9, "{}", slope.movement(2.0));
        assert_eq!(flicker.movement(2.0), 0.0);
        slope.mark();
        assert_eq!(slope.movement(2.0), 0.0);
        assert!((slope.sharpness().unwrap() - 1.8).abs() < 1e-12);
    }

    #[test]
    fn heads_without_a_logarithm_are_left_out() {
        let row = |layer, spread| HeadRow { layer, spread, entropy: 0.75, ..HeadRow::default() };
        let s = Seen::new(7, &[row(0, 0.0), row(0, f32::NAN), row(1, 1.0), row(1, 0.0)], 2);
        assert_eq!(s, Seen { step: 7, ln_spread: vec![None, Some(0.0)], sharpness: Some(0.25) });
        let mut signal = Signal::default();
        signal.push(&s);
        assert_eq!(signal.movement(2.0), 0.0);
    }
}
