//! What figures and report are made of, read once.

use growthpath_analysis::compare::{Comparison, Layers, compare};
use growthpath_analysis::diagnosis::{Diagnosis, Thresholds, diagnosis};
use growthpath_analysis::read::{Analysis, Series, analyze, series};
use growthpath_trace::Run;

use super::POINTS;
use crate::data::corpus::{EntropyRate, entropy_rate};
use crate::error::Result;

/// One run, read.
pub struct Arm {
    /// Name, unique among the runs shown together.
    pub name: String,
    /// The tables' summary.
    pub analysis: Analysis,
    /// The curves.
    pub series: Series,
    /// When it committed and settled; none for a run without probes.
    pub diagnosis: Option<Diagnosis>,
    /// The arm's configuration.
    pub config: serde_json::Value,
}

/// Runs read once, with their comparisons.
pub struct Material {
    /// The runs, in the order given.
    pub arms: Vec<Arm>,
    /// Second against first, for every pair that can be compared; else why it cannot.
    pub comparisons: Vec<((usize, usize), std::result::Result<Comparison, String>)>,
    /// The built-in language's entropy rate, where the runs were trained on it.
    pub rate: Option<EntropyRate>,
}

impl Material {
    /// Read runs; `pairs` index into them. The floor is known when all were trained on the built-in language.
    ///
    /// # Errors
    /// A run that cannot be read. A pair that cannot be compared is kept with its reason.
    pub fn read(runs: &[Run], pairs: &[(usize, usize)]) -> Result<Self> {
        let mut arms: Vec<Arm> = Vec::with_capacity(runs.len());
        for run in runs {
            let label = &run.info().label;
            let base = if label.is_empty() { run.dir().display().to_string() } else { label.clone() };
            let taken = |n: &str| arms.iter().any(|a| a.name == n);
            let seed = run.info().seeds.get("model").copied().unwrap_or(0);
            let mut name = base.clone();
            let mut i = 2;
            while taken(&name) {
                name = if i == 2 { format!("{base} (seed {seed})") } else { format!("{base} #{i}") };
                i += 1;
            }
            arms.push(Arm {
                name,
                analysis: analyze(run, None)?,
                series: series(run, POINTS)?,
                diagnosis: diagnosis(run, &Thresholds::default()).ok(),
                config: run.info().config.clone(),
            });
        }
        let comparisons = pairs
            .iter()
            .filter_map(|&(i, j)| {
                let c =
                    compare(runs.get(i)?, runs.get(j)?, Layers::All, 0..u32::MAX).map_err(|e| e.to_string());
                Some(((i, j), c))
            })
            .collect();
        let rate = runs.iter().all(on_built_in_bytes).then(entropy_rate);
        Ok(Self { arms, comparisons, rate })
    }
}

fn on_built_in_bytes(run: &Run) -> bool {
    let is = |key: &str, value: &str| run.info().config.pointer(key).and_then(|v| v.as_str()) == Some(value);
    is("/data/source", "built-in") && is("/tokenizer", "bytes")
}
