//! The lags over which maturity is measured (section 8).

use super::config::TrainConfig;

/// The maturity lags of a run, in steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lags {
    /// The one that `--maturity-lag` asks for.
    pub main: u32,
    /// Half of it, itself and twice: each at least 1, distinct, ascending.
    pub all: Vec<u32>,
}

impl Lags {
    /// The lags of `config`.
    pub fn new(config: &TrainConfig) -> Self {
        let main = ((config.probe.maturity_lag * f64::from(config.steps)).round() as u32).max(1);
        let mut all = vec![main.div_ceil(2), main, 2 * main];
        all.dedup();
        Self { main, all }
    }
}
