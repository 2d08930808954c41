//! What goes to standard output: text and JSON; a closed pipe is quiet.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};

use growthpath_trace::shown_lines;

use crate::error::{Error, Result};
pub use crate::tables::{number, table};

thread_local! {
    /// Where this thread's output goes instead of standard output.
    static CAPTURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What `work` prints on this thread, instead of printing it.
pub fn captured(work: impl FnOnce() -> Result<()>) -> Result<String> {
    CAPTURE.with(|c| *c.borrow_mut() = Some(String::new()));
    let outcome = work();
    let text = CAPTURE.with(|c| c.borrow_mut().take()).unwrap_or_default();
    outcome.map(|()| text)
}

/// Write text to standard output.
pub fn print(text: &str) -> Result<()> {
    // Whatever a file made its way in with: nothing that is printed steers the terminal.
    let text = shown_lines(text);
    let kept = CAPTURE.with(|c| c.borrow_mut().as_mut().map(|all| all.push_str(&text)).is_some());
    if kept {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("standard output"))
}

/// Write a value as indented JSON.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::format("standard output", e.to_string()))?;
    print(&(text + "\n"))
}

/// Whether an error is only that the reader went away.
pub fn is_broken_pipe(e: &Error) -> bool {
    match e {
        // A file may be a pipe, as /dev/stdout is.
        Error::Io { source, .. } | Error::Trace(growthpath_trace::Error::Io { source, .. }) => {
            source.kind() == ErrorKind::BrokenPipe
        }
        _ => false,
    }
}
