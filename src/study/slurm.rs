//! A study as Slurm job arrays: first the runs that others take their probe times from, then the others, then one job
//! that makes the tables, whatever became of the runs.

use std::path::{Path, PathBuf};

/// What the scripts are made of.
#[derive(Debug, Clone)]
pub struct Script {
    /// The program, as the nodes see it.
    pub program: PathBuf,
    /// Where data paths in the plan start from.
    pub working: PathBuf,
    /// The plan.
    pub plan: PathBuf,
    /// Directory of the study.
    pub out: PathBuf,
    /// Names of the runs that wait for none.
    pub first: Vec<String>,
    /// Names of the runs that take their probe times from one of the first.
    pub then: Vec<String>,
    /// Cores of each run.
    pub threads: usize,
    /// Value of `--device`.
    pub device: String,
    /// Options for `sbatch`, one string each.
    pub options: Vec<String>,
}

/// Quote for a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn path(p: &Path) -> String {
    quote(&p.display().to_string())
}

/// The files by name: `first.txt`, `then.txt` (run names, one a line), `run.sbatch`, `collect.sbatch`, `submit.sh`.
pub fn files(s: &Script) -> Vec<(&'static str, String)> {
    let list = |names: &[String]| names.iter().map(|n| format!("{n}\n")).collect::<String>();
    let mut files = vec![("first.txt", list(&s.first))];
    if !s.then.is_empty() {
        files.push(("then.txt", list(&s.then)));
    }
    files.extend([("run.sbatch", run(s)), ("collect.sbatch", collect(s)), ("submit.sh", submit(s))]);
    files
}

/// One task: the run whose name stands in the list's line of the task's number.
fn run(s: &Script) -> String {
    format!(
        "#!/usr/bin/env bash\n\
         #SBATCH --job-name=growthpath\n\
         #SBATCH --cpus-per-task={threads}\n\
         # usage: sbatch --array=1-N run.sbatch LIST; a task trains the run named in its line of LIST.\n\
         set -euo pipefail\n\
         cd {working}\n\
         name=$(sed -n \"${{SLURM_ARRAY_TASK_ID}}p\" \"$1\")\n\
         exec {program} study {plan} --out {out} --only \"$name\" --threads {threads} --device {device} --quiet\n",
        threads = s.threads,
        working = path(&s.working),
        program = path(&s.program),
        plan = path(&s.plan),
        out = path(&s.out),
        device = s.device,
    )
}

fn collect(s: &Script) -> String {
    format!(
        "#!/usr/bin/env bash\n\
         #SBATCH --job-name=growthpath-collect\n\
         set -euo pipefail\n\
         cd {}\n\
         exec {} study {} --out {} --collect\n",
        path(&s.working),
        path(&s.program),
        path(&s.plan),
        path(&s.out),
    )
}

fn submit(s: &Script) -> String {
    let options: String = s.options.iter().map(|o| format!(" {}", quote(o))).collect();
    let mut text = String::from(
        "#!/usr/bin/env bash\n\
         # Submits the study; prints the job numbers. Running it again trains what is not complete.\n\
         set -euo pipefail\n\
         cd \"$(dirname \"$0\")\"\n\
         mkdir -p logs\n",
    );
    let array = |list: &str, count: usize, after: &str| {
        format!(
            "sbatch --parsable{options}{after} --array=1-{count} --output=logs/%x-%A-%a.txt run.sbatch \"$PWD/{list}\""
        )
    };
    text += &format!("first=$({})\n", array("first.txt", s.first.len(), ""));
    // `afterany`: a run that fails stops none of the others, and the tables say so.
    let mut jobs = "$first".to_owned();
    if !s.then.is_empty() {
        text +=
            &format!("then=$({})\n", array("then.txt", s.then.len(), " --dependency=\"afterany:$first\""));
        jobs = "$first:$then".to_owned();
    }
    text += &format!(
        "collect=$(sbatch --parsable{options} --dependency=\"afterany:{jobs}\" --output=logs/%x-%j.txt collect.sbatch)\n\
         echo \"runs: {}; tables: $collect\"\n",
        jobs.replace(':', " ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script {
            program: "/opt/it's/growthpath".into(),
            working: "/data".into(),
            plan: "/s/plan.toml".into(),
            out: "/s".into(),
            first: vec!["gpt-seed1".into()],
            then: vec!["slow-seed1".into(), "llama-seed1".into()],
            threads: 4,
            device: "cpu".into(),
            options: vec!["--partition=a b".into()],
        }
    }

    #[test]
    fn scripts_name_what_they_run_and_survive_odd_paths() {
        let files = files(&script());
        let get = |name: &str| files.iter().find(|f| f.0 == name).map(|f| f.1.clone()).unwrap();
        assert_eq!(get("then.txt"), "slow-seed1\nllama-seed1\n");
        assert!(
            get("run.sbatch")
                .contains("'/opt/it'\\''s/growthpath' study '/s/plan.toml' --out '/s' --only \"$name\"")
        );
        assert!(get("run.sbatch").contains("#SBATCH --cpus-per-task=4"));
        assert!(get("collect.sbatch").ends_with("--collect\n"));
        let submit = get("submit.sh");
        assert!(submit.contains("'--partition=a b' --array=1-1"), "{submit}");
        assert!(submit.contains("--dependency=\"afterany:$first\" --array=1-2"), "{submit}");
        assert!(submit.contains("afterany:$first:$then"), "{submit}");
    }

    #[test]
    fn without_followers_there_is_one_array() {
        let mut s = script();
        s.then.clear();
        let files = files(&s);
        assert!(files.iter().all(|f| f.0 != "then.txt"));
        assert!(files.iter().all(|f| !f.1.contains("$then")));
    }
}
