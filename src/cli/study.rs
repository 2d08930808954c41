//! `growthpath study`: arms x seeds from a plan, then tables, figures and a report.

mod args;
mod board;
mod children;
mod collect;
mod flags;
mod lines;
mod runs;
mod slurm;
mod study_run;
mod training;

use std::path::Path;

use growthpath_trace::{RunLock, disk, shown_path};

pub use self::args::Args;
pub use self::flags::parse_flags;
pub use self::training::{mended, train_all};

use self::args::Launcher;
use self::board::Board;
use super::output;
use super::progress::Show;
use super::train::set_threads;
use crate::destination::outside_tables;
use crate::error::{Error, Result};
use crate::study::{Plan, plan};
use crate::train::stop;

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    if args.launcher != Launcher::Slurm && !args.sbatch.is_empty() {
        return Err(Error::usage("--sbatch has no effect here: it goes with --launcher slurm"));
    }
    if args.launcher == Launcher::Slurm && (args.jobs != 1 || args.json) {
        return Err(Error::usage(
            "--launcher slurm trains nothing here: leave --jobs and --json out (Slurm decides how many runs go at a time)",
        ));
    }
    let Some(path) = args.plan.as_ref().filter(|_| !args.example) else {
        return output::print(plan::EXAMPLE);
    };
    let file = Plan::read(path)?;
    let mut plan = file.clone();
    plan.flags.extend(args.flags.iter().cloned());
    let out = args.out.clone().unwrap_or_else(|| path.with_extension(""));
    let blamed = |e| blamed(e, path, &file, &out);
    let mut runs = runs::of(&plan, &out).map_err(blamed)?;
    outside_tables(&out)?;
    if args.collect {
        return collect::run(&plan, &out, args.json);
    }
    stop::watch();
    let again = format!("growthpath study {} --out {}", shown_path(path), shown_path(&out));
    if let Some(name) = &args.only {
        set_threads(args.threads)?;
        let ended = runs::only(&mut runs, name, &out, args);
        return ended.map_err(|e| mended(e, &format!("{again} --only {name}")));
    }
    if args.jobs == 0 {
        return Err(Error::usage("--jobs must be at least 1"));
    }
    let kept = args.resume || args.launcher == Launcher::Slurm;
    if out.exists() && !kept && out.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Err(Error::format(&out, "exists already; go on with --resume or choose another --out"));
    }
    runs.iter().try_for_each(|r| r.job.check()).map_err(blamed)?;
    runs.iter().try_for_each(|r| r.job.agrees_with_its_folder())?;
    disk::create_dirs(&out)?;
    let _lock = RunLock::take(&out)?;
    let snapshot = plan.save(&out)?;
    if args.launcher == Launcher::Slurm {
        return slurm::write(&runs, &snapshot, &out, args);
    }
    let board = Board::new(&runs, Show::unless(args.quiet));
    let ended = if args.jobs == 1 {
        set_threads(args.threads)?;
        runs::one_by_one(&mut runs, args, &board)
    } else {
        children::side_by_side(&runs, &snapshot, &out, args, &board)
    };
    board.close();
    ended.map_err(|e| mended(e, &format!("{again} --resume")))?;
    collect::run(&plan, &out, args.json)
}

/// What is wrong with a plan's flags stands in its file, not on the command line, unless the plan alone is in order.
fn blamed(e: Error, path: &Path, file: &Plan, out: &Path) -> Error {
    let Error::Usage(message) = &e else { return e };
    let alone = runs::of(file, out).and_then(|runs| runs.iter().try_for_each(|r| r.job.check()));
    if matches!(alone, Err(Error::Usage(_))) { Error::format(path, message) } else { e }
}
