//! Options that several verbs share.

use std::path::{Path, PathBuf};

use crate::efficientnet::{EfficientNet, Size};
use crate::error::{Error, Result};

/// Where the frozen networks are, and how many threads work.
#[derive(Clone, Debug, clap::Args)]
pub struct Machine {
    /// Folder of the frozen networks (see gan/scripts/fetch-weights.sh)
    #[arg(long, value_name = "DIR", default_value = "gan/weights")]
    pub weights: PathBuf,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

impl Machine {
    /// Set the number of threads.
    pub fn start(&self) -> Result<()> {
        match self.threads {
            Some(0) => Err(Error::usage("--threads 0: choose at least 1")),
            Some(n) => rayon::ThreadPoolBuilder::new()
                .num_threads(n)
                .build_global()
                .map_err(|e| Error::usage(format!("--threads {n}: {e}"))),
            None => Ok(()),
        }
    }

    /// Load a frozen network.
    pub fn network(&self, size: Size) -> Result<EfficientNet> {
        EfficientNet::load(&self.weights, size, candle_core::DType::F32)
    }
}

/// An empty or absent folder to write into.
pub fn fresh(folder: &Path, mend: &str) -> Result<()> {
    if folder.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Err(Error::format(folder, format!("not empty: {mend}")));
    }
    std::fs::create_dir_all(folder).map_err(Error::io(folder))
}
