//! Which layers a comparison is about.

use serde::Serialize;

use crate::error::{AnalysisError, Result};

/// Which layers a comparison is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layers {
    /// Layer >= L/2.
    Upper,
    /// Layer < L/2.
    Lower,
    /// Every layer.
    #[default]
    All,
}

impl Layers {
    /// Whether the group holds `layer` of `count` layers.
    pub const fn contains(self, layer: usize, count: usize) -> bool {
        match self {
            Self::Upper => layer >= count / 2,
            Self::Lower => layer < count / 2,
            Self::All => true,
        }
    }

    /// `upper`, `lower` or `all`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::All => "all",
        }
    }
}

impl std::str::FromStr for Layers {
    type Err = AnalysisError;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Upper, Self::Lower, Self::All];
        let found = known.into_iter().find(|l| l.name() == text);
        found.ok_or_else(|| AnalysisError::UnknownLayers { given: text.to_owned() })
    }
}
