//! The tables of a run, and the list from which everything that runs over all of them is generated. What their rows
//! are is in [`crate::rows`].

use serde::{Deserialize, Serialize};

/// Calls `$callback!` with `field: Variant(RowType) "folder" Keep, ...`, one entry a table.
macro_rules! with_tables {
    ($callback:ident) => {
        $callback! {
            steps: Steps(StepRow) "steps" Before,
            heads: Heads(HeadRow) "heads" Before,
            writes: Writes(WriteRow) "writes" Before,
            evals: Evals(EvalRow) "evals" Through,
            eval_losses: EvalLosses(EvalLossRow) "eval_losses" Through,
            probe: Probe(ProbeRow) "probe" Through,
            probe_layers: ProbeLayers(ProbeLayerRow) "probe_layers" Through,
            shares: Shares(ShareRow) "shares" Through,
            maturity: Maturity(MaturityRow) "maturity" Through,
            settling: Settling(SettlingRow) "settling" Nothing,
            reliance: Reliance(RelianceRow) "reliance" Through,
        }
    };
}
pub(crate) use with_tables;

/// Which rows a resume at step `s` keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Rows with `step < s`: what is recorded while a step is done.
    Before,
    /// Rows with `step <= s`: what is measured between steps, on the weights that the checkpoint holds.
    Through,
    /// None: what is written when the run ends.
    Nothing,
}

impl Keep {
    /// Whether a row of `row_step` stays when the run is resumed at `step`.
    pub const fn keeps(self, row_step: u32, step: u32) -> bool {
        match self {
            Self::Before => row_step < step,
            Self::Through => row_step <= step,
            Self::Nothing => false,
        }
    }
}

macro_rules! define_tables {
    ($($field:ident: $variant:ident($row:ident) $folder:literal $keep:ident,)+) => {
        /// A table of a run; each has a folder of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Table {
            $(#[doc = concat!("Rows of [`", stringify!($row), "`](crate::rows::", stringify!($row), "), in folder `", $folder, "`.")] $variant,)+
        }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Name of the table and of its folder.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $folder),+ }
            }

            /// Which rows a resume keeps.
            pub const fn keep(self) -> Keep {
                match self { $(Self::$variant => Keep::$keep),+ }
            }
        }
    };
}
with_tables!(define_tables);

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
