//! Which losses may be subtracted sequence by sequence.

use serde::Serialize;

/// Whether the losses of two runs are compared sequence by sequence, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Both runs were evaluated on the same sequences: errors are those of paired differences.
    Paired,
    /// A run does not say which text it was evaluated on.
    TextNotRecorded,
    /// The runs were evaluated on different text: other data, tokenizer or context.
    DifferentText,
    /// The runs were evaluated on different numbers of sequences.
    DifferentCounts,
    /// A run has no losses of single sequences at this evaluation, or they do not average to its loss.
    SequencesNotRecorded,
}

impl Pairing {
    /// Why sequences were not paired; none when they were.
    pub const fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Paired => None,
            Self::TextNotRecorded => Some("a run does not record which text it was evaluated on"),
            Self::DifferentText => Some("the runs were evaluated on different sequences"),
            Self::DifferentCounts => Some("the runs were evaluated on different numbers of sequences"),
            Self::SequencesNotRecorded => Some("a run does not record the losses of single sequences"),
        }
    }
}
