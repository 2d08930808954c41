//! Device memory: heap blocks whose extents are known.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the pretended device has.
pub(crate) const TOTAL: usize = 4 << 30;
const ALIGNMENT: usize = 256;

static BLOCKS: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());

fn blocks() -> MutexGuard<'static, BTreeMap<u64, usize>> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, ALIGNMENT).ok()
}

pub(crate) fn free_bytes() -> usize {
    TOTAL.saturating_sub(blocks().values().sum())
}

/// A block of bytes that read as NaN, whatever the float type.
pub(crate) fn reserve(bytes: usize) -> Option<u64> {
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
    blocks().insert(p as u64, bytes);
    Some(p as u64)
}

pub(crate) fn release(address: u64) -> bool {
    let Some(bytes) = blocks().remove(&address) else { return false };
    if let Some(layout) = layout(bytes) {
        // SAFETY: reserved above with this layout, and out of the map: released once.
        unsafe { dealloc(address as *mut u8, layout) };
    }
    true
}

/// Whether `bytes` from `address` lie inside one block.
pub(crate) fn holds(address: u64, bytes: usize) -> bool {
    let inside = |(start, len): (&u64, &usize)| address + bytes as u64 <= start + *len as u64;
    blocks().range(..=address).next_back().is_some_and(inside)
}
