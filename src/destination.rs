//! Where what a user asked for may be written.

use std::path::{Component, Path, PathBuf};

use growthpath_trace::{Table, shown_path};

use crate::error::{Error, Result};

/// Folders of a run beside those of its tables.
const CHECKPOINTS: &str = "checkpoints";

/// Refuses a place among a run's own files: readers of its tables take whatever lies there for the run's.
///
/// # Errors
/// The folder, whose it is, and a place beside it.
pub fn outside_tables(path: &Path) -> Result<()> {
    let Some((run, folder)) = folder_of_run(path) else { return Ok(()) };
    let holds = if folder == CHECKPOINTS { "its checkpoints" } else { "one of its tables" };
    Err(Error::format(
        path,
        format!(
            "`{folder}` of the run {} is for {holds} alone; choose another --out, such as {}",
            shown_path(&run),
            shown_path(&run.join("figures"))
        ),
    ))
}

/// The run, as it was given where that can be told, and the folder of its files in which a path lies, whatever links lead
/// there.
fn folder_of_run(given: &Path) -> Option<(PathBuf, String)> {
    let path = std::path::absolute(given).ok()?;
    // What is not there yet is no link.
    let (there, rest) = path.ancestors().find_map(|a| {
        let there = a.canonicalize().ok()?;
        Some((there, path.strip_prefix(a).ok()?))
    })?;
    let mut whole = there;
    for part in rest.components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            part => whole.push(part),
        }
    }
    whole.ancestors().find_map(|folder| {
        let name = folder.file_name()?.to_str()?;
        let ours = name == CHECKPOINTS || Table::ALL.iter().any(|t| t.name() == name);
        let run = folder.parent().filter(|run| ours && run.join("run.json").is_file())?;
        let below = whole.strip_prefix(run).ok()?.components().count();
        let as_given = given.ancestors().nth(below).filter(|g| g.canonicalize().is_ok_and(|g| g == run));
        Some((as_given.unwrap_or(run).to_owned(), name.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_own_folders_are_known_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        std::fs::create_dir_all(at("run/heads")).unwrap();
        std::fs::create_dir_all(at("none/heads")).unwrap();
        std::fs::write(at("run/run.json"), "{}").unwrap();
        for ours in
            ["run/heads", "run/heads/x/y.png", "run/probe", "run/checkpoints/step-3", "no/../run/heads/y"]
        {
            assert!(outside_tables(&at(ours)).is_err(), "{ours}");
        }
        for other in ["run", "run/figures", "run/figures/loss", "none/heads", "heads"] {
            outside_tables(&at(other)).unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("run/heads"), at("link")).unwrap();
            let e = outside_tables(&at("link/new")).unwrap_err().to_string();
            assert!(e.contains("`heads` of the run") && e.contains("figures"), "{e}");
        }
    }
}
