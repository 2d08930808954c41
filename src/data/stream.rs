//! A text as token ids.

use super::batch::Batch;
use super::error::{DataError, Result};

/// Token ids in the smallest integer that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStream {
    ids: Ids,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    /// Every id is below 65,536.
    Short(Vec<u16>),
    Long(Vec<u32>),
}

impl TokenStream {
    /// Stores `ids`, as 16 bits each if all fit.
    pub fn new(ids: Vec<u32>) -> Self {
        let short: std::result::Result<Vec<u16>, _> = ids.iter().map(|&id| u16::try_from(id)).collect();
        Self { ids: short.map_or(Ids::Long(ids), Ids::Short) }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        match &self.ids {
            Ids::Short(ids) => ids.len(),
            Ids::Long(ids) => ids.len(),
        }
    }

    /// Is there no token?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<u32> {
        match &self.ids {
            Ids::Short(ids) => ids.get(index).map(|&id| u32::from(id)),
            Ids::Long(ids) => ids.get(index).copied(),
        }
    }

    /// All ids in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// Appends ids `start..start + len` to `out`; fewer where the stream ends first.
    pub fn extend_into(&self, out: &mut Vec<u32>, start: usize, len: usize) {
        let end = start.saturating_add(len).min(self.len());
        let start = start.min(end);
        match &self.ids {
            Ids::Short(ids) => out.extend(ids[start..end].iter().map(|&id| u32::from(id))),
            Ids::Long(ids) => out.extend_from_slice(&ids[start..end]),
        }
    }

    /// Number of non-overlapping windows of `context` inputs whose targets exist too.
    pub fn windows(&self, context: usize) -> usize {
        self.len().saturating_sub(1).checked_div(context).unwrap_or(0)
    }

    /// The windows that begin at `starts`, `context` inputs each with the next tokens as targets.
    /// Every start must leave `context + 1` tokens.
    pub(super) fn batch_at(&self, starts: impl ExactSizeIterator<Item = usize>, context: usize) -> Batch {
        let rows = starts.len();
        let mut inputs = Vec::with_capacity(rows * context);
        let mut targets = Vec::with_capacity(rows * context);
        for start in starts {
            self.extend_into(&mut inputs, start, context);
            self.extend_into(&mut targets, start + 1, context);
        }
        Batch { inputs, targets, rows, context }
    }

    /// Up to `max` non-overlapping windows spread evenly over the stream, always the same ones: for
    /// evaluation. With fewer than `max` windows in the stream it gives all of them.
    ///
    /// # Errors
    /// [`DataError::Zero`] if `context` or `max` is 0, [`DataError::TooShort`] if no window fits.
    pub fn even_windows(&self, name: &str, max: usize, context: usize) -> Result<Batch> {
        if context == 0 {
            return Err(DataError::Zero { what: "the context length" });
        }
        if max == 0 {
            return Err(DataError::Zero { what: "the number of evaluation windows" });
        }
        let windows = self.windows(context);
        if windows == 0 {
            return Err(DataError::TooShort {
                name: name.to_string(),
                tokens: self.len(),
                need: context + 1,
                context,
                mend: "give more text or a smaller context",
            });
        }
        let count = max.min(windows);
        // i * windows / count is strictly increasing because windows >= count. u128: no overflow.
        let start = |i: usize| (i as u128 * windows as u128 / count as u128) as usize * context;
        Ok(self.batch_at((0..count).map(start), context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_widths_hold_the_same_ids(ids in prop::collection::vec(any::<u32>(), 0..40), small: bool) {
            let ids: Vec<u32> = if small { ids.iter().map(|i| i % 65_536).collect() } else { ids };
            let stream = TokenStream::new(ids.clone());
            prop_assert_eq!(stream.iter().collect::<Vec<_>>(), ids.clone());
            prop_assert_eq!(stream.len(), ids.len());
            prop_assert_eq!(stream.get(ids.len()), None);
        }

        #[test]
        fn even_windows_are_disjoint_spread_and_shifted_by_one(
            len in 2usize..400, context in 1usize..20, max in 1usize..30,
        ) {
            let stream = TokenStream::new((0..len as u32).collect());
            prop_assume!(len > context);
            let batch = stream.even_windows("text", max, context).unwrap();
            let all = (len - 1) / context;
            prop_assert_eq!(batch.rows, all.min(max));
            let starts: Vec<usize> = batch.inputs.chunks(context).map(|w| w[0] as usize).collect();
            for (i, window) in batch.inputs.chunks(context).enumerate() {
                prop_assert!(window.windows(2).all(|p| p[1] == p[0] + 1));
                let shifted: Vec<u32> = window.iter().map(|t| t + 1).collect();
                prop_assert_eq!(&batch.targets[i * context..(i + 1) * context], &shifted[..]);
            }
            // Gaps differ by at most one window: evenly spread, and none overlaps.
            let gaps: Vec<usize> = starts.windows(2).map(|p| p[1] - p[0]).collect();
            prop_assert!(gaps.iter().all(|&g| g >= context));
            if let (Some(lo), Some(hi)) = (gaps.iter().min(), gaps.iter().max()) {
                prop_assert!(hi - lo <= context);
            }
        }
    }

    #[test]
    fn streams_below_one_window_say_so() {
        let stream = TokenStream::new(vec![1; 8]);
        let error = stream.even_windows("valid.txt", 4, 8).unwrap_err().to_string();
        assert_eq!(
            error,
            "valid.txt: 8 tokens are fewer than the 9 that one window of context 8 needs; give more text or a smaller context"
        );
        assert!(stream.even_windows("v", 0, 4).is_err());
        assert!(stream.even_windows("v", 1, 0).is_err());
    }
}
