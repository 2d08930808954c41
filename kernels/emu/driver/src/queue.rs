//! Streams: work in the order of its calls, done when something waits for it, or recorded while a capture is on.
//!
//! Outside a capture, every stream's work is done in the order in which it was given, which waits between streams allow. A
//! graph knows what its pieces wait for, and is done in orders of all kinds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{ThreadId, current};
use std::time::Instant;

use crate::status::{
    CAPTURE_INVALIDATED, CAPTURE_ISOLATION, CAPTURE_UNJOINED, CAPTURE_UNSUPPORTED, CAPTURE_WRONG_THREAD,
    CAPTURED_EVENT, ILLEGAL_STATE, INVALID_VALUE, LAUNCH_FAILED, SUCCESS,
};

/// A piece of work. It may be done again and again, when a graph holds it.
pub(crate) type Work = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A piece of a graph.
pub(crate) struct Node {
    pub(crate) work: Work,
    /// Pieces that have to be done before it; all of them come earlier.
    pub(crate) after: Vec<usize>,
}

/// Where an event stands.
#[derive(Clone)]
enum Event {
    /// After so many pieces of work, and when it passed; 0 pieces: never recorded.
    After(u64, Option<Instant>),
    /// Recorded during a capture, after these pieces of the graph: the host cannot wait for it.
    Captured(Vec<usize>),
}

/// A recording under way.
struct Capture {
    thread: ThreadId,
    /// The stream that it began with.
    origin: usize,
    nodes: Vec<Node>,
    /// The streams that take part, with the pieces that the next one waits for.
    streams: HashMap<usize, Vec<usize>>,
    valid: bool,
}

impl Capture {
    /// Whether everything comes before what would be next on the first stream.
    fn is_joined(&self) -> bool {
        let mut before = vec![false; self.nodes.len()];
        let mut open = self.streams.get(&self.origin).cloned().unwrap_or_default();
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut before[i], true) {
                open.extend(&self.nodes[i].after);
            }
        }
        before.into_iter().all(|b| b)
    }
}

#[derive(Default)]
struct Stream {
    work: VecDeque<Work>,
    /// Number of pieces pushed and done so far.
    pushed: u64,
    done: u64,
    /// A failed launch poisons everything after it, as on a GPU.
    failed: bool,
    events: HashMap<usize, Event>,
    next_event: usize,
    capture: Option<Capture>,
    /// Functions that were launched: a device loads one at its first launch, which a capture does not allow.
    loaded: HashSet<usize>,
}

static STREAM: Mutex<Option<Stream>> = Mutex::new(None);

fn with<R>(f: impl FnOnce(&mut Stream) -> R) -> R {
    let mut guard = STREAM.lock().unwrap_or_else(PoisonError::into_inner);
    f(guard.get_or_insert_default())
}

fn code(s: &Stream) -> c_int {
    if s.failed { LAUNCH_FAILED } else { SUCCESS }
}

/// Refuse a call that no capture allows, which spoils the capture.
fn spoil(c: &mut Capture, what: &str) -> c_int {
    eprintln!("emulated device: {what} while a graph is captured");
    c.valid = false;
    CAPTURE_UNSUPPORTED
}

/// What a call comes to that may not be made by a thread that captures: nothing, where it does not.
pub(crate) fn outside_capture(what: &str) -> Result<(), c_int> {
    with(|s| match &mut s.capture {
        Some(c) if c.thread == current().id() => Err(spoil(c, what)),
        _ => Ok(()),
    })
}

pub(crate) fn is_capturing() -> bool {
    with(|s| s.capture.is_some())
}

/// Whether this stream takes part in a capture.
pub(crate) fn is_captured(stream: usize) -> bool {
    with(|s| s.capture.as_ref().is_some_and(|c| c.streams.contains_key(&stream)))
}

/// Refuse what cannot be captured, where a capture is on.
pub(crate) fn refuse_captured(what: &str) -> c_int {
    with(|s| s.capture.as_mut().map_or(INVALID_VALUE, |c| spoil(c, what)))
}

/// Note that a function is launched; refused where this is its first launch and a capture is on.
pub(crate) fn load(function: usize) -> Result<(), c_int> {
    with(|s| match &mut s.capture {
        Some(c) if !s.loaded.contains(&function) => Err(spoil(c, "a kernel's first launch")),
        _ => {
            s.loaded.insert(function);
            Ok(())
        }
    })
}

pub(crate) fn push(stream: usize, work: Work) -> c_int {
    with(|s| {
        if let Some(c) = &mut s.capture
            && let Some(last) = c.streams.get_mut(&stream)
        {
            if !c.valid {
                return CAPTURE_INVALIDATED;
            }
            let after = std::mem::replace(last, vec![c.nodes.len()]);
            c.nodes.push(Node { work, after });
            return code(s);
        }
        s.work.push_back(work);
        s.pushed += 1;
        code(s)
    })
}

pub(crate) fn begin_capture(stream: usize) -> c_int {
    with(|s| {
        if s.capture.is_some() {
            return ILLEGAL_STATE;
        }
        let streams = HashMap::from([(stream, Vec::new())]);
        let thread = current().id();
        s.capture = Some(Capture { thread, origin: stream, nodes: Vec::new(), streams, valid: true });
        code(s)
    })
}

/// The work that was captured, or why there is none.
pub(crate) fn end_capture(stream: usize) -> Result<Vec<Node>, c_int> {
    with(|s| match s.capture.take() {
        None => Err(ILLEGAL_STATE),
        Some(c) if c.origin != stream => {
            s.capture = Some(c);
            Err(ILLEGAL_STATE)
        }
        Some(c) if c.thread != current().id() => {
            s.capture = Some(c);
            Err(CAPTURE_WRONG_THREAD)
        }
        Some(c) if !c.valid => Err(CAPTURE_INVALIDATED),
        Some(c) if !c.is_joined() => Err(CAPTURE_UNJOINED),
        Some(c) => Ok(c.nodes),
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
        let now = s.done;
        for e in s.events.values_mut() {
            if let Event::After(at, passed) = e
                && *at == now
            {
                *passed = Some(Instant::now());
            }
        }
    }
    code(s)
}

/// Do everything that was pushed.
pub(crate) fn synchronize() -> c_int {
    with(|s| {
        if let Some(c) = &mut s.capture {
            return spoil(c, "waiting for the stream");
        }
        let all = s.pushed;
        run_until(s, all)
    })
}

pub(crate) fn new_event() -> usize {
    with(|s| {
        s.next_event += 1;
        s.events.insert(s.next_event, Event::After(0, None));
        s.next_event
    })
}

pub(crate) fn drop_event(event: usize) {
    with(|s| s.events.remove(&event));
}

pub(crate) fn record(event: usize, stream: usize) -> c_int {
    with(|s| {
        if let Some(last) = s.capture.as_ref().and_then(|c| c.streams.get(&stream)) {
            s.events.insert(event, Event::Captured(last.clone()));
            return code(s);
        }
        s.work.push_back(Arc::new(|| Ok(())));
        s.pushed += 1;
        s.events.insert(event, Event::After(s.pushed, None));
        code(s)
    })
}

/// Have a stream wait for an event: during a capture, that makes it take part.
pub(crate) fn wait_on(stream: usize, event: usize) -> c_int {
    with(|s| match (s.events.get(&event), &mut s.capture) {
        (None, _) => INVALID_VALUE,
        (Some(Event::Captured(after)), Some(c)) => {
            let last = c.streams.entry(stream).or_default();
            last.extend(after);
            last.sort_unstable();
            last.dedup();
            code(s)
        }
        // What a captured stream waits for has to be captured.
        (Some(Event::After(..)), Some(c)) if c.streams.contains_key(&stream) => {
            c.valid = false;
            CAPTURE_ISOLATION
        }
        (Some(Event::Captured(_)), None) => CAPTURED_EVENT,
        // Work is done in the order of its calls.
        (Some(Event::After(..)), _) => code(s),
    })
}

/// Do everything up to where the event was recorded.
pub(crate) fn wait(event: usize) -> c_int {
    if let Err(code) = outside_capture("waiting for an event") {
        return code;
    }
    with(|s| match s.events.get(&event).cloned() {
        Some(Event::After(target, _)) => run_until(s, target),
        Some(Event::Captured(_)) => CAPTURED_EVENT,
        None => INVALID_VALUE,
    })
}

/// Milliseconds between two events that have passed.
pub(crate) fn elapsed(start: usize, end: usize) -> Option<f32> {
    with(|s| {
        let passed = |e| match s.events.get(e)? {
            Event::After(_, passed) => *passed,
            Event::Captured(_) => None,
        };
        Some(passed(&end)?.duration_since(passed(&start)?).as_secs_f32() * 1e3)
    })
}

/// Forget a failed launch, as a device does not: for tests of failures.
#[cfg(test)]
pub(crate) fn forgive() {
    with(|s| s.failed = false);
}
