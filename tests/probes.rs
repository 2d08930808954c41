//! When probes are taken and what a run keeps of them, through the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use growthpath_trace::{
    EvalLossRow, EvalRow, MaturityRow, ProbeRow, RelianceRow, Row, Run, SettlingRow, Table,
};
use tempfile::TempDir;

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn run(&self, name: &str) -> Run {
        Run::open(self.path(name)).unwrap()
    }
    fn output(&self, args: &[&str]) -> (i32, String, String) {
        let o =
            Command::cargo_bin("growthpath").unwrap().current_dir(self.0.path()).args(args).output().unwrap();
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        (o.status.code().unwrap(), text(o.stdout), text(o.stderr))
    }
    fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.output(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        out
    }
    fn train(&self, out: &str, steps: &str, more: &[&str]) -> String {
        let mut args = vec!["train", "--out", out, "--steps", steps, "--quiet", "--size", "nano"];
        args.extend(["--set", "layers=2", "--set", "context=32", "--warmup", "1", "--lr", "1e-2"]);
        args.extend(more);
        self.ok(&args)
    }
    fn fails(&self, says: &[&str], more: &[&str]) {
        let mut args = vec!["train", "--out", "never-made", "--steps", "9", "--size", "nano"];
        args.extend(more);
        let (code, _, err) = self.output(&args);
        assert_eq!(code, 2, "{args:?}: {err}");
        says.iter().for_each(|s| assert!(err.contains(s), "{args:?}: `{s}` is missing in: {err}"));
    }
}

fn steps<R: Row>(run: &Run) -> Vec<u32> {
    run.read::<R>(..).unwrap().iter().map(Row::step).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Enough for probes between those that are taken whatever happens.
const AUTO: &[&str] = &["--probe", "auto", "--probe-budget", "0.6", "--reliance-sequences", "4"];

#[test]
fn probes_follow_the_logits_within_the_budget_and_the_program_says_what_they_took() {
    let d = Dir::new();
    let said = d.train("a", "60", AUTO);
    assert!(said.contains("% of the time") && said.contains("(budget 60 %)"), "{said}");
    let share = said.split("counted from the shapes, ").nth(1).and_then(|s| s.split(' ').next()).unwrap();
    let share: f64 = share.parse().unwrap();
    assert!(share > 10.0 && share <= 60.0, "{said}");
    let run = d.run("a");
    let times = steps::<ProbeRow>(&run);
    assert!(times.first() == Some(&0) && times.last() == Some(&60), "{times:?}");
    // Denser in the first third, where attention grows, than in the two after it, which get what is left of the budget.
    let early = times.iter().filter(|t| **t <= 20).count();
    assert!(2 * early > 3 * (times.len() - early) / 2 && times.len() < 60, "{times:?}");
    let said = d.train("blind", "60", &[AUTO, &["--telemetry", "off"]].concat());
    assert!(said.contains("--telemetry off"), "{said}");
    let said = d.train("short", "2", &["--probe", "auto"]);
    assert!(said.contains("so short a run"), "{said}");
    assert_eq!(steps::<ProbeRow>(&d.run("short")), [0, 2]);
    assert!(d.ok(&["verify", "a"]).contains("all checks hold"));
}

#[test]
fn maturity_is_taken_over_exact_lags_and_settling_at_the_end() {
    let d = Dir::new();
    d.train("a", "60", &[AUTO, &["--maturity-lag", "0.1"]].concat());
    let run = d.run("a");
    let rows = run.read::<MaturityRow>(..).unwrap();
    let lags: BTreeSet<u32> = rows.iter().map(|r| r.lag).collect();
    assert_eq!(lags.into_iter().collect::<Vec<_>>(), [3, 6, 12]);
    assert!(rows.iter().all(|r| r.step >= r.lag && (0.0..=1.0 + 1e-6).contains(&r.maturity)));
    let last: Vec<u32> = rows.iter().filter(|r| r.step == 60).map(|r| r.lag).collect();
    assert_eq!(last, [3, 6, 12, 3, 6, 12], "the last step has every lag, in both layers");
    let settling = run.read::<SettlingRow>(..).unwrap();
    assert!(settling.len() >= 2 * 4 && settling.iter().all(|r| r.step < 60));
    // The nearer the end, the nearer to the final moment, by and large.
    let of = |step| settling.iter().filter(|r| r.step == step).map(|r| r.final_cosine).sum::<f64>();
    let at = steps::<SettlingRow>(&run);
    assert!(of(at[at.len() - 1]) > of(at[0]), "{settling:?}");
}

#[test]
fn a_run_resumed_between_probes_has_the_same_bits() {
    let d = Dir::new();
    let more = [
        AUTO,
        &[
            "--checkpoint-every",
            "7",
            "--maturity-lag",
            "0.1",
            "--intervene",
            "upper-qk",
            "--hold",
            "adaptive",
        ],
    ]
    .concat();
    d.train("whole", "60", &more);
    for (cut, keep) in [("early", 14), ("late", 49)] {
        d.train(cut, "60", &more);
        assert!(!steps::<ProbeRow>(&d.run(cut)).contains(&49), "49 is to lie between probes");
        for step in (7..=60).filter(|s| *s > keep) {
            let _ = std::fs::remove_dir_all(d.path(&format!("{cut}/checkpoints/step-{step}")));
        }
        growthpath_trace::RunInfo::rewrite(&d.path(cut), |i| i["status"] = "running".into()).unwrap();
        d.ok(&["train", "--resume", "--out", cut, "--quiet"]);
        for t in [
            "heads",
            "probe",
            "probe-layers",
            "shares",
            "evals",
            "eval-losses",
            "maturity",
            "settling",
            "reliance",
        ] {
            let table = |run: &str| d.ok(&["export", run, "--table", t]);
            assert!(table("whole") == table(cut), "{t}, resumed at {keep}");
        }
        let model =
            |run: &str| std::fs::read(d.path(run).join("checkpoints/step-60/model.safetensors")).unwrap();
        assert!(model("whole") == model(cut));
        assert!(d.ok(&["verify", cut]).contains("all checks hold"));
    }
}

#[test]
fn arms_share_the_probe_times_of_the_run_that_is_named() {
    let d = Dir::new();
    d.train("control", "40", AUTO);
    let like = &["--probe-like", "control", "--probe-budget", "0.6", "--reliance-sequences", "4"];
    d.train("arm", "40", &[like.as_slice(), &["--preset", "llama", "--checkpoint-every", "9"]].concat());
    assert_eq!(steps::<ProbeRow>(&d.run("control")), steps::<ProbeRow>(&d.run("arm")));
    d.ok(&["compare", "control", "arm", "--json"]);
    d.fails(&["control", "40", "--steps"], &["--probe-like", "control"]);
    d.train("none", "4", &["--probe", "never"]);
    assert_eq!(d.run("none").rows(Table::Probe) + d.run("none").rows(Table::Maturity), 0);
    d.fails(&["none", "no probe"], &["--probe-like", "none"]);

    let plan = "flags = [\"--size\", \"nano\", \"--set\", \"layers=2\", \"--steps\", \"20\", \"--lr\", \"1e-2\", \
                \"--probe-budget\", \"0.5\"]\nseeds = [1, 2]\n[[arms]]\nname = \"gpt\"\n[[arms]]\nname = \"slow\"\n\
                flags = [\"--intervene\", \"upper-qk\"]\n";
    std::fs::write(d.path("plan.toml"), plan).unwrap();
    d.ok(&["study", "plan.toml", "--out", "study", "--quiet"]);
    for seed in [1, 2] {
        let times = |arm: &str| steps::<ProbeRow>(&d.run(&format!("study/{arm}-seed{seed}")));
        assert_eq!(times("gpt"), times("slow"));
    }
    d.ok(&["study", "plan.toml", "--out", "study", "--quiet", "--resume"]);
}

#[test]
fn tokens_and_checkpoints_of_every_probe_are_kept() {
    let d = Dir::new();
    d.train("a", "12", &["--probe-every", "5", "--checkpoint-probes", "--reliance-sequences", "3"]);
    let run = d.run("a");
    let times = steps::<ProbeRow>(&run);
    assert_eq!(times, [0, 1, 2, 4, 5, 8, 10, 12]);
    for t in &times {
        assert!(d.path(&format!("a/checkpoints/step-{t}/state.json")).is_file(), "{t}");
    }
    let bytes = std::fs::read(d.path("a/tokens.safetensors")).unwrap();
    assert_eq!(run.info().extra["tokens_blake3"], blake3::hash(&bytes).to_hex().to_string());
    let tokens =
        candle_core::safetensors::load(d.path("a/tokens.safetensors"), &candle_core::Device::Cpu).unwrap();
    let shape = |name: &str| tokens[name].dims().to_vec();
    assert_eq!(shape("probe.inputs"), [4, 32]);
    assert_eq!(shape("reliance.targets"), [3, 32]);
    assert_eq!(shape("evaluation.inputs"), [64, 32]);
    let ids = |name: &str| tokens[name].to_vec2::<u32>().unwrap();
    let (inputs, targets) = (ids("evaluation.inputs"), ids("evaluation.targets"));
    assert!(inputs.iter().zip(&targets).all(|(i, t)| i[1..] == t[..31]));

    // Losses of single sequences average to the evaluation's.
    let evals = run.read::<EvalRow>(..).unwrap();
    for e in &evals {
        let each = run.read::<EvalLossRow>(e.step..=e.step).unwrap();
        let mean = each.iter().map(|r| r.loss).sum::<f64>() / each.len() as f64;
        assert_eq!(each.len(), 64);
        assert!((mean - e.loss).abs() <= 1e-12 * e.loss, "{mean} {}", e.loss);
    }
    let default = Dir::new();
    default.train("b", "12", &["--probe-every", "5"]);
    let kept: Vec<_> = std::fs::read_dir(default.path("b/checkpoints")).unwrap().collect();
    assert_eq!(kept.len(), 1, "a run that does not ask keeps its last checkpoint only");
}

#[test]
fn reliance_of_the_halves_is_dense_early() {
    let d = Dir::new();
    d.train("a", "60", &["--probe-every", "1", "--reliance-sequences", "2"]);
    let rows = d.run("a").read::<RelianceRow>(..).unwrap();
    let halves: BTreeSet<u32> = rows.iter().filter(|r| r.scope == 2).map(|r| r.step).collect();
    let halves: Vec<u32> = halves.into_iter().collect();
    assert!(halves.windows(2).all(|w| w[1] - w[0] <= (w[0] / 4).max(1)), "{halves:?}");
}

#[test]
fn values_that_cannot_be_used_are_named() {
    let d = Dir::new();
    d.fails(&["--probe-threshold", "positive"], &["--probe-threshold", "0"]);
    d.fails(&["--probe-budget", "at most 1"], &["--probe-budget", "10"]);
    d.fails(&["--maturity-lag"], &["--maturity-lag", "-1"]);
    d.fails(&["--probe-every", "--probe-like"], &["--probe-every", "3", "--probe-like", "x"]);
    d.fails(&["--probe"], &["--probe", "sometimes"]);
    d.fails(
        &["adaptive", "--probe auto"],
        &["--intervene", "upper-qk", "--hold", "adaptive", "--probe", "never"],
    );
    let (code, _, err) = d.output(&["train", "--out", "x", "--size", "nano", "--probe-like", "nowhere"]);
    assert!(code == 1 && err.contains("nowhere"), "{err}");
    assert!(!Path::new(&d.path("never-made")).exists());
}

/// Captures follow each run's own budget: what they leave open of one trajectory may differ, and must not contradict.
#[test]
fn one_trajectory_captured_twice_settles_in_brackets_that_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let ok = |args: &[&str]| {
        let o = assert_cmd::Command::cargo_bin("growthpath").unwrap().current_dir(&dir).args(args).output();
        let o = o.unwrap();
        assert!(o.status.success(), "{args:?}: {}", String::from_utf8_lossy(&o.stderr));
        String::from_utf8(o.stdout).unwrap()
    };
    let nano = ["train", "--quiet", "--size=nano", "--steps=20", "--set=context=32", "--out"];
    for (out, more) in [
        ("every", &["--probe-every=1"][..]),
        ("fifth", &["--probe-every=5"]),
        ("poor", &["--probe-like=fifth", "--probe-budget=0.05"]),
        ("rich", &["--probe-like=fifth", "--probe-budget=1"]),
    ] {
        ok(&[&nano[..], &[out], more].concat());
    }
    let found: Vec<serde_json::Value> = ["every", "fifth", "poor", "rich"]
        .iter()
        .map(|r| serde_json::from_str(&ok(&["analyze", r, "--json"])).unwrap())
        .collect();
    let loss = |a: &serde_json::Value| a["train_loss_last"].as_f64().unwrap().to_bits();
    assert!(found.iter().all(|a| loss(a) == loss(&found[0])), "one trajectory");
    for what in ["maturity", "settling"] {
        let brackets: Vec<(u64, u64)> = found
            .iter()
            .map(|a| &a["diagnosis"][what])
            .filter_map(|b| Some((b["low"].as_u64()?, b["high"].as_u64()?)))
            .collect();
        assert!(brackets.len() >= 2, "{what}: {found:?}");
        let apart = |(a, b): (&(u64, u64), &(u64, u64))| a.1 <= b.0 || b.1 <= a.0;
        for pair in brackets.iter().flat_map(|a| brackets.iter().map(move |b| (a, b))) {
            assert!(!apart(pair), "{what}: {brackets:?}");
        }
    }
}
