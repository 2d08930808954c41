//! What goes to standard output: text and JSON; a closed pipe is quiet.

use std::io::{ErrorKind, Write};

use growthpath_trace::shown_lines;

use crate::error::{Error, Result};
pub use crate::tables::{number, table};

/// Write text to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    // Whatever a file made its way in with: nothing that is printed steers the terminal.
    out.write_all(shown_lines(text).as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io("standard output"))
}

/// Write a value as indented JSON.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::format("standard output", e.to_string()))?;
    print(&(text + "\n"))
}

/// Whether an error is only that the reader went away.
pub fn is_broken_pipe(e: &Error) -> bool {
    matches!(e, Error::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe)
}
