//! What every fuzz target does with its bytes: any outcome but a panic, an abort, a hang or a gigabyte. The kept inputs run
//! through the same functions in tests/hostile/corpus.rs.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use growthpath_trace::{CellType, Role, Row, Run, RunInfo, RunWriter, Status, Table, TableVisitor};
use tempfile::TempDir;

/// What a target does with its bytes.
pub type Case = fn(&[u8]);

/// Every case by the name of its target.
pub const ALL: &[(&str, Case)] = &[
    ("run_json", run_json),
    ("manifest", manifest),
    ("part", part),
    ("part_hashed", part_hashed),
    ("checkpoint", checkpoint),
    ("tokenizer", tokenizer),
    ("plan", plan),
    ("flags", flags),
];

/// Lets panics that a guard turns into errors pass the hook before it, libFuzzer's, which would abort.
pub fn spare_guarded() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !growthpath_trace::guard::is_active() {
            hook(info);
        }
    }));
}

/// A small recorded run, and what its files held.
struct Recorded {
    dir: TempDir,
    run_json: Vec<u8>,
    manifest: Vec<u8>,
}

thread_local! {
    static RUN: OnceCell<Recorded> = const { OnceCell::new() };
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A folder in memory where there is one.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Rows 0..4 of every table, one a step.
struct Fill<'a>(&'a mut RunWriter);

impl TableVisitor for Fill<'_> {
    type Output = ();

    fn visit<R: Row>(&mut self) {
        let row = |step: u64| {
            let cell = |c: &growthpath_trace::Column| match (c.name, c.role, c.cell) {
                ("step", ..) => step,
                ("prev_step", ..) => step.saturating_sub(1),
                ("lag", ..) => 1,
                (_, Role::Key, _) => 0,
                (_, _, CellType::F32) => 0.5_f32.to_bits().into(),
                (_, _, CellType::F64) => 0.5_f64.to_bits(),
                _ => 1,
            };
            R::from_bits(&R::COLUMNS.iter().map(cell).collect::<Vec<_>>()).unwrap()
        };
        self.0.push(&(0..4).map(row).collect::<Vec<R>>()).unwrap();
    }
}

impl Recorded {
    fn new() -> Self {
        let dir = folder();
        let path = dir.path().join("run");
        let flags = ["--size=nano", "--steps=4", "--set=layers=1", "--set=heads=1", "--set=vocab=256"];
        let config = growthpath::cli::training_configuration(&flags.map(String::from)).unwrap();
        let mut info = RunInfo::new(serde_json::to_value(config).unwrap(), 4, 1, 1);
        info.telemetry_every = Some(1);
        info.extra.insert("cadence_rule".into(), 1.into());
        let mut writer = RunWriter::create(&path, &info).unwrap();
        let mut fill = Fill(&mut writer);
        Table::ALL.iter().for_each(|t| t.visit(&mut fill));
        writer.finish(Status::Complete).unwrap();
        let read = |name: &str| std::fs::read(path.join(name)).unwrap();
        Self { run_json: read("run.json"), manifest: read("manifest.json"), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Every verb that reads a run, as the command line does it.
    fn read(&self) {
        let run = self.path("");
        let Ok(open) = Run::open(&run) else { return };
        drop(open);
        for verb in ["verify", "analyze", "compare"] {
            let mut args: Vec<OsString> = vec![verb.into(), run.clone().into(), "--json".into()];
            if verb == "compare" {
                args.insert(2, run.clone().into());
            }
            let _ = growthpath::cli::captured(args);
        }
    }
}

fn with_run(case: impl FnOnce(&Recorded)) {
    RUN.with(|cell| case(cell.get_or_init(Recorded::new)));
}

/// `run.json` of these bytes before sound tables.
pub fn run_json(data: &[u8]) {
    with_run(|r| {
        r.put("run.json", data);
        r.read();
        r.put("run.json", &r.run_json);
    });
}

/// `manifest.json` of these bytes before sound tables.
pub fn manifest(data: &[u8]) {
    with_run(|r| {
        r.put("manifest.json", data);
        r.read();
        r.put("manifest.json", &r.manifest);
    });
}

/// The table that the first byte chooses, and the rest.
fn chosen(data: &[u8]) -> Option<(Table, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((Table::ALL[usize::from(*first) % Table::ALL.len()], rest))
}

/// A part of these bytes, which the manifest does not vouch for.
pub fn part(data: &[u8]) {
    let Some((table, bytes)) = chosen(data) else { return };
    with_run(|r| {
        let name = format!("{table}/part-000000.parquet");
        let good = std::fs::read(r.path(&name)).unwrap();
        r.put(&name, bytes);
        r.read();
        r.put(&name, &good);
    });
}

/// A part of these bytes, for which the manifest vouches.
pub fn part_hashed(data: &[u8]) {
    let Some((table, bytes)) = chosen(data) else { return };
    with_run(|r| {
        let name = format!("{table}/part-000000.parquet");
        let good = std::fs::read(r.path(&name)).unwrap();
        r.put(&name, bytes);
        let mut manifest: serde_json::Value = serde_json::from_slice(&r.manifest).unwrap();
        for entry in manifest["parts"].as_array_mut().into_iter().flatten() {
            if entry["table"] == table.name() {
                entry["bytes"] = bytes.len().into();
                entry["blake3"] = blake3::hash(bytes).to_hex().to_string().into();
            }
        }
        r.put("manifest.json", manifest.to_string().as_bytes());
        r.read();
        r.put("manifest.json", &r.manifest);
        r.put(&name, &good);
    });
}

/// A checkpoint folder: `config.json` up to the first NUL byte, `model.safetensors` after it.
pub fn checkpoint(data: &[u8]) {
    FOLDER.with(|cell| {
        let dir = cell.get_or_init(folder).path();
        let cut = data.iter().position(|b| *b == 0).unwrap_or(data.len());
        std::fs::write(dir.join("config.json"), &data[..cut]).unwrap();
        std::fs::write(dir.join("model.safetensors"), data.get(cut + 1..).unwrap_or(&[])).unwrap();
        let args: [OsString; 3] = ["inspect".into(), dir.into(), "--json".into()];
        let _ = growthpath::cli::captured(args);
        let _ = growthpath::train::checkpoint::load_model(dir);
    });
}

/// `tokenizer.json` of these bytes, and some text through it.
pub fn tokenizer(data: &[u8]) {
    let Ok(json) = std::str::from_utf8(data) else { return };
    let Ok(tokenizer) = growthpath::data::Tokenizer::from_json("fuzz", json) else { return };
    let text = "The  king\u{301}, 12 é\u{1f600}\n\n\tis <x> dead\u{0}. 大";
    if let Ok(ids) = tokenizer.encode(text) {
        let _ = tokenizer.decode(&ids);
    }
    let _ = tokenizer.decode(&[0, 1, u32::MAX]);
}

/// A study's plan, and the flags of its arms.
pub fn plan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(plan) = growthpath::study::Plan::parse(text) else { return };
    for arm in &plan.arms {
        resolve(&[plan.flags.clone(), arm.flags.clone()].concat());
    }
}

/// Training flags, one a line.
pub fn flags(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    resolve(&text.lines().map(String::from).collect::<Vec<_>>());
}

fn resolve(flags: &[String]) {
    if let Ok(mut config) = growthpath::cli::training_configuration(flags) {
        config.model.vocab = config.model.vocab.max(1);
        let _ = config.validate();
        let _ = config.label();
    }
}
