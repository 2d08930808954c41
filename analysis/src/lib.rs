//! Growth accounting, prediction, factorization and bounds for attention logits.
//!
//! The mathematics of growthpath, free of any training framework: it takes `f64` matrices captured
//! at probe times ([`LayerState`]) and explains how attention grew between them.
//!
//! | module | what it answers | equations |
//! |---|---|---|
//! | [`accounting`] | what did queries, keys and features add to the growth, exactly | (3.1), (3.2), (6.2) |
//! | [`moments`], [`prediction`] | what growth do weights and second moments predict | (4.1), (4.2) |
//! | [`factors`] | step size, update geometry, residual energy, coherence, scale | (5.1), (5.2) |
//! | [`energy`], [`drift`] | which upstream write supplied the energy, moved the features | (5.3), (4.3) |
//! | [`paths`] | which factor explains the difference between two arms | (5.4) |
//! | [`mod@bound`] | how much growth was possible at all | (6.1), (6.3) |
//! | [`mod@maturity`] | has the residual basis settled | section 8 |
//! | [`mod@increment`] | size and directions of an update's first-order increment, the rival early warning | |
//! | [`reduced`] | the same from sums that a device worked out | |
//! | [`spectral`] | the same heads offline, from checkpoints | |
//! | [`statistics`] | over seeds, steps and sizes | |
//!
//! [`LayerProbe`] bundles sections 3 to 6 for one layer with shared work done once; it is what
//! a trainer calls at every probe.
//!
//! Inner products and RMS values run over the causal pairs `j <= i` of all probe sequences
//! together, per layer and head; logits are post-scale.

pub mod accounting;
pub mod arms;
pub mod bound;
pub mod compare;
pub mod diagnosis;
pub mod drift;
pub mod eigen;
pub mod energy;
pub mod factors;
pub mod increment;
pub mod interval;
pub mod maturity;
pub mod moments;
pub mod paths;
pub mod prediction;
pub mod probe_rows;
pub mod read;
pub mod reduced;
pub mod spectral;
pub mod statistics;

mod corners;
mod error;
mod inners;
mod layer;
mod linear;
mod logits;
mod pairs;
mod projection;
mod ranks;
mod recorded;
mod rotation;
mod rows;
mod scatter;
mod source;
mod sum;
mod writes;

pub use accounting::{HeadAccounting, HeadState, account, observe};
pub use bound::{HeadBound, bound, growth_bound};
pub use corners::GrowthParts;
pub use drift::{DriftSensitivity, drift_shares};
pub use energy::{EnergySensitivity, energy_shares};
pub use error::{AnalysisError, Incomparable, Result, undamaged};
pub use factors::{EndFactor, Factors, energy_bound, factorize};
pub use interval::{
    HeadInterval, LayerChange, LayerInterval, LayerProbe, layer_intervals, prepare_layers, probe_interval,
};
pub use layer::{Geometry, LayerState, Positions};
pub use maturity::{Basis, basis, maturity};
pub use moments::Moments;
pub use pairs::causal_pairs;
pub use paths::{GrowthPath, PathCell, PathSplit};
pub use prediction::{MetricChange, Prediction, predict};
pub use source::AttentionSource;
pub use sum::CompensatedSum;
pub use writes::{StreamNorm, WriteShares, stream_shares};
