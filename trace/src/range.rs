//! Windows of steps.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A window of steps: from `start`, up to but without `end`; no end means the end of the trace.
///
/// Made from any range: `(10..20).into()`, `(..).into()`, `(5..).into()`, `(..=7).into()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRange {
    /// First step in the window.
    pub start: u32,
    /// First step past the window.
    pub end: Option<u32>,
}

impl StepRange {
    /// Every step.
    pub const ALL: Self = Self { start: 0, end: None };

    /// Whether a step lies in the window.
    pub const fn contains(&self, step: u32) -> bool {
        step >= self.start
            && match self.end {
                Some(end) => step < end,
                None => true,
            }
    }

    /// Whether any step of `first..=last` lies in the window.
    pub(crate) const fn overlaps(&self, first: u32, last: u32) -> bool {
        last >= self.start
            && match self.end {
                Some(end) => first < end && self.start < end,
                None => true,
            }
    }
}

impl From<RangeFull> for StepRange {
    fn from(_: RangeFull) -> Self {
        Self::ALL
    }
}

impl From<Range<u32>> for StepRange {
    fn from(r: Range<u32>) -> Self {
        Self { start: r.start, end: Some(r.end) }
    }
}

impl From<RangeFrom<u32>> for StepRange {
    fn from(r: RangeFrom<u32>) -> Self {
        Self { start: r.start, end: None }
    }
}

impl From<RangeTo<u32>> for StepRange {
    fn from(r: RangeTo<u32>) -> Self {
        Self { start: 0, end: Some(r.end) }
    }
}

impl From<RangeInclusive<u32>> for StepRange {
    fn from(r: RangeInclusive<u32>) -> Self {
        // A last step of u32::MAX has no step past it: no end says the same.
        Self { start: *r.start(), end: r.end().checked_add(1) }
    }
}

impl From<RangeToInclusive<u32>> for StepRange {
    fn from(r: RangeToInclusive<u32>) -> Self {
        (0..=r.end).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_std_ranges_contain() {
        for s in 0..12 {
            assert_eq!(StepRange::from(3..7).contains(s), (3..7).contains(&s));
            assert_eq!(StepRange::from(3..=7).contains(s), (3..=7).contains(&s));
            assert_eq!(StepRange::from(..7).contains(s), s < 7);
            assert_eq!(StepRange::from(..=7).contains(s), s <= 7);
            assert_eq!(StepRange::from(7..).contains(s), s >= 7);
            assert!(StepRange::from(..).contains(s));
        }
        assert!(StepRange::from(0..=u32::MAX).contains(u32::MAX));
    }

    #[test]
    fn overlap_agrees_with_membership() {
        for start in 0..6_u32 {
            for end in [None, Some(0), Some(2), Some(3), Some(5), Some(6)] {
                let range = StepRange { start, end };
                for first in 0..6 {
                    for last in first..6 {
                        let any = (first..=last).any(|s| range.contains(s));
                        assert_eq!(range.overlaps(first, last), any, "{range:?} {first}..={last}");
                    }
                }
            }
        }
    }
}
