//! A made-up run whose every cell follows from a seed: what was pushed is known without reading anything back.
#![allow(dead_code, unused_imports, unused_macros)] // Each test file uses its own part of this.

use std::path::Path;

use growthpath_trace::*;

/// Runs `$body` for every row type, as `$R`.
macro_rules! for_all_tables {
    ($R:ident => $body:block) => {{
        for_all_tables!(@one $R $body, StepRow, HeadRow, WriteRow, EvalRow, EvalLossRow, ProbeRow, ProbeLayerRow, ShareRow, MaturityRow, SettlingRow, RelianceRow);
    }};
    (@one $R:ident $body:block, $($row:ident),+) => {
        $({ type $R = growthpath_trace::$row; $body })+
    };
}
pub(crate) use for_all_tables;

/// Cases of a property test; failures are told, not kept in files.
pub fn cases(n: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases: n, failure_persistence: None, ..Default::default() }
}

/// splitmix64, a hash good enough for test data.
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The run that a test records.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub seed: u64,
    pub layers: u16,
    pub heads: u16,
    pub telemetry_every: u32,
    pub probe_every: u32,
    /// Floats of any bit pattern instead of sensible ones.
    pub wild: bool,
}

impl Model {
    pub fn new(seed: u64, layers: u16, heads: u16) -> Self {
        Self { seed, layers, heads, telemetry_every: 1, probe_every: 3, wild: false }
    }

    pub fn info(&self, planned: u32) -> RunInfo {
        let mut info =
            RunInfo::new(serde_json::json!({"preset": "gpt", "lr": 0.1}), planned, self.layers, self.heads);
        info.telemetry_every = Some(self.telemetry_every);
        info.seeds.insert("model".to_owned(), self.seed);
        info
    }

    /// Keys of a table's rows at a step, without the step.
    fn keys(&self, table: Table) -> Vec<Vec<u64>> {
        let (layers, heads) = (u64::from(self.layers), u64::from(self.heads));
        let grid = |n: u64| (0..layers).flat_map(move |l| (0..n).map(move |k| vec![l, k])).collect();
        match table {
            Table::Steps | Table::Evals => vec![vec![]],
            Table::Heads | Table::Probe => grid(heads),
            Table::Writes => grid(2),
            Table::EvalLosses => (0..3).map(|s| vec![s]).collect(),
            Table::Maturity => grid(3),
            Table::Settling | Table::ProbeLayers => (0..layers).map(|l| vec![l]).collect(),
            Table::Shares => {
                let write = |l| (0..=2 * l).chain([u64::from(WRITE_CONSTANT)]).map(move |w| vec![l, w]);
                (0..layers).flat_map(write).collect()
            }
            Table::Reliance => {
                let whole = u64::from(WHOLE_LAYER);
                let heads = (0..layers).flat_map(|l| (0..heads).map(move |h| vec![0, l, h]));
                let layers = (0..layers).map(|l| vec![1, l, whole]);
                heads.chain(layers).chain((0..2).map(|half| vec![2, half, whole])).collect()
            }
        }
    }

    fn has(&self, table: Table, step: u32) -> bool {
        match table {
            Table::Steps => true,
            // Written when a run ends and dropped when it goes on: tests of its own.
            Table::Settling => false,
            Table::Heads | Table::Writes => {
                self.telemetry_every > 0 && step.is_multiple_of(self.telemetry_every)
            }
            _ => step.is_multiple_of(self.probe_every),
        }
    }

    /// The rows of a table at a step.
    pub fn rows<R: Row>(&self, step: u32) -> Vec<R> {
        if !self.has(R::TABLE, step) {
            return Vec::new();
        }
        let row = |(at, key): (usize, Vec<u64>)| {
            let mut key = key.into_iter();
            let cell = |(i, c): (usize, &Column)| {
                let place = (R::TABLE as u64) << 48 | (at as u64) << 32 | (i as u64) << 24;
                let random = mix(mix(self.seed ^ place).wrapping_add(u64::from(step)));
                match (c.name, c.role) {
                    ("step", _) => u64::from(step),
                    ("prev_step", _) => u64::from(step.saturating_sub(self.probe_every)),
                    ("tokens", _) => 1024 * (u64::from(step) + 1),
                    (_, Role::Key) => key.next().unwrap(),
                    (_, role) => self.float(random, c.cell, role),
                }
            };
            R::from_bits(&R::COLUMNS.iter().enumerate().map(cell).collect::<Vec<_>>()).unwrap()
        };
        self.keys(R::TABLE).into_iter().enumerate().map(row).collect()
    }

    fn float(&self, random: u64, cell: CellType, role: Role) -> u64 {
        if self.wild || !cell.is_float() {
            // Whichever NaN stands for an undefined number, files hold null and readers give back the usual one.
            return match (role, cell) {
                (Role::Optional, CellType::F32) if f32::from_bits(random as u32).is_nan() => {
                    u64::from(f32::NAN.to_bits())
                }
                (Role::Optional, CellType::F64) if f64::from_bits(random).is_nan() => f64::NAN.to_bits(),
                _ => random,
            };
        }
        let undefined = role == Role::Optional && random.is_multiple_of(8);
        let value =
            if undefined { f64::NAN } else { (random >> 11) as f64 / (1_u64 << 53) as f64 * 4.0 - 2.0 };
        match cell {
            CellType::F32 => u64::from((value as f32).to_bits()),
            _ => value.to_bits(),
        }
    }

    /// Everything of a step: the probe first (on the weights before the update), then the step itself.
    pub fn push_step(&self, writer: &mut RunWriter, step: u32) -> Result<()> {
        self.push_probe(writer, step)?;
        writer.push(&self.rows::<StepRow>(step))?;
        writer.push(&self.rows::<HeadRow>(step))?;
        writer.push(&self.rows::<WriteRow>(step))
    }

    /// The tables measured between steps, unless the writer has them already.
    pub fn push_probe(&self, writer: &mut RunWriter, step: u32) -> Result<()> {
        if writer.last_step(Table::Probe) == Some(step) {
            return Ok(());
        }
        writer.push(&self.rows::<EvalRow>(step))?;
        writer.push(&self.rows::<EvalLossRow>(step))?;
        writer.push(&self.rows::<ProbeRow>(step))?;
        writer.push(&self.rows::<ProbeLayerRow>(step))?;
        writer.push(&self.rows::<ShareRow>(step))?;
        writer.push(&self.rows::<MaturityRow>(step))?;
        writer.push(&self.rows::<SettlingRow>(step))?;
        writer.push(&self.rows::<RelianceRow>(step))
    }

    /// What a table must hold after the steps below `steps`.
    pub fn expected<R: Row>(&self, steps: u32) -> Vec<R> {
        (0..steps).flat_map(|s| self.rows(s)).collect()
    }
}

/// Asserts that two tables are equal bit for bit.
#[track_caller]
pub fn assert_same<R: Row>(got: &[R], want: &[R]) {
    assert_eq!(got.len(), want.len(), "rows of table {}", R::TABLE);
    for (g, w) in got.iter().zip(want) {
        assert!(g.same_bits(w), "table {}: got {g:?}, want {w:?}", R::TABLE);
    }
}

/// Asserts that a run holds exactly the steps below `steps`.
#[track_caller]
pub fn assert_holds(dir: &Path, model: &Model, steps: u32) {
    let run = Run::open(dir).unwrap();
    for_all_tables!(R => {
        assert_same::<R>(&run.read(..).unwrap(), &model.expected(steps));
    });
}

/// A writer that flushes only when told.
pub fn patient() -> WriterOptions {
    WriterOptions { flush_interval: std::time::Duration::from_secs(3600), ..WriterOptions::default() }
}

/// Records the steps below `steps`, flushing after every `flush_every` of them.
pub fn record(dir: &Path, model: &Model, steps: u32, flush_every: u32) {
    let mut writer = RunWriter::create_with(dir, &model.info(steps), patient()).unwrap();
    for step in 0..steps {
        model.push_step(&mut writer, step).unwrap();
        if (step + 1).is_multiple_of(flush_every) {
            writer.flush().unwrap();
        }
    }
    writer.finish(Status::Complete).unwrap();
}

/// Changes the manifest of a run as JSON.
pub fn edit_manifest(dir: &Path, change: impl FnOnce(&mut Vec<serde_json::Value>)) {
    let path = dir.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(manifest["parts"].as_array_mut().unwrap());
    std::fs::write(path, manifest.to_string()).unwrap();
}

/// Puts other bytes in a part's place and makes the manifest agree with them.
pub fn forge(dir: &Path, part: &PartEntry, bytes: &[u8]) {
    std::fs::write(part.path(dir), bytes).unwrap();
    edit_manifest(dir, |parts| {
        let is =
            |p: &&mut serde_json::Value| p["table"] == part.table.name() && p["file"] == part.file.as_str();
        let entry = parts.iter_mut().find(is).unwrap();
        entry["bytes"] = bytes.len().into();
        entry["blake3"] = blake3::hash(bytes).to_hex().as_str().into();
    });
}

/// Reads everything of a run, whatever the outcome; returns the first error.
pub fn read_all(dir: &Path) -> Result<()> {
    let run = Run::open(dir)?;
    for_all_tables!(R => {
        run.read::<R>(..)?;
    });
    Ok(())
}
