//! Which tokens each training step sees.
//!
//! Time is cut into epochs. An epoch cuts the stream, from a random offset, into non-overlapping windows
//! and visits them in a random order; offset and order are functions of (seed, epoch). Samples are counted
//! across epochs (sample `step * batch + row`), so a batch may hold the end of one epoch and the beginning
//! of the next, and a batch larger than an epoch holds several.

use std::sync::{Arc, Mutex, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::batch::Batch;
use super::error::{DataError, Result};
use super::stream::TokenStream;

/// Cuts a stream into batches; a pure function of (seed, step).
#[derive(Debug)]
pub struct Batcher {
    stream: Arc<TokenStream>,
    batch: usize,
    context: usize,
    windows: usize,
    /// Number of offsets an epoch can begin at.
    offsets: usize,
    /// The epoch last used: shuffling anew for every step would cost more than the step's copy.
    last: Mutex<Option<Arc<Epoch>>>,
}

#[derive(Debug)]
struct Epoch {
    seed: u64,
    epoch: u64,
    offset: usize,
    order: Vec<u32>,
}

impl Batcher {
    /// Batches of `batch` sequences of `context` tokens from `stream`.
    ///
    /// # Errors
    /// [`DataError::Zero`] for a zero size, [`DataError::TooShort`] if the stream has fewer than
    /// `context + 1` tokens.
    pub fn new(stream: Arc<TokenStream>, batch: usize, context: usize) -> Result<Self> {
        if batch == 0 {
            return Err(DataError::Zero { what: "the batch size" });
        }
        if context == 0 {
            return Err(DataError::Zero { what: "the context length" });
        }
        let tokens = stream.len();
        if tokens <= context {
            return Err(DataError::TooShort {
                name: "the training text".to_string(),
                tokens,
                need: context + 1,
                context,
                mend: "give more text or a smaller context",
            });
        }
        // As many windows as fit from every offset below `context`; at least one, from the offsets it allows.
        let windows = ((tokens - context) / context).max(1).min(u32::MAX as usize);
        let offsets = (tokens - windows * context).min(context);
        Ok(Self { stream, batch, context, windows, offsets, last: Mutex::new(None) })
    }

    /// Windows visited in an epoch, each once.
    pub fn windows_per_epoch(&self) -> usize {
        self.windows
    }

    /// Tokens in a sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens in a batch.
    pub fn tokens_per_step(&self) -> u64 {
        self.batch as u64 * self.context as u64
    }

    /// Epochs gone by when `step` begins, with its fraction.
    pub fn epochs_before(&self, step: u64) -> f64 {
        step as f64 * self.batch as f64 / self.windows as f64
    }

    /// The batch of `step` in the data order of `seed`. Nothing but the arguments, the stream and the
    /// sizes decides it: call it in any order, from any thread, in any process.
    pub fn batch(&self, seed: u64, step: u64) -> Batch {
        let starts: Vec<usize> = (0..self.batch).map(|row| self.start_of(seed, step, row)).collect();
        self.stream.batch_at(starts.into_iter(), self.context)
    }

    /// Where in the stream the sequence of (step, row) begins.
    fn start_of(&self, seed: u64, step: u64, row: usize) -> usize {
        // u128: step * batch cannot overflow.
        let sample = u128::from(step) * self.batch as u128 + row as u128;
        let windows = self.windows as u128;
        // Reaching 2^64 epochs would take longer than the universe has; the cast keeps the low bits.
        let epoch = self.epoch(seed, (sample / windows) as u64);
        epoch.offset + epoch.order[(sample % windows) as usize] as usize * self.context
    }

    fn epoch(&self, seed: u64, epoch: u64) -> Arc<Epoch> {
        // The cache holds only whole values, so a panic elsewhere cannot have left it half-written.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = last.as_ref().filter(|e| e.seed == seed && e.epoch == epoch) {
            return Arc::clone(cached);
        }
        let mut rng = epoch_rng(seed, epoch);
        let offset = below(&mut rng, self.offsets as u64) as usize;
        // `windows` is at most u32::MAX by construction.
        let mut order: Vec<u32> = (0..self.windows as u32).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, below(&mut rng, i as u64 + 1) as usize);
        }
        let fresh = Arc::new(Epoch { seed, epoch, offset, order });
        *last = Some(Arc::clone(&fresh));
        fresh
    }
}

/// An independent stream for each (seed, epoch).
fn epoch_rng(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key("growthpath data order 1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Uniform below `n >= 1`, without bias: draws past the last whole multiple of `n` are thrown away.
/// Written out so that the order does not change with a library's version.
fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    let excess = (u64::MAX % n + 1) % n;
    loop {
        let draw = rng.next_u64();
        if draw <= u64::MAX - excess {
            return draw % n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn counting(len: usize) -> Arc<TokenStream> {
        Arc::new(TokenStream::new((0..len as u32).collect()))
    }

    fn firsts(batch: &Batch) -> Vec<usize> {
        batch.inputs.chunks(batch.context).map(|w| w[0] as usize).collect()
    }

    proptest! {
        #[test]
        fn an_epoch_visits_every_window_once(
            len in 2usize..300, context in 1usize..16, batch in 1usize..40, seed: u64,
        ) {
            prop_assume!(len > context);
            let batcher = Batcher::new(counting(len), batch, context).unwrap();
            let windows = batcher.windows_per_epoch();
            prop_assert!(windows >= 1);
            // Nearly the whole stream: at most two windows' worth of tokens is left over.
            prop_assert!(len - windows * context <= 2 * context);
            let epochs = 3;
            let steps = (epochs * windows).div_ceil(batch) as u64;
            let mut seen = Vec::new();
            for step in 0..steps {
                let b = batcher.batch(seed, step);
                prop_assert_eq!(b.inputs.len(), batch * context);
                for (row, target) in b.inputs.chunks(context).zip(b.targets.chunks(context)) {
                    // The stream counts up, so these two say: a true window, and targets one ahead.
                    prop_assert!(row.windows(2).all(|p| p[1] == p[0] + 1));
                    prop_assert!(row.iter().zip(target).all(|(i, t)| t - i == 1));
                }
                seen.extend(firsts(&b));
            }
            for epoch in seen.chunks(windows).take(epochs) {
                let offset = epoch.iter().min().unwrap();
                prop_assert!(*offset < context);
                let ids: BTreeSet<usize> = epoch.iter().map(|s| (s - offset) / context).collect();
                prop_assert!(epoch.iter().all(|s| (s - offset) % context == 0));
                prop_assert_eq!(ids, (0..windows).collect::<BTreeSet<_>>());
            }
        }

        #[test]
        fn a_resumed_run_sees_what_the_whole_run_sees(seed: u64, batch in 1usize..9, from in 0u64..60) {
            let whole = Batcher::new(counting(101), batch, 5).unwrap();
            let resumed = Batcher::new(counting(101), batch, 5).unwrap();
            let mut straight = Vec::new();
            for step in 0..from + 3 {
                straight.push(whole.batch(seed, step));
            }
            // Backwards and interleaved with another seed: no hidden state.
            for step in (from..from + 3).rev() {
                resumed.batch(seed ^ 1, step);
                prop_assert_eq!(&resumed.batch(seed, step), &straight[step as usize]);
            }
        }

        #[test]
        fn below_is_below(seed: u64, n in 1u64..) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            prop_assert!(below(&mut rng, n) < n);
        }
    }

    #[test]
    fn seeds_and_epochs_have_their_own_orders() {
        let batcher = Batcher::new(counting(4_001), 100, 10).unwrap();
        assert_eq!(batcher.windows_per_epoch(), 399);
        let a = batcher.batch(7, 0);
        assert_ne!(a, batcher.batch(8, 0));
        assert_ne!(a, batcher.batch(7, 4));
        assert!((batcher.epochs_before(4) - 400.0 / 399.0).abs() < 1e-12);
        // The order written here is the order of saved runs: it must not drift between versions.
        assert_eq!(firsts(&a.rows(0..6)), PINNED);
        assert_eq!(a.rows(98..200).rows, 2);
    }

    #[test]
    fn spread_rows_are_even_and_the_whole_is_itself() {
        let batch = Batcher::new(counting(401), 8, 10).unwrap().batch(1, 0);
        assert_eq!(batch.spread(8), batch);
        assert_eq!(batch.spread(99), batch);
        let (three, all) = (firsts(&batch.spread(3)), firsts(&batch));
        assert_eq!(three, [all[0], all[2], all[5]]);
        assert_eq!(batch.spread(0).rows, 0);
    }

    const PINNED: [usize; 6] = [3019, 2409, 3459, 3429, 2669, 349];

    #[test]
    fn shuffles_are_uniform() {
        // 3 windows: 6 orders, 6,000 epochs, 1,000 each; the chi-square of 5 degrees of freedom exceeds
        // 30 with probability 2e-5.
        let batcher = Batcher::new(counting(16), 3, 4).unwrap();
        assert_eq!(batcher.windows_per_epoch(), 3);
        let mut counts = std::collections::BTreeMap::new();
        let mut offsets = [0usize; 4];
        for step in 0..6_000 {
            let starts = firsts(&batcher.batch(42, step));
            offsets[starts.iter().min().unwrap() % 4] += 1;
            *counts.entry(starts.iter().map(|s| s / 4).collect::<Vec<_>>()).or_insert(0usize) += 1;
        }
        let chi = |counts: &[usize], expected: f64| -> f64 {
            counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum()
        };
        let orders: Vec<usize> = counts.values().copied().collect();
        assert_eq!(orders.len(), 6);
        assert!(chi(&orders, 1_000.0) < 30.0, "{orders:?}");
        assert!(chi(&offsets, 1_500.0) < 26.0, "{offsets:?}");
    }

    #[test]
    fn sizes_that_make_no_batch_say_so() {
        assert!(matches!(Batcher::new(counting(9), 0, 4), Err(DataError::Zero { what: "the batch size" })));
        assert!(matches!(Batcher::new(counting(9), 1, 0), Err(DataError::Zero { .. })));
        assert!(matches!(Batcher::new(counting(4), 1, 4), Err(DataError::TooShort { need: 5, .. })));
        // One window and one offset is the least that works, however large the batch.
        let least = Batcher::new(counting(5), 3, 4).unwrap();
        assert_eq!(firsts(&least.batch(1, 9)), [0, 0, 0]);
        least.batch(1, u64::MAX);
    }
}
