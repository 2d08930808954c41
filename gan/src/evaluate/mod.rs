//! How far two sets of images are apart in a frozen network's features.
//!
//! The features are EfficientNet-lite1's, not Inception's: FD-lite1 is a Frechet distance, but its values are not to be
//! compared with any FID.

mod features;
mod frechet;
mod kid;

pub(crate) use features::sample;
pub use features::{Features, features_of, generated_features};
pub use frechet::frechet_distance;
pub use kid::{Kid, kernel_distance};

/// Both distances between two sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    /// Frechet distance on lite1 features.
    pub fd_lite1: f64,
    /// Kernel distance and its standard error.
    pub kid: Kid,
}

/// Distances between two sets of features.
pub fn distances(a: &Features, b: &Features) -> Distances {
    Distances { fd_lite1: frechet_distance(a, b), kid: kernel_distance(a, b) }
}
