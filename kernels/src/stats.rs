//! Whether operations measure.

/// What an operation does about its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Stats {
    /// They are not taken.
    #[default]
    Off,
    /// They are taken, on the data that the operation holds anyway.
    Taken,
}

impl Stats {
    /// Taken where `wanted`.
    pub fn when(wanted: bool) -> Self {
        if wanted { Self::Taken } else { Self::Off }
    }

    /// Whether they are taken.
    pub fn taken(self) -> bool {
        self == Self::Taken
    }
}
