//! Requests to stop: the first INT, TERM or HUP is noted and obeyed between two steps, a second INT at once.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// The signal that came; 0 for none.
static SIGNAL: AtomicUsize = AtomicUsize::new(0);

/// Whether the next INT ends the process.
static ARMED: AtomicBool = AtomicBool::new(false);

/// Signals that this process watches, as bits; set once.
static WATCHED: AtomicI32 = AtomicI32::new(0);

/// Watch for signals from here on. One that the process was started to ignore, as `nohup` does with HUP, stays ignored.
#[cfg(unix)]
pub fn watch() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if WATCHED.fetch_or(1 << signal, Ordering::SeqCst) & (1 << signal) != 0 || ignored(signal) {
            continue;
        }
        // Where a handler cannot be installed the signal ends the process, as it would without this.
        if signal == SIGINT {
            // In this order: the first one arms, the second finds it armed.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, &ARMED);
            let _ = flag::register(signal, &ARMED);
        }
        let _ = flag::register_usize(signal, &SIGNAL, signal as usize);
    }
}

/// Watch for signals from here on.
#[cfg(not(unix))]
pub fn watch() {}

/// The signal that asks to stop, if one came.
pub fn requested() -> Option<i32> {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => None,
        // Signal numbers are small.
        signal => Some(signal as i32),
    }
}

/// Its name, for messages.
pub fn name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".into(),
        2 => "SIGINT".into(),
        15 => "SIGTERM".into(),
        n => format!("signal {n}"),
    }
}

/// Whether the process was started with a signal ignored, as far as the system tells.
#[cfg(unix)]
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}
