//! `--launcher slurm`: write, do not train.

use std::path::Path;

use super::super::output;
use super::args::Args;
use super::study_run::StudyRun;
use crate::error::{Error, Result};
use crate::study::slurm::{Script, files};

/// Write the job arrays, the collecting step and the script that submits them.
pub fn write(runs: &[StudyRun], plan: &Path, out: &Path, args: &Args) -> Result<()> {
    let absolute = |p: &Path| std::path::absolute(p).map_err(Error::io(p));
    let named = |leads: bool| {
        let mine = runs.iter().filter(move |r| r.job.like.is_none() == leads);
        mine.map(|r| r.name.clone()).collect::<Vec<_>>()
    };
    let script = Script {
        program: std::env::current_exe().map_err(Error::io("this program"))?,
        working: std::env::current_dir().map_err(Error::io("the current directory"))?,
        plan: absolute(plan)?,
        out: absolute(out)?,
        first: named(true),
        then: named(false),
        threads: args.threads.unwrap_or(1),
        device: args.device.name().to_owned(),
        options: args.sbatch.clone(),
    };
    let folder = out.join("slurm");
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    for (name, text) in files(&script) {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::io(&path))?;
    }
    output::print(&format!(
        "{} runs as job arrays in {}\nnext: bash {}/submit.sh    # the tables are made when all runs have ended\n",
        runs.len(),
        folder.display(),
        folder.display()
    ))
}
