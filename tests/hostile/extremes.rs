//! Honest runs at the edges of float32 pass every check, and so do the last rows of a run that diverged.

use crate::support::*;

#[test]
fn honest_extremes_raise_no_alarm() {
    let d = Dir::new();
    for (i, more) in [
        &["--clip", "1e-45"][..],
        &["--clip", "1e-30"],
        &["--set", "init_std=1e-8"],
        &["--set", "init_std=1e-12", "--preset", "llama"],
        &["--set", "init_std=1e-20"],
        &["--set", "init_std=1e-30"],
        &["--set", "init_std=1e-30", "--preset", "llama"],
        &["--set", "init_std=3"],
        &["--lr", "1e-40"],
        &["--telemetry", "off"],
        &["--telemetry", "7", "--intervene", "upper-qk", "--hold", "adaptive"],
        &["--preset", "llama", "--set", "qk_norm=true"],
        &["--set", "layers=1"],
        &["--probe", "never"],
    ]
    .into_iter()
    .enumerate()
    {
        let run = format!("run{i}");
        d.ok(&train(&run, "40", more));
        let o = d.run(&["verify", &run]);
        let text = String::from_utf8_lossy(&o.stdout);
        assert!(o.status.success() && text.contains("all checks hold"), "{more:?}: {text}");
    }
}

#[test]
fn a_diverged_run_verifies_to_its_last_row() {
    let d = Dir::new();
    for (i, lr) in ["1e30", "1e10", "300", "1e5"].into_iter().enumerate() {
        for optimizer in ["sgd", "adamw"] {
            let run = format!("run{i}-{optimizer}");
            let o = d.run(&train(&run, "60", &["--lr", lr, "--clip", "0", "--optimizer", optimizer]));
            let code = o.status.code();
            assert!(code == Some(0) || code == Some(1), "{}", String::from_utf8_lossy(&o.stderr));
            let o = d.run(&["verify", &run]);
            let text = String::from_utf8_lossy(&o.stdout);
            assert!(text.contains("all checks hold"), "{lr} {optimizer}: {text}");
        }
    }
}
