//! What the program answers to the mistakes that its users make, and what every verb's help says, as snapshots: a
//! change of any answer is seen. `INSTA_UPDATE=always cargo test --release --test mistakes` takes new ones; look at
//! the difference before committing it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use growthpath_figures::FIGURES;
use growthpath_kernels::activation::Activation;
use tempfile::TempDir;

fn program(folder: &Path, args: &[&str]) -> String {
    let o = Command::cargo_bin("growthpath")
        .unwrap()
        .current_dir(folder)
        .env("COLUMNS", "80")
        .args(args)
        .output()
        .unwrap();
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    let (out, err) = (text(&o.stdout), text(&o.stderr));
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    let shown: Vec<String> =
        args.iter().map(|a| if a.contains(' ') { format!("'{a}'") } else { (*a).to_owned() }).collect();
    // The lists of activations and of figures grow.
    let known: Vec<String> = Activation::ALL.iter().map(|a| format!("{a:?}").to_lowercase()).collect();
    let figures: Vec<&str> = FIGURES.iter().map(|f| f.name).collect();
    let err = err.replace(&known.join(", "), "ACTIVATIONS").replace(&figures.join(", "), "FIGURES");
    let code = o.status.code().unwrap();
    format!("$ growthpath {}\n{out}{err}[{code}]\n", shown.join(" "))
}

/// A folder with small runs: `a`, `b` (same arm, same seed), `deep`, `normed` (QK-norm), and texts.
struct Runs(TempDir);

impl Runs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let train = |out: &str, more: &[&str]| {
            let mut args = vec!["train", "--quiet", "--out", out, "--size", "nano", "--steps", "12"];
            args.extend(["--set", "layers=2", "--set", "context=32", "--probe-every", "3"]);
            args.extend(more);
            let answer = program(dir.path(), &args);
            assert!(answer.ends_with("[0]\n"), "{answer}");
        };
        train("a", &[]);
        train("b", &[]);
        train("deep", &["--set", "layers=3"]);
        train("normed", &["--set", "qk_norm=true"]);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        for (name, bytes) in [
            ("latin.txt", &b"caf\xe9 au lait"[..]),
            ("empty.txt", b""),
            ("short.txt", b"ten bytes."),
            ("plan.toml", b"flags = [\"--size=nano\"]\nseeds = [1]\n[[arms]]\nname = \"gpt\"\n"),
            ("quiet.toml", b"flags = [\"--quiet\"]\nseeds = [1]\n[[arms]]\nname = \"gpt\"\n"),
        ] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// A command line each, split at spaces.
const MISTAKES: &[&str] = &[
    // Names.
    "trian --out x",
    "report a --out -",
    "plot a --figure loss --out -",
    "export a --to jsonl --out -",
    "train --out x --preset gptt",
    "train --out x --preset lama",
    "train --out x --preset bert",
    "train --out x --size mircro",
    "train --out x --set widht=64",
    "train --out x --set ffn=gegl",
    "train --out x --set layers",
    "train --out x --set heads=5",
    "train --out x --set width=wide",
    "train --out x --tokenizer words",
    "train --out x --tokenizer bpe:abc",
    "train --out x --intervene upper",
    "train --out x --prest gpt",
    "plot a --figure gorwth-shares",
    "plot a --figure loss,atention",
    "export a --table head",
    // Values.
    "train --out x --lr -1",
    "train --out x --lr fast",
    "train --out x --steps 0",
    "train --out x --hold 0.1",
    "train --out x --intervene upper-qk --hold 3",
    "train --out x --telemetry sometimes",
    "train --out x --dump-step 99 --steps 10",
    "train --out x --probe-budget 2",
    "train --out x --threads 0",
    "analyze a --window 9..3",
    "analyze a --window 100",
    "analyze a --window 500..600",
    "analyze a --window 500..",
    "plot a b --pair 1:1",
    "plot a b --pair 1:3",
    "plot a --width poster",
    #[cfg(not(feature = "cuda"))]
    "train --out x --device cuda",
    #[cfg(not(feature = "cuda"))]
    "check-device",
    // Files and folders.
    "train",
    "train --out a",
    "train --out x --data nowhere.txt",
    "train --out x --data latin.txt",
    "train --out x --data empty.txt",
    "train --out x --data short.txt",
    "train --out x --data folder",
    "train --resume --out nowhere",
    "train --resume --out folder",
    "train --resume --out a",
    "analyze",
    "analyze nowhere",
    "analyze folder",
    "analyze .",
    "analyze a/run.json",
    "verify a/checkpoints/step-12",
    #[cfg(target_os = "linux")]
    "report a --out /dev/full",
    "verify folder",
    "report nowhere",
    "plot --figure loss",
    "inspect folder",
    "study nowhere.toml",
    "report a --out folder",
    "plot a --figure loss --out short.txt",
    "demo --resume --out nowhere",
    "demo --data nowhere.txt",
    "demo --steps 0",
    "demo --quiet --data short.txt --out x",
    "plot a --figure loss --out a/heads",
    "plot a --figure loss --out a/checkpoints/step-12/figures",
    "report a --out a/steps/report.html",
    "export a --to jsonl --out a/probe/curves.jsonl",
    "export a --to parquet-dataset --out a/heads/data",
    "train --quiet --size nano --steps 1 --out a/heads/new",
    "import a --out a/heads/imported",
    "study plan.toml --out a/shares/study",
    "demo --quiet --out a/writes/demo",
    "export a --to jsonl --out short.txt",
    // Runs that do not belong together, or cannot answer.
    "compare a",
    "compare a deep",
    "compare a normed",
    "compare a b --window 500..600",
    "plot a --figure shapley",
    "plot normed --figure growth-shares",
    "plot a --figure seeds,loss --out figures",
    "plot a b --figure sensitivity",
    // Numbers that are none, whatever the verb.
    "train --out x --steps -5",
    "train --out x --batch -1",
    "train --out x --seed -1",
    "train --out x --warmup 1.5",
    "train --out x --clip -1",
    "train --out x --weight-decay -0.1",
    "train --out x --probe-every -3",
    "train --out x --lr",
    "demo --steps -1",
    "demo --threads -2",
    "study plan.toml --jobs -1",
    "study plan.toml --jobs 0",
    "watch a --every -1",
    "bench --rounds -1",
    "analyze a --sharpness-threshold -1",
    "verify a --against b --tolerance -1",
    // Flags that have no effect beside the others.
    "train --out x --momentum 0.5",
    "train --out x --optimizer sgd --beta1 0.8",
    "train --out x --optimizer sgd --beta2 0.8",
    "train --out x --warmup 500",
    "train --out x --schedule constant --lr-final 0.2",
    "train --out x --intervene upper-qk --maturity-threshold 0.8",
    "train --out x --multiplier 0.5",
    "train --out x --probe never --probe-budget 0.2",
    "train --out x --probe-every 0 --reliance-sequences 8",
    "train --out x --probe-every 5 --probe-budget 0.2",
    "train --out x --telemetry off --spectra-every 10",
    "train --out x --set rope_base=500",
    "train --out x --set layers=1 --intervene lower-qk",
    "train --out x --profile --device cpu",
    "plot a b --figure loss --pair 1:2",
    "study plan.toml --collect --jobs 2",
    "study plan.toml --collect --resume",
    "study plan.toml --sbatch=--time=1",
    "study plan.toml --launcher slurm --json",
    "study plan.toml --only gpt-seed1 --jobs 2",
    "watch a --once --every 3",
    "verify a --tolerance 0.1",
    "export a --table steps --follow",
    "demo --language --data latin.txt",
    "plot a --width page --width column",
    // A study's plan.
    "study quiet.toml",
    "study plan.toml -- --quiet",
    "study plan.toml -- --seed 3",
    "study plan.toml -- --steps 5 --warmup 9",
    "study plan.toml --only gpt-seed9",
];

#[test]
fn mistakes_are_answered_in_words() {
    let runs = Runs::new();
    let mut answers: Vec<String> =
        MISTAKES.iter().map(|line| program(&runs.path(), &line.split(' ').collect::<Vec<_>>())).collect();
    answers.push(program(&runs.path(), &[]));
    for answer in &answers {
        assert!(!answer.ends_with("[0]\n"), "{answer}");
        // One sentence: the command, what is wrong with the mend, the exit code; a figure that was drawn has its line.
        let lines = answer.lines().filter(|l| !l.starts_with("figures/")).count();
        assert_eq!(lines, 3, "{answer}");
        assert!(!answer.contains("4294967295") && !answer.contains("NaN"), "{answer}");
    }
    assert!(!runs.path().join("x").exists(), "nothing was created for a run that never began");
    insta::assert_snapshot!("mistakes", answers.join("\n"));
}

#[test]
fn a_run_named_twice_is_said() {
    let runs = Runs::new();
    for args in [
        &["plot", "a", "b", "./a", "--figure", "loss"][..],
        &["report", "a", "b", "./a", "--out", "page.html"],
    ] {
        let text = program(&runs.path(), args);
        assert!(text.ends_with("[0]\n"), "{text}");
        let says =
            "note: ./a, number 3 of the runs, is the same run as a, number 1: every gap between them is zero";
        assert!(text.contains(says), "{text}");
    }
    let text = program(&runs.path(), &["compare", "a", "a"]);
    assert!(text.contains("A and B are the same run") && !text.contains("-0.0"), "{text}");
    assert!(!program(&runs.path(), &["report", "a", "b", "--out", "page.html"]).contains("same run"));
}

#[test]
fn too_few_steps_are_said_wherever_the_verdict_is() {
    let runs = Runs::new();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let watched = program(&runs.path(), &["watch", "a", "--once"]);
    assert!(words(&watched).contains("(too few steps to say)"), "{watched}");
    program(&runs.path(), &["plot", "a", "--figure", "diagnosis", "--format", "svg", "--out", "figures"]);
    let svg = std::fs::read_to_string(runs.path().join("figures/diagnosis.svg")).unwrap();
    assert!(svg.contains("few") && svg.contains("say)"), "{}", &svg[..svg.len().min(3000)]);
}

#[test]
fn among_all_figures_those_not_drawn_are_listed_with_the_reason() {
    let runs = Runs::new();
    let text = program(&runs.path(), &["plot", "a", "--out", "all", "--format", "svg"]);
    assert!(text.ends_with("[0]\n") && text.contains("all/loss.svg"), "{text}");
    for says in ["not drawn:", "  shapley: it compares runs: name two", "  seeds: it takes runs of one arm"] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn runs_that_differ_in_a_setting_are_named_by_it() {
    let dir = tempfile::tempdir().unwrap();
    for (out, multiplier, hold) in [("p", "0.25", "0.5"), ("q", "0.5", "0.5"), ("r", "0.5", "0.25")] {
        let mut args = vec!["train", "--quiet", "--out", out, "--size", "nano", "--steps", "12"];
        args.extend(["--set", "layers=2", "--set", "context=32", "--probe-every", "3"]);
        args.extend(["--intervene", "upper-qk", "--multiplier", multiplier, "--hold", hold]);
        assert!(program(dir.path(), &args).ends_with("[0]\n"));
    }
    let text = program(dir.path(), &["compare", "p", "q"]);
    assert!(text.contains("A = gpt+slow-qk (×0.25)") && text.contains("B = gpt+slow-qk (×0.5)"), "{text}");
    let json = program(dir.path(), &["compare", "p", "q", "--json"]);
    assert!(json.contains("gpt+slow-qk (×0.25)"), "{json}");
    assert!(program(dir.path(), &["report", "p", "q", "r", "--out", "page.html"]).ends_with("[0]\n"));
    let html = std::fs::read_to_string(dir.path().join("page.html")).unwrap();
    let buttons: Vec<&str> = html.split("<button type=\"button\" aria-pressed").skip(1).collect();
    assert_eq!(buttons.len(), 3);
    for (button, name) in buttons.iter().zip(["×0.25, hold 50 %", "×0.5, hold 50 %", "×0.5, hold 25 %"]) {
        let end = button.find("</button>").unwrap();
        assert!(button[..end].ends_with(&format!("gpt+slow-qk ({name})")), "{}", &button[..end]);
    }
    let ink = |b: &str| b.split("data-colour=\"").nth(1).map(|c| c[..7].to_owned());
    assert!(ink(buttons[0]) != ink(buttons[1]) && ink(buttons[1]) != ink(buttons[2]), "each its own colour");
}

#[test]
fn a_run_without_probes_is_given_no_verdict() {
    let runs = Runs::new();
    let text = program(&runs.path(), &["analyze", "normed"]);
    assert!(text.contains("No verdict") && !text.contains("premature"), "{text}");
    let page = program(&runs.path(), &["report", "normed", "--out", "page.html"]);
    assert!(page.ends_with("[0]\n"), "{page}");
    let html = std::fs::read_to_string(runs.path().join("page.html")).unwrap();
    assert!(html.contains("no verdict (queries and keys are normalized)"));
}

#[test]
fn answers_fit_eighty_columns_and_tell_equal_labels_apart() {
    let runs = Runs::new();
    for args in
        [&["analyze", "a", "--verbose", "--signals"][..], &["compare", "a", "b"], &["analyze", "normed"]]
    {
        let text = program(&runs.path(), args);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
    }
    let all = program(&runs.path(), &["compare", "a", "b"]);
    assert!(all.contains("A = gpt (a)") && all.contains("B = gpt (b)"), "{all}");
    let upper = program(&runs.path(), &["compare", "a", "b", "--layers", "upper"]);
    assert!(all.contains("\nlower ") && !upper.contains("\nlower "), "{upper}");
}

#[test]
fn what_is_undefined_is_null_or_empty() {
    let runs = Runs::new();
    let jsonl = program(&runs.path(), &["export", "a", "--table", "probe", "--format", "jsonl"]);
    let csv = program(&runs.path(), &["export", "a", "--table", "probe"]);
    assert!(jsonl.contains("\"gamma\":null") && csv.contains(",,"), "the first probe has no interval");
    assert!(!jsonl.contains("NaN") && !csv.contains("NaN"));
}

#[test]
fn next_lines_can_be_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["train", "--quiet", "--out", "my run", "--size", "nano", "--steps", "3"];
    args.extend(["--set", "layers=2", "--set", "context=32"]);
    let text = program(dir.path(), &args);
    let next: Vec<&str> =
        text.lines().skip_while(|l| *l != "next:").skip(1).filter(|l| l.starts_with("  ")).collect();
    assert!(next.len() >= 2, "{text}");
    for line in next {
        let bin = assert_cmd::cargo::cargo_bin("growthpath");
        let line = line.trim().replacen("growthpath", &bin.display().to_string(), 1);
        let done =
            std::process::Command::new("sh").arg("-c").arg(&line).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn every_help_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let whole = program(dir.path(), &["--help"]);
    let verbs: Vec<String> = whole
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next().map(str::to_owned))
        .filter(|v| v != "help")
        .collect();
    assert!(verbs.len() >= 12, "{verbs:?}");
    insta::assert_snapshot!("help", whole);
    for verb in verbs {
        let help = program(dir.path(), &[&verb, "--help"]);
        assert!(help.contains("Examples:"), "{help}");
        insta::assert_snapshot!(format!("help-{verb}"), help);
    }
}
