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
    let compared = |b: &str| {
        let text = growthpath(dir, &["compare", "plan/plain-seed1", b]);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = compared("plan/slow-seed1");
    assert!(said.contains("paired sequences") && said.contains("to the worse final loss"), "{said}");
    let itself = compared("plan/plain-seed1");
    assert!(itself.contains("noise, it covers 0") && itself.contains("noise, its 95 % interval"), "{itself}");

    // Lines wrap at words.
    let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Noise is called noise, an arm that diverged is shown as such and left out of means and pairs.
    for words in [
        "slow against plain: ",
        "wild against plain: no seed in which both finished.",
        "Of 9 runs, 6 complete; 3 diverged",
        "Sign-flip tests cannot go below 0.250",
        "seed 2 (wild diverged after",
    ] {
        assert!(unwrapped.contains(words), "`{words}` is missing in\n{text}");
    }
    let sheet = std::fs::read_to_string(dir.join("plan/tables/data-pairs.csv")).unwrap();
    let mut lines = sheet.lines().map(|l| l.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let row = lines.find(|l| l[0] == "slow" && l[3] == "val_loss_difference").unwrap();
    let cell = |name: &str| row[head.iter().position(|h| *h == name).unwrap()];
    assert_eq!(cell("seeds"), "3");
    // Three differences of one sign: 2/2^3.
    assert_eq!((cell("sign_flip_p"), cell("sign_flip_least_p")), ("0.25", "0.25"));
    let ends: Vec<f64> = (1..=3)
        .map(|seed| {
            let last = |arm: &str| {
                let run = Run::open(dir.join(format!("plan/{arm}-seed{seed}"))).unwrap();
                run.evals().unwrap().last().unwrap().loss
            };
            last("slow") - last("plain")
        })
        .collect();
    let mean: f64 = cell("mean").parse().unwrap();
    assert!((mean - estimate(&ends).mean).abs() < 1e-12, "{mean} {ends:?}");
    let results: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("plan/study.json")).unwrap()).unwrap();
    // One pair has a p value, so Holm's adjustment leaves it as it is; the other has no seed.
    assert_eq!(results["pairs"][0]["loss"]["t_test"], results["pairs"][0]["loss_p_holm"]);
    assert!(results["pairs"][1]["loss_p_holm"].is_null());
}
