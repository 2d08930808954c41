//! The one error type of the crate.

/// Everything that can go wrong here. Messages name the thing at fault and the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The heads, head width or positions make no sense together.
    #[error("geometry: {0}")]
    Geometry(String),

    /// A matrix or a list has another shape than its partners ask for.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The matrix or list at fault.
        what: String,
        /// What would fit.
        expected: String,
        /// What was given.
        found: String,
    },

    /// An input holds NaN or an infinity.
    #[error("{what} holds a value that is not finite at row {row}, column {col}; did training diverge?")]
    NotFinite {
        /// The matrix at fault.
        what: String,
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        col: usize,
    },

    /// A step size is negative or not finite.
    #[error("step size of head {head} is {value}; it must be finite and not negative")]
    StepSize {
        /// Index into the list of step sizes.
        head: usize,
        /// The value given.
        value: f64,
    },

    /// A factorization cell cannot be used in an arm-against-arm split.
    #[error("cell {index} of arm {arm}: {field} is {value}; drop this cell from both arms")]
    Cell {
        /// Index of the cell.
        index: usize,
        /// `A` or `B`.
        arm: char,
        /// Name of the factor.
        field: &'static str,
        /// The value given.
        value: f64,
    },

    /// A matrix decomposition did not converge.
    #[error("{what}: the decomposition did not converge; the matrix may hold extreme values")]
    Decomposition {
        /// What was being decomposed.
        what: String,
    },

    /// A statistic was asked of data that cannot give it.
    #[error("statistics: {0}")]
    Statistics(String),

    /// A saved trace cannot be read.
    #[error(transparent)]
    Trace(#[from] growthpath_trace::Error),

    /// A saved trace has no rows of the kind that was asked about.
    #[error("run {run}: nothing to analyse: {what}")]
    NothingToAnalyse {
        /// The run directory.
        run: String,
        /// What is missing and the mend.
        what: String,
    },

    /// A window of steps that holds no step.
    #[error("window {start}..{end} holds no step; give A..B with A below B")]
    EmptyWindow {
        /// First step.
        start: u32,
        /// First step past the window.
        end: u32,
    },

    /// Two runs that cannot be set side by side.
    #[error(transparent)]
    Incomparable(#[from] Box<Incomparable>),

    /// A probe that is not one row for each layer and head.
    #[error(
        "run {run}: the probe at step {step} does not hold one row for each of {layers} layers and {heads} heads; verify the run, or record it again"
    )]
    BrokenProbe {
        /// The run's name.
        run: String,
        /// Steps done at the probe.
        step: u32,
        /// Layers that the run has.
        layers: usize,
        /// Heads of a layer.
        heads: usize,
    },

    /// A group of layers that does not exist.
    #[error("`{given}` is no group of layers; use upper, lower or all")]
    UnknownLayers {
        /// What was asked for.
        given: String,
    },

    /// A threshold outside its range.
    #[error("threshold {name} is {value}; it must be {range}")]
    Threshold {
        /// Its name.
        name: &'static str,
        /// The value given.
        value: f64,
        /// What would do.
        range: &'static str,
    },
}

/// Why two runs cannot be set side by side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the runs cannot be compared: {what} is {a} in {run_a}, but {b} in {run_b}; {mend}")]
pub struct Incomparable {
    /// What differs.
    pub what: String,
    /// Name of the first run.
    pub run_a: String,
    /// Its value.
    pub a: String,
    /// Name of the second run.
    pub run_b: String,
    /// Its value.
    pub b: String,
    /// The mend.
    pub mend: String,
}

impl AnalysisError {
    /// Whether a file is damaged or incomplete, rather than without anything to say.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Trace(_) | Self::BrokenProbe { .. })
    }
}

/// What a run says, `None` where it has nothing to say of the kind; damage stays an error.
///
/// # Errors
/// Those of [`AnalysisError::is_damage`].
pub fn undamaged<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.is_damage() => Err(e),
        Err(_) => Ok(None),
    }
}

/// Result with this crate's [`AnalysisError`].
pub type Result<T> = std::result::Result<T, AnalysisError>;

/// Short form for shape errors.
pub(crate) fn shape(
    what: impl Into<String>,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> AnalysisError {
    AnalysisError::Shape { what: what.into(), expected: expected.to_string(), found: found.to_string() }
}
