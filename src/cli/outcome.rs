//! From an outcome to an exit code: errors on one line, panics as what they are, a bug in this program.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use growthpath_analysis::AnalysisError;
use growthpath_trace::{guard, shown_lines};

use super::output;
use crate::data::DataError;
use crate::error::{Error, Result};

/// Do the work and turn its outcome into an exit code.
pub fn of(work: impl FnOnce() -> Result<()>) -> ExitCode {
    std::panic::set_hook(Box::new(report));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(e)) if output::is_broken_pipe(&e) => ExitCode::SUCCESS,
        Ok(Err(e @ Error::Interrupted { .. })) => {
            say(&e.to_string());
            ExitCode::from(code(&e))
        }
        Ok(Err(e)) => {
            say(&format!("error: {e}"));
            ExitCode::from(code(&e))
        }
        // The hook has told it.
        Err(_) => ExitCode::from(1),
    }
}

fn say(text: &str) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "growthpath: {}", shown_lines(text));
}

/// What a panic says, unless a guard turns it into an error.
fn report(info: &std::panic::PanicHookInfo<'_>) {
    if guard::is_active() {
        return;
    }
    let payload = info.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    let at = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
    say(&format!("error: this is a bug in growthpath: {what}{at}; please report it with the command line"));
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        say(&trace.to_string());
    }
}

/// 128 and the signal that stopped it; 2 for a command line, or a value on it, that cannot be used; 1 for everything else.
fn code(e: &Error) -> u8 {
    let usage = match e {
        // As shells have it.
        Error::Interrupted { signal, .. } => {
            return 128_u8.saturating_add(u8::try_from(*signal).unwrap_or(0));
        }
        Error::Usage(_) => true,
        Error::Data(e) => {
            matches!(
                e,
                DataError::TokenizerName { .. } | DataError::VocabSize { .. } | DataError::Zero { .. }
            )
        }
        Error::Analysis(e) => matches!(
            e,
            AnalysisError::Threshold { .. }
                | AnalysisError::EmptyWindow { .. }
                | AnalysisError::UnknownLayers { .. }
        ),
        _ => false,
    };
    if usage { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_contract() {
        let is =
            |code: u8, got: ExitCode| assert_eq!(format!("{got:?}"), format!("{:?}", ExitCode::from(code)));
        is(0, of(|| Ok(())));
        is(2, of(|| Err(Error::usage("x"))));
        is(1, of(|| Err(Error::format("file", "x"))));
        is(2, of(|| Err(AnalysisError::UnknownLayers { given: "x".into() }.into())));
        is(1, of(|| panic!("a bug made for this test")));
        drop(std::panic::take_hook());
    }
}
