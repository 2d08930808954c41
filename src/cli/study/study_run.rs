//! One run of a study, for whoever trains, shows or submits it.

use std::path::PathBuf;

use crate::study::Job;

/// When a run was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// Just now.
    Now,
    /// Before: it was found complete.
    Before,
}

/// One run of a study.
#[derive(Debug, Clone)]
pub struct StudyRun {
    /// `ARM-seedN`: its folder's name.
    pub name: String,
    /// Where its error is kept if it fails.
    pub failure: PathBuf,
    /// What to train.
    pub job: Job,
}
