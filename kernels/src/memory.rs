//! A global allocator that keeps large blocks for the next request of the same size.
//!
//! A training step asks for the blocks of the step before. Handed back in between, many of them return to the kernel
//! and come again as zeroed pages: several percent of a step. Here a freed block waits on a shelf, the last one freed
//! being the first to go (its lines are the likeliest to be cached). Beyond a share of the most that was ever in use,
//! the blocks that have waited longest are handed back.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Smaller blocks go straight to the allocator behind.
const LARGE: usize = 1 << 17;
/// Blocks on the shelf: more than the activations of a step of the deepest model that trains here.
const SLOTS: usize = 1024;

/// `A`, with a shelf for large blocks.
pub struct Keeping<A> {
    inner: A,
    shelf: Mutex<Shelf>,
}

#[derive(Clone, Copy)]
struct Block {
    start: *mut u8,
    layout: Layout,
}

struct Shelf {
    /// Oldest first.
    blocks: [Block; SLOTS],
    len: usize,
    /// Bytes on the shelf, in use, and the most that were in use.
    kept: usize,
    used: usize,
    peak: usize,
    /// The most that were in use since [`Keeping::mark`].
    marked: usize,
}

// SAFETY: the pointers are owned blocks that nobody else refers to; any thread may use or free them.
unsafe impl Send for Shelf {}

impl Shelf {
    /// A block that fits; none is left to the caller, who gets it from `inner`.
    fn take(&mut self, layout: Layout, inner: &impl GlobalAlloc) -> Option<*mut u8> {
        let size = layout.size();
        self.used += size;
        self.note_peak();
        let Some(at) = self.blocks[..self.len].iter().rposition(|b| b.layout == layout) else {
            self.give_back(self.used.saturating_add(self.kept).saturating_sub(self.limit()), inner);
            return None;
        };
        let start = self.blocks[at].start;
        self.blocks.copy_within(at + 1..self.len, at);
        self.len -= 1;
        self.kept -= size;
        Some(start)
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.used);
        self.marked = self.marked.max(self.used);
    }

    fn put(&mut self, start: *mut u8, layout: Layout, inner: &impl GlobalAlloc) {
        if self.len == SLOTS {
            self.give_back(1, inner);
        }
        self.blocks[self.len] = Block { start, layout };
        self.len += 1;
        self.kept += layout.size();
        self.used = self.used.saturating_sub(layout.size());
    }

    /// Most bytes in use and kept together: sizes that are never in use at the same time need some more than the peak.
    fn limit(&self) -> usize {
        self.peak / 8 * 9
    }

    /// Frees the oldest blocks until `bytes` are handed back or none is left.
    fn give_back(&mut self, bytes: usize, inner: &impl GlobalAlloc) {
        let (mut given, mut n) = (0, 0);
        while n < self.len && given < bytes {
            let b = self.blocks[n];
            // SAFETY: a block on the shelf came from `inner` with this layout, and leaves the shelf below.
            unsafe { inner.dealloc(b.start, b.layout) };
            given += b.layout.size();
            n += 1;
        }
        self.blocks.copy_within(n..self.len, 0);
        self.len -= n;
        self.kept -= given;
    }
}

impl<A: GlobalAlloc> Keeping<A> {
    /// An empty shelf before `inner`.
    pub const fn new(inner: A) -> Self {
        let none = Block { start: null_mut(), layout: Layout::new::<()>() };
        Self {
            inner,
            shelf: Mutex::new(Shelf { blocks: [none; SLOTS], len: 0, kept: 0, used: 0, peak: 0, marked: 0 }),
        }
    }

    /// Bytes of large blocks in use now; [`Keeping::most`] starts anew from here.
    pub fn mark(&self) -> usize {
        let mut shelf = self.shelf();
        shelf.marked = shelf.used;
        shelf.used
    }

    /// The most bytes of large blocks (128 KiB and more) that were in use at once since the last [`Keeping::mark`].
    pub fn most(&self) -> usize {
        self.shelf().marked
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reuse(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() < LARGE { None } else { self.shelf().take(layout, &self.inner) }
    }
}

// SAFETY: every block comes from `inner` and is in use, on the shelf or freed, never two of them: `take` and
// `give_back` remove what they hand on, under the lock. Nothing under the lock panics or allocates.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Keeping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.reuse(layout) {
            Some(start) => start,
            // SAFETY: the caller's contract.
            None => unsafe { self.inner.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.reuse(layout) {
            Some(start) => {
                // SAFETY: a block of this layout that is now the caller's.
                unsafe { start.write_bytes(0, layout.size()) };
                start
            }
            // SAFETY: the caller's contract.
            None => unsafe { self.inner.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            return self.shelf().put(start, layout, &self.inner);
        }
        // SAFETY: the caller's contract; the block came from `inner`.
        unsafe { self.inner.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let large = |n: usize| if n >= LARGE { n } else { 0 };
        let (old, new) = (large(layout.size()), large(size));
        if old != new {
            let mut shelf = self.shelf();
            shelf.used = (shelf.used + new).saturating_sub(old);
            shelf.note_peak();
        }
        // SAFETY: the caller's contract; the block came from `inner`.
        unsafe { self.inner.realloc(start, layout, size) }
    }
}
