//! The program as its user runs it: errors, and the whole way from images to distances.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use faster_projected_gan::images::{Dataset, drawn_faces, save_images};
use rand::SeedableRng;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_faster-projected-gan"))
}

fn weights() -> Option<PathBuf> {
    let folder = std::env::var_os("GAN_WEIGHTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("weights"), PathBuf::from);
    if folder.join("efficientnet-lite1.safetensors").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: no weights in {} (gan/scripts/fetch-weights.sh fetches them)", folder.display());
    None
}

/// `n` drawn faces as PNG files.
fn faces(folder: &Path, n: usize) {
    fs::create_dir_all(folder).unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let data = Dataset::new(drawn_faces(n, 96, &mut rng), 96);
    save_images(&data.slice(0..n).unwrap(), folder, 0).unwrap();
}

fn args<'a>(parts: &[&'a str]) -> Vec<&'a str> {
    parts.to_vec()
}

/// Fails with `code`, one line on standard error, which holds every one of `words`.
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let out = program().args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{arguments:?}: {text}");
    for w in words {
        assert!(text.contains(w), "{arguments:?} should say {w:?}: {text}");
    }
    if code == 1 {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn errors_name_the_thing_and_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (images, few, none, out) = (at("images"), at("few"), at("none"), at("run"));
    faces(Path::new(&images), 8);
    faces(Path::new(&few), 4);
    fs::create_dir_all(&none).unwrap();
    let train = |images: &str, more: &[&str], code: i32, words: &[&str]| {
        let mut a = args(&["train", "--images", images, "--out", &out, "--batch", "8"]);
        a.extend(more);
        fails(&a, code, words);
    };
    train(&images, &["--resolution", "100"], 2, &["resolution 100", "128, 256, 512 or 1024"]);
    train(&images, &["--ngf", "3", "--resolution", "256"], 2, &["ngf 3", "multiple of 2"]);
    train(&images, &["--lite", "--variant", "first"], 2, &["lite", "one convolution"]);
    train(&images, &["--feature-size", "100"], 2, &["feature size 100", "multiple of 32"]);
    train(&images, &["--learning-rate", "0"], 2, &["learning rate 0"]);
    train(&images, &["--threads", "0"], 2, &["--threads 0"]);
    train(&images, &["--resume"], 1, &["no checkpoint"]);
    train(&at("absent"), &[], 1, &["absent"]);
    train(&none, &[], 1, &["none", "0 PNG, JPEG or WebP images", "at least 8"]);
    train(&few, &[], 1, &["few", "4 PNG", "at least 8"]);
    train(&images, &["--weights", &none], 1, &["efficientnet-lite0.safetensors", "fetch-weights.sh"]);
    let broken = at("images/broken.png");
    fs::write(&broken, b"\x89PNG\r\n\x1a\n not a picture").unwrap();
    train(&images, &[], 1, &["broken.png", "remove or replace"]);
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing behind");
    fails(&["generate", "--run", &none, "--out", &out], 1, &["no checkpoint"]);
    fails(&["generate", "--run", &none], 2, &["--out"]);
    fails(&["evaluate", "--images", &images], 2, &["--run"]);
    fails(&["bench", "--memory-batches", "1", "--weights", &none], 2, &["at least 2"]);
}

#[test]
fn counts_are_printed() {
    let out =
        program().args(["bench", "--count-only", "--ngf", "128", "--resolution", "256"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    for n in ["105,684,175", "36,601,871", "59,978,063", "82,307,983", "49.667 G", "5.845 G", "10,331,328"] {
        assert!(text.contains(n), "{n}: {text}");
    }
    let out = program()
        .args(["bench", "--count-only", "--lite", "--ngf", "128", "--resolution", "256", "--json"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("79354307") && text.contains("33648195"), "{text}");
}

/// Rows without their times.
fn rows(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("steps.csv")).unwrap();
    text.lines().map(|l| l.rsplit_once(',').unwrap().0.to_string()).collect()
}

#[test]
fn a_run_resumes_to_the_same_bits_and_is_used() {
    let Some(weights) = weights() else { return };
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    faces(&images, 6);
    let at = |name: &str| dir.path().join(name);
    let (whole, parts) = (at("whole"), at("parts"));
    let train = |out: &Path, steps: &str, more: &[&str]| {
        program()
            .args(["train", "--variant", "separable", "--ngf", "2", "--batch", "3", "--feature-size", "128"])
            .args(["--evaluate-every", "2", "--evaluate-samples", "4", "--steps", steps])
            .arg("--images")
            .arg(&images)
            .arg("--out")
            .arg(out)
            .arg("--weights")
            .arg(&weights)
            .args(more)
            .assert()
            .success();
    };
    train(&whole, "4", &[]);
    train(&parts, "2", &[]);
    train(&parts, "4", &["--resume"]);
    let bytes = |run: &Path| {
        // The tensors' order in the file follows no rule: compare by name.
        let path = run.join("checkpoint/state.safetensors");
        let mut all: Vec<(String, Vec<u32>)> =
            candle_core::safetensors::load(path, &candle_core::Device::Cpu)
                .unwrap()
                .into_iter()
                .map(|(n, t)| {
                    let v: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                    (n, v.into_iter().map(f32::to_bits).collect())
                })
                .collect();
        all.sort();
        all
    };
    assert!(bytes(&whole) == bytes(&parts), "another state after resuming");
    assert_eq!(rows(&whole), rows(&parts));
    assert_eq!(rows(&whole).len(), 5);
    let evaluations = |run: &Path| fs::read_to_string(run.join("evaluations.csv")).unwrap();
    assert_eq!(evaluations(&whole), evaluations(&parts));
    let (w, i) = (weights.display().to_string(), images.display().to_string());
    let (run, out, grid) =
        (whole.display().to_string(), at("made").display().to_string(), at("g.png").display().to_string());
    // Another setting, other images, nothing left to do.
    let resume = |more: &[&str], code: i32, words: &[&str]| {
        let mut a = args(&["train", "--resume", "--images", &i, "--out", &run, "--weights", &w]);
        a.extend(more);
        fails(&a, code, words);
    };
    resume(&["--ngf", "4"], 2, &["--ngf 4", "has 2"]);
    resume(&["--steps", "4"], 2, &["4 are done"]);
    let other = at("other");
    faces(&other, 7);
    resume(&["--images", &other.display().to_string()], 1, &["not the images"]);
    fails(
        &["train", "--images", &i, "--out", &run, "--weights", &w, "--batch", "3"],
        1,
        &["not empty", "--resume"],
    );
    program()
        .args(["generate", "--run", &run, "--count", "5", "--out", &out, "--grid", &grid])
        .assert()
        .success();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 5);
    assert!(Path::new(&grid).is_file());
    let json = program()
        .args(["evaluate", "--images", &i, "--generated", &out, "--weights", &w, "--json"])
        .output()
        .unwrap();
    let v: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(v["fd_lite1"].as_f64().unwrap() > 0.0 && v["kid_standard_error"].as_f64().unwrap() > 0.0, "{v}");
    assert_eq!((v["generated"].as_u64(), v["real"].as_u64()), (Some(5), Some(6)));
}

#[test]
fn a_set_is_no_distance_from_itself() {
    let Some(weights) = weights() else { return };
    let dir = tempfile::tempdir().unwrap();
    faces(dir.path(), 5);
    let out = program()
        .args(["evaluate", "--json", "--images"])
        .arg(dir.path())
        .arg("--generated")
        .arg(dir.path())
        .arg("--weights")
        .arg(weights)
        .output()
        .unwrap();
    let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(v["fd_lite1"].as_f64().unwrap().abs() < 1e-6, "{v}");
}

#[test]
fn the_demo_ends_with_a_report() {
    let Some(weights) = weights() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("demo");
    program()
        .args(["demo", "--steps", "3", "--ngf", "2", "--batch", "2", "--quiet", "--out"])
        .arg(&out)
        .arg("--weights")
        .arg(weights)
        .assert()
        .success();
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    for file in report.split("](").skip(1).map(|s| s.split(')').next().unwrap()) {
        assert!(out.join(file).is_file(), "the report shows {file}");
    }
    assert!(report.contains("| separable |") && !report.contains("NaN"), "{report}");
}
