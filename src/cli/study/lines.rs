//! Progress between the processes of a study: one JSON line an event.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::train::Event;

/// Steps are told at most this often.
const PACE: Duration = Duration::from_millis(200);

/// The line of an event, without its end. Numbers and strings alone always have a JSON form.
fn encode(event: Event) -> String {
    serde_json::to_string(&event).unwrap_or_default()
}

/// The event of a line; none for other text.
pub fn decode(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}

/// Prints events on standard output.
#[derive(Default)]
pub struct Printer {
    last: Option<Instant>,
}

impl Printer {
    /// Tells an event. Where nobody reads any more, the study that started this run is gone: so is the run.
    pub fn on(&mut self, event: Event) {
        let now = Instant::now();
        if matches!(event, Event::Step(_)) && self.last.is_some_and(|t| now - t < PACE) {
            return;
        }
        self.last = Some(now);
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{}", encode(event)).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepReport;

    #[test]
    fn events_survive_the_way() {
        let step =
            StepReport { done: 7, loss: 4.25, lr: 1e-3, tokens_per_second: 1.5e4, spread: Some([0.5, 0.25]) };
        let Some(Event::Step(back)) = decode(&encode(Event::Step(step))) else { panic!("no step") };
        assert_eq!((back.done, back.loss, back.spread), (7, 4.25, Some([0.5, 0.25])));
        assert!(matches!(decode(&encode(Event::Eval(9, 4.0))), Some(Event::Eval(9, l)) if l == 4.0));
        let note = Event::NoDeviceMemoryForProbes;
        assert!(matches!(decode(&encode(note)), Some(Event::NoDeviceMemoryForProbes)));
        assert!(decode("preparing text").is_none());
    }
}
