//! Device memory and page-locked host memory: heap blocks whose extents are known.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::setting::setting;

const ALIGNMENT: usize = 256;

/// Whose memory a block is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Device,
    /// Page-locked.
    Host,
}

#[derive(Clone, Copy)]
struct Block {
    bytes: usize,
    /// Its number: another block at the same address later has another one.
    number: u64,
    side: Side,
}

#[derive(Default)]
struct Blocks {
    by_address: BTreeMap<u64, Block>,
    next: u64,
}

static BLOCKS: Mutex<Option<Blocks>> = Mutex::new(None);

struct Guard(MutexGuard<'static, Option<Blocks>>);

impl Guard {
    fn get(&mut self) -> &mut Blocks {
        self.0.get_or_insert_default()
    }
}

fn blocks() -> Guard {
    Guard(BLOCKS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, ALIGNMENT).ok()
}

/// What the pretended device has: 4 GiB, or as many MiB as `GROWTHPATH_EMU_MEMORY` says.
pub(crate) fn total_bytes() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(|| setting("GROWTHPATH_EMU_MEMORY").unwrap_or(4096) << 20)
}

pub(crate) fn free_bytes() -> usize {
    let used: usize =
        blocks().get().by_address.values().filter(|b| b.side == Side::Device).map(|b| b.bytes).sum();
    total_bytes().saturating_sub(used)
}

/// A block of bytes that read as NaN, whatever the float type.
pub(crate) fn reserve(bytes: usize, side: Side) -> Option<u64> {
    if bytes == 0 || bytes > free_bytes() {
        return None;
    }
    // SAFETY: the size is not zero.
    let p = unsafe { alloc(layout(bytes)?) };
    if p.is_null() {
        return None;
    }
    // SAFETY: just reserved, as long.
    unsafe { p.write_bytes(0xff, bytes) };
    let mut guard = blocks();
    let all = guard.get();
    all.next += 1;
    let number = all.next;
    all.by_address.insert(p as u64, Block { bytes, number, side });
    Some(p as u64)
}

pub(crate) fn release(address: u64) -> bool {
    let Some(block) = blocks().get().by_address.remove(&address) else { return false };
    if let Some(layout) = layout(block.bytes) {
        // SAFETY: reserved above with this layout, and out of the map: released once.
        unsafe { dealloc(address as *mut u8, layout) };
    }
    true
}

/// The block that `bytes` from `address` lie in.
fn block(address: u64, bytes: usize) -> Option<Block> {
    let mut guard = blocks();
    let (start, block) = guard.get().by_address.range(..=address).next_back()?;
    (address + bytes as u64 <= start + block.bytes as u64).then_some(*block)
}

/// Whether `bytes` from `address` lie inside one block.
pub(crate) fn holds(address: u64, bytes: usize) -> bool {
    block(address, bytes).is_some()
}

/// Whether they lie inside one page-locked block.
pub(crate) fn is_page_locked(address: u64, bytes: usize) -> bool {
    block(address, bytes).is_some_and(|b| b.side == Side::Host)
}

/// The number of the block that an address lies in, if any.
pub(crate) fn number(address: u64) -> Option<u64> {
    block(address, 1).map(|b| b.number)
}
