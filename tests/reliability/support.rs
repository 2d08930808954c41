//! A folder to run the program in, and how to compare two runs bit for bit.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use growthpath_trace::{Run, RunInfo, Status};
use tempfile::TempDir;

/// A model that trains a step in milliseconds.
pub const SMALL: &[&str] = &[
    "--size",
    "nano",
    "--set",
    "layers=2",
    "--set",
    "context=32",
    "--batch",
    "2",
    "--data",
    "text",
    "--quiet",
];

pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        let text: String = (0..4000_u32).map(|i| format!("{} and {}. ", i * i % 97, i % 13)).collect();
        std::fs::write(dir.path("text"), text).unwrap();
        dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("growthpath"));
        command.current_dir(self.0.path()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that succeeds says, on both channels.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let o = self.run(args);
        let said = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
        assert!(o.status.success(), "{args:?}: {said}");
        said
    }

    /// A command fails with `code`, and its message has every one of `says`.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &[&str], args: &[&str]) {
        let o = self.run(args);
        let said = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
        assert_eq!(o.status.code(), Some(code), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        for s in says {
            assert!(said.contains(s), "{args:?}: `{s}` is missing in: {said}");
        }
    }

    /// Start a command; its messages go to the file `name.log`.
    pub fn start(&self, name: &str, args: &[&str]) -> Child {
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        // Whoever runs the tests may ignore signals, and children inherit that.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM").arg(assert_cmd::cargo::cargo_bin("growthpath"));
        command.current_dir(self.0.path()).args(args).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap()
    }

    pub fn status(&self, run: &str) -> Status {
        Run::open(self.path(run)).unwrap().info().status
    }

    /// Let a run look as if its process had died.
    pub fn forget_its_end(&self, run: &str) {
        RunInfo::rewrite(&self.path(run), |i| i["status"] = "running".into()).unwrap();
    }

    /// Two runs hold the same bits: every table but for times, and the last checkpoint.
    #[track_caller]
    pub fn same(&self, a: &str, b: &str, last: u32) {
        for table in [
            "heads",
            "writes",
            "evals",
            "eval-losses",
            "probe",
            "probe-layers",
            "shares",
            "maturity",
            "settling",
            "reliance",
        ] {
            let rows = |run: &str| self.run(&["export", run, "--table", table]).stdout;
            assert!(rows(a) == rows(b), "{table} of {a} and {b}");
        }
        let steps = |run: &str| -> Vec<_> {
            let rows = Run::open(self.path(run)).unwrap().steps().unwrap();
            rows.iter()
                .map(|r| (r.step, r.tokens, r.loss.to_bits(), r.grad_norm.to_bits(), r.lr.to_bits()))
                .collect()
        };
        assert_eq!(steps(a), steps(b));
        for file in
            ["config.json", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"]
        {
            let bytes =
                |run: &str| std::fs::read(self.path(run).join(format!("checkpoints/step-{last}/{file}")));
            assert!(bytes(a).unwrap() == bytes(b).unwrap(), "{file} of {a} and {b}");
        }
        assert!(self.ok(&["verify", b]).contains("all checks hold"));
    }
}

/// `train` into `out` with the small model.
pub fn train<'a>(out: &'a str, steps: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--out", out, "--steps", steps], SMALL, more].concat()
}

/// Send a signal by name, as `kill` takes it.
pub fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
}

/// Wait until something holds.
#[track_caller]
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names in a folder.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Flip one bit in the middle of a file.
pub fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(path, bytes).unwrap();
}
