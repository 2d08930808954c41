//! Decoders of other people's formats may panic on bytes made to deceive: here that becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many guarded calls run now.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

struct Active;

impl Active {
    fn new() -> Self {
        ACTIVE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a guarded call runs on any thread: a program's panic hook may then keep silent, since the caller reports.
pub fn is_active() -> bool {
    ACTIVE.load(Ordering::SeqCst) > 0
}

/// Runs `decode`; a panic in it becomes the error `otherwise`. Nothing that the panic left half done may be used again.
///
/// # Errors
/// What `decode` fails with, or `otherwise`.
pub fn guarded<T, E>(decode: impl FnOnce() -> Result<T, E>, otherwise: impl FnOnce() -> E) -> Result<T, E> {
    let active = Active::new();
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    drop(active);
    outcome.unwrap_or_else(|_| Err(otherwise()))
}
