//! The allocator that keeps large blocks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use growthpath_kernels::memory::Keeping;

/// The system's allocator, counting the bytes it has handed out.
struct Counting<'a>(&'a AtomicUsize);

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting<'_> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(start, layout) }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 4).unwrap()
}

#[test]
fn the_last_freed_block_of_the_size_comes_back() {
    let held = AtomicUsize::new(0);
    let a = Keeping::new(Counting(&held));
    let (big, other) = (layout(1 << 20), layout((1 << 20) + 4));
    // SAFETY: blocks are used within their layouts and freed with them, once.
    unsafe {
        let spare = a.alloc(layout(1 << 23)); // so much in use that the shelf has room
        let (x, y) = (a.alloc(big), a.alloc(big));
        x.write_bytes(7, big.size());
        y.write_bytes(7, big.size());
        a.dealloc(y, big);
        a.dealloc(x, big);
        let z = a.alloc(other);
        assert!(z != x && z != y);
        let zeroed = a.alloc_zeroed(big);
        assert_eq!(zeroed, x);
        assert!((0..big.size()).all(|i| zeroed.add(i).read() == 0));
        assert_eq!(a.alloc(big), y);
        let grown = a.realloc(y, big, 1 << 21);
        a.dealloc(grown, layout(1 << 21));
        a.dealloc(zeroed, big);
        a.dealloc(z, other);
        a.dealloc(spare, layout(1 << 23));
    }
}

/// Sizes that never come again: what is held stays within the share over the peak, and one block.
#[test]
fn what_waits_longest_is_handed_back() {
    let held = AtomicUsize::new(0);
    let a = Keeping::new(Counting(&held));
    let (mut most, mut peak) = (0, 0);
    for i in 0..3000 {
        let sizes = [layout((1 << 18) + 16 * i), layout((1 << 17) + 16 * i)];
        // SAFETY: as above.
        unsafe {
            let blocks = sizes.map(|l| a.alloc(l));
            peak = peak.max(sizes.iter().map(Layout::size).sum());
            most = most.max(held.load(Ordering::Relaxed));
            blocks.iter().zip(sizes).for_each(|(b, l)| a.dealloc(*b, l));
        }
    }
    assert!(most <= peak / 8 * 9 + (1 << 19), "{most} held, {peak} in use");
}

/// No block is anybody else's while it is in use, whoever freed it.
#[test]
fn threads_share_the_shelf() {
    let held = AtomicUsize::new(0);
    let a = Keeping::new(Counting(&held));
    let pass: std::sync::Mutex<Vec<(usize, Layout, u8)>> = Vec::new().into();
    std::thread::scope(|s| {
        for t in 1..=4u8 {
            let (a, pass) = (&a, &pass);
            s.spawn(move || {
                for i in 0..2000usize {
                    let l = layout((1 << 17) + 64 * (i * usize::from(t) % 5));
                    // SAFETY: the block is this thread's until it is passed on, then the taker's.
                    unsafe {
                        let x = a.alloc(l);
                        x.write(t);
                        x.add(l.size() - 1).write(t);
                        pass.lock().unwrap().push((x as usize, l, t));
                    }
                    let taken = if i % 3 > 0 { pass.lock().unwrap().pop() } else { None };
                    if let Some((x, l, t)) = taken {
                        let x = x as *mut u8;
                        // SAFETY: as above.
                        unsafe {
                            assert_eq!((x.read(), x.add(l.size() - 1).read()), (t, t));
                            a.dealloc(x, l);
                        }
                    }
                }
            });
        }
    });
    for (x, l, _) in pass.into_inner().unwrap() {
        // SAFETY: as above.
        unsafe { a.dealloc(x as *mut u8, l) };
    }
}
