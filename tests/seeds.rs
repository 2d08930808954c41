//! Differences between runs and between arms over seeds, as their user meets them.

use assert_cmd::Command;
use growthpath_analysis::statistics::estimate;
use growthpath_trace::{EvalLossRow, Run};
use serde_json::Value;

const PLAN: &str = r#"
flags = ["--size", "nano", "--set", "layers=2", "--set", "context=32", "--steps", "12", "--eval-every", "4", "--probe-every", "6"]
seeds = [1, 2, 3]
compare = [["plain", "slow"], ["plain", "wild"]]

[[arms]]
name = "plain"

[[arms]]
name = "slow"
flags = ["--lr", "0.0001"]

[[arms]]
name = "wild"
flags = ["--lr", "1e30"]
"#;

fn growthpath(dir: &std::path::Path, args: &[&str]) -> String {
    let o = Command::cargo_bin("growthpath").unwrap().current_dir(dir).args(args).output().unwrap();
    assert!(o.status.success(), "{args:?}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8(o.stdout).unwrap()
}

#[test]
fn a_study_says_what_its_seeds_can_tell() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("plan.toml"), PLAN).unwrap();
    let text = growthpath(dir, &["study", "plan.toml", "--quiet"]);

    // Every evaluation has the losses of its sequences, and their mean is its loss.
    let run = Run::open(dir.join("plan/plain-seed1")).unwrap();
    let (evals, each) = (run.evals().unwrap(), run.read::<EvalLossRow>(..).unwrap());
    assert!(evals.len() >= 3);
    for e in &evals {
        let of: Vec<f64> = each.iter().filter(|l| l.step == e.step).map(|l| l.loss).collect();
        assert_eq!(of.len(), e.sequences as usize);
        // The same float64 sum, perhaps in another order.
        assert!((of.iter().sum::<f64>() / of.len() as f64 - e.loss).abs() < 1e-12 * e.loss);
    }

    let c: Value =
        serde_json::from_str(&growthpath(dir, &["compare", "plan/plain-seed1", "plan/slow-seed1", "--json"]))
            .unwrap();
    let (loss, tokens) = (&c["final_loss"], &c["token_efficiency"]);
    assert_eq!(loss["pairing"], "paired");
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("{v} in {c}"));
    // The error is that of the paired differences in the tables.
    let slow = Run::open(dir.join("plan/slow-seed1")).unwrap().read::<EvalLossRow>(..).unwrap();
    let at_end = |l: &&EvalLossRow| l.step == 12;
    let pairs: Vec<f64> = each
        .iter()
        .filter(at_end)
        .zip(slow.iter().filter(at_end))
        .map(|(a, b)| {
            assert_eq!(a.sequence, b.sequence);
            b.loss - a.loss
        })
        .collect();
    let error = estimate(&pairs).error;
    assert!((number(&loss["difference_stderr"]) - error).abs() <= 1e-12 * error);
    let (low, high) =
        (number(&loss["difference_interval"]["low"]), number(&loss["difference_interval"]["high"]));
    assert!(low < number(&loss["difference"]) && number(&loss["difference"]) < high);
    let log = (number(&tokens["tokens_b"]) / number(&tokens["tokens_a"])).ln();
    assert!((number(&tokens["log_token_ratio"]) - log).abs() < 1e-12);
    assert!(c.to_string().find("fraction_saved").is_none());

    // A thirtieth of the learning rate: the slow arm learns next to nothing in 12 steps, and A is there sooner.
    let said = growthpath(dir, &["compare", "plan/plain-seed1", "plan/slow-seed1"]);
    assert!(said.contains("paired sequences") && said.contains("to the worse final loss"), "{said}");
    let itself = growthpath(dir, &["compare", "plan/plain-seed1", "plan/plain-seed1"]);
    assert!(itself.contains("noise, it covers 0") && itself.contains("noise, its 95 % interval"), "{itself}");

    // Number of seeds, the test's least p, and what was left out stand in the study's tables.
    for words in [
        "over 3 seeds, 3 of them pairs of runs of the same seed",
        "log_token_ratio",
        "sign-flip p",
        "below 0.05 from 6 seeds on",
        "0 of 3 seeds",
        "seed 2 (wild diverged)",
    ] {
        assert!(text.contains(words), "`{words}` is missing in\n{text}");
    }
    let row = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).split_whitespace().collect::<Vec<_>>()
    };
    let difference = row("val_loss_difference");
    assert_eq!(difference[1], "3");
    assert!(difference.contains(&"0.2500"), "{difference:?}");
    assert!(row("wild").contains(&"0"));
}
