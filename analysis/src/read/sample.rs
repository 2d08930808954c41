//! A bounded uniform sample of a stream.

/// Keeps each item of a stream with the same chance, at most `capacity` in all, by Vitter's
/// algorithm R with a fixed seed: the same stream gives the same sample. Up to `capacity` items, it
/// keeps them all, in order.
#[derive(Debug, Clone)]
pub(crate) struct Sample<T> {
    items: Vec<T>,
    capacity: usize,
    seen: u64,
    state: u64,
}

impl<T> Sample<T> {
    pub fn new(capacity: usize) -> Self {
        Self { items: Vec::new(), capacity, seen: 0, state: 0x9E37_79B9_7F4A_7C15 }
    }

    /// Offers an item.
    pub fn add(&mut self, item: T) {
        self.seen += 1;
        if self.items.len() < self.capacity {
            self.items.push(item);
        } else {
            let place = self.below(self.seen);
            // A place past the end means that the item is not kept.
            if let Some(slot) = usize::try_from(place).ok().and_then(|p| self.items.get_mut(p)) {
                *slot = item;
            }
        }
    }

    /// Items offered.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The sample.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }

    /// A number in `0..limit`: splitmix64, then the high half of a product.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_streams_are_kept_whole_and_long_ones_evenly() {
        let mut short = Sample::new(10);
        (0..10).for_each(|i| short.add(i));
        assert_eq!(short.into_items(), (0..10).collect::<Vec<_>>());

        let (n, capacity) = (160_000, 4_000);
        let mut long = Sample::new(capacity);
        (0..n).for_each(|i| long.add(i));
        assert_eq!((long.seen(), long.items.len()), (n as u64, capacity));
        // Each sixteenth, and each residue mod 16, is expected 250 times with a deviation near 15.
        let items = long.into_items();
        for part in 0..16 {
            let by_time = items.iter().filter(|i| **i / (n / 16) == part).count();
            let by_residue = items.iter().filter(|i| **i % 16 == part).count();
            assert!(
                (160..340).contains(&by_time) && (160..340).contains(&by_residue),
                "{by_time} {by_residue}"
            );
        }
    }
}
