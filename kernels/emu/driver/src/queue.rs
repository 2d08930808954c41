//! The one stream: work in order, done when something waits for it.

use std::collections::{HashMap, VecDeque};
use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::status::{LAUNCH_FAILED, SUCCESS};

type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;

#[derive(Default)]
struct Stream {
    work: VecDeque<Work>,
    /// Number of pieces pushed and done so far.
    pushed: u64,
    done: u64,
    /// A failed launch poisons everything after it, as on a GPU.
    failed: bool,
    /// Number of pieces before each event, and when it passed.
    events: HashMap<usize, (u64, Option<Instant>)>,
    next_event: usize,
}

static STREAM: Mutex<Option<Stream>> = Mutex::new(None);

fn with<R>(f: impl FnOnce(&mut Stream) -> R) -> R {
    let mut guard = STREAM.lock().unwrap_or_else(PoisonError::into_inner);
    f(guard.get_or_insert_default())
}

fn code(s: &Stream) -> c_int {
    if s.failed { LAUNCH_FAILED } else { SUCCESS }
}

pub(crate) fn push(work: Work) -> c_int {
    with(|s| {
        s.work.push_back(work);
        s.pushed += 1;
        code(s)
    })
}

fn run_until(s: &mut Stream, target: u64) -> c_int {
    while s.done < target {
        let Some(work) = s.work.pop_front() else { break };
        s.done += 1;
        if !s.failed
            && let Err(message) = work()
        {
            eprintln!("emulated device: {message}");
            s.failed = true;
        }
        let done = s.done;
        s.events.values_mut().filter(|e| e.0 == done).for_each(|e| e.1 = Some(Instant::now()));
    }
    code(s)
}

/// Do everything that was pushed.
pub(crate) fn synchronize() -> c_int {
    with(|s| {
        let all = s.pushed;
        run_until(s, all)
    })
}

pub(crate) fn new_event() -> usize {
    with(|s| {
        s.next_event += 1;
        s.events.insert(s.next_event, (0, None));
        s.next_event
    })
}

pub(crate) fn drop_event(event: usize) {
    with(|s| s.events.remove(&event));
}

pub(crate) fn record(event: usize) -> c_int {
    with(|s| {
        s.work.push_back(Box::new(|| Ok(())));
        s.pushed += 1;
        s.events.insert(event, (s.pushed, None));
        code(s)
    })
}

/// Do everything up to where the event was recorded.
pub(crate) fn wait(event: usize) -> c_int {
    with(|s| {
        let Some((target, _)) = s.events.get(&event).copied() else { return crate::status::INVALID_VALUE };
        run_until(s, target)
    })
}

/// Milliseconds between two events that have passed.
pub(crate) fn elapsed(start: usize, end: usize) -> Option<f32> {
    with(|s| {
        let (a, b) = (s.events.get(&start)?.1?, s.events.get(&end)?.1?);
        Some(b.duration_since(a).as_secs_f32() * 1e3)
    })
}
