//! One file a figure: each turns plain numbers into a [`Figure`](crate::Figure).

pub mod common;
pub mod diagnosis;
pub mod energy_shares;
pub mod entropy;
pub mod factors;
pub mod growth_bound;
pub mod growth_shares;
pub mod loss;
pub mod rate_scatter;
pub mod shapley;
pub mod spread_heatmap;
pub mod tightness;
pub mod write_energy;
