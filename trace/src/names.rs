//! Names of the files in a run directory.

/// The description of the run.
pub(crate) const RUN_FILE: &str = "run.json";
/// The list of its parts.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
