//! Random changes of the kept inputs, through the same functions as the fuzz targets: a few hundred in an ordinary test run,
//! as many as GROWTHPATH_MUTATIONS says otherwise. An input that fails is left in target/mutations.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::corpus::cases;

/// Bytes of memory that a target may take at most.
const MOST_MEMORY: u64 = 1 << 30;

/// What hostile numbers and names look like in text.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "255",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "-1e-999",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "NaN",
    "\"\\u0000\"",
    "[[[[[[[[",
    "}}}}",
    "..",
    "../../x",
    "\n",
    "\"",
    "--",
    "=",
    ",",
    "\u{202e}",
];

fn mutate(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=6) {
        let len = bytes.len();
        let at = rng.random_range(0..=len);
        let end = (at + rng.random_range(0..=16)).min(len);
        match rng.random_range(0..8) {
            0 if at < len => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < len => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(rng).unwrap(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = seeds.choose(rng).unwrap();
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..=64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 => bytes.truncate(at),
            6 => {
                // A number or a word in the text becomes another one.
                let digit = |b: &u8| b.is_ascii_alphanumeric();
                let start = bytes[at..].iter().position(digit).map_or(len, |p| at + p);
                let stop = bytes[start..].iter().position(|b| !digit(b)).map_or(len, |p| start + p);
                bytes.splice(start..stop, WORDS.choose(rng).unwrap().bytes());
            }
            _ => {
                bytes.splice(at..at, WORDS.choose(rng).unwrap().bytes());
            }
        }
    }
    bytes
}

/// Largest resident size of this process so far; none where the system does not tell.
fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn seeds(root: &Path, name: &str) -> Vec<Vec<u8>> {
    let files = ["seeds", "regressions"].into_iter().flat_map(|kept| {
        let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("fuzz").join(kept).join(name))
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        files
    });
    files.map(|f| std::fs::read(f).unwrap()).collect()
}

/// `inputs` changed inputs through one target.
fn hammer(name: &str, case: cases::Case, inputs: u64) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join("target/mutations");
    std::fs::create_dir_all(&kept).unwrap();
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(cases::spare_guarded);
    let seeds = seeds(root, name);
    let seed = std::env::var("GROWTHPATH_MUTATIONS_SEED").map_or(1, |s| s.parse().unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let last = kept.join(format!("{name}-last"));
    let mut failed = Vec::new();
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    for i in 0..inputs {
        let bytes = mutate(&mut rng, &seeds);
        // An abort leaves the input behind.
        if inputs > 10_000 {
            std::fs::write(&last, &bytes).unwrap();
        }
        let one = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| case(&bytes)));
        slowest = slowest.max(one.elapsed());
        if outcome.is_err() || one.elapsed() > Duration::from_secs(10) {
            let file = kept.join(format!("{name}-{seed}-{i}"));
            std::fs::write(&file, &bytes).unwrap();
            failed.push(file);
            assert!(failed.len() < 20, "{failed:?}");
        }
    }
    let _ = std::fs::remove_file(&last);
    let peak = peak();
    println!("{name}: {inputs} inputs in {:.0?}, slowest {slowest:.2?}, peak {peak:?}", start.elapsed());
    assert!(failed.is_empty(), "{failed:?}");
    assert!(peak.is_none_or(|p| p < MOST_MEMORY), "{peak:?}");
}

macro_rules! targets {
    ($($name:ident: $usual:literal,)+) => {
        $(#[test]
        fn $name() {
            let inputs = std::env::var("GROWTHPATH_MUTATIONS").map_or($usual, |n| n.parse().unwrap());
            hammer(stringify!($name), cases::$name, inputs);
        })+

        #[test]
        fn every_target_is_here() {
            let here = [$(stringify!($name)),+];
            assert!(cases::ALL.iter().all(|(name, _)| here.contains(name)) && here.len() == cases::ALL.len());
        }
    };
}
targets! {
    run_json: 300,
    manifest: 300,
    part: 300,
    part_hashed: 1000,
    checkpoint: 1000,
    tokenizer: 1000,
    plan: 3000,
    flags: 3000,
}
