//! A global allocator that keeps large blocks for the next request of the same size.
//!
//! A training step asks for the blocks of the step before. Handed back in between, many of them return to the kernel
//! and come again as zeroed pages: several percent of a step. Here a freed block waits on a shelf, the last one freed
//! being the first to go (its lines are the likeliest to be cached).
//!
//! A request that the shelf cannot meet first gives up as many bytes of the oldest blocks: what a program holds does not
//! exceed the most it had in use, by more than a block.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::Mutex;

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

/// Oldest first.
struct Shelf {
    blocks: [Block; SLOTS],
    len: usize,
}

// SAFETY: the pointers are owned blocks that nobody else refers to; any thread may use or free them.
unsafe impl Send for Shelf {}

impl Shelf {
    fn take(&mut self, layout: Layout) -> Option<*mut u8> {
        let at = self.blocks[..self.len].iter().rposition(|b| b.layout == layout)?;
        let start = self.blocks[at].start;
        self.blocks.copy_within(at + 1..self.len, at);
        self.len -= 1;
        Some(start)
    }

    /// Frees the oldest blocks until `bytes` are given up or none is left.
    fn give_up(&mut self, inner: &impl GlobalAlloc, bytes: usize) {
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
    }
}

impl<A: GlobalAlloc> Keeping<A> {
    /// An empty shelf before `inner`.
    pub const fn new(inner: A) -> Self {
        let none = Block { start: null_mut(), layout: Layout::new::<()>() };
        Self { inner, shelf: Mutex::new(Shelf { blocks: [none; SLOTS], len: 0 }) }
    }

    /// A block from the shelf. Two threads that meet there do not wait: the second goes to the allocator behind.
    fn reuse(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() < LARGE {
            return None;
        }
        let mut shelf = self.shelf.try_lock().ok()?;
        let found = shelf.take(layout);
        if found.is_none() {
            shelf.give_up(&self.inner, layout.size());
        }
        found
    }
}

// SAFETY: every block comes from `inner` and is in use, on the shelf or freed, never two of them: `take` and `give_up`
// remove what they hand on, under the lock. Nothing here panics or allocates.
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
        if layout.size() >= LARGE
            && let Ok(mut shelf) = self.shelf.try_lock()
        {
            if shelf.len == SLOTS {
                shelf.give_up(&self.inner, 1);
            }
            let at = shelf.len;
            shelf.blocks[at] = Block { start, layout };
            shelf.len += 1;
            return;
        }
        // SAFETY: the caller's contract; the block came from `inner`.
        unsafe { self.inner.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract; the block came from `inner`.
        unsafe { self.inner.realloc(start, layout, size) }
    }
}
