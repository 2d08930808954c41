//! Damaged and hostile runs: an error that names the file, never a panic.

mod common;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::*;
use growthpath_trace::*;
use proptest::prelude::*;

/// A small recorded run, in a folder of its own: recorded once, then copied.
fn recorded() -> (tempfile::TempDir, Vec<PartEntry>) {
    type Original = (Vec<PartEntry>, Vec<(PathBuf, Vec<u8>)>);
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    let (parts, files) = ORIGINAL.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), &Model::new(11, 2, 2), 7, 4);
        let parts = Run::open(dir.path()).unwrap().parts().to_vec();
        let names = parts.iter().map(|p| PathBuf::from(p.name()));
        let names = names.chain(["run.json".into(), "manifest.json".into()]);
        let files = names.map(|n| (n.clone(), std::fs::read(dir.path().join(n)).unwrap())).collect();
        (parts, files)
    });
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    (dir, parts.clone())
}

#[track_caller]
fn assert_names(error: &Error, part: &PartEntry) {
    let text = error.to_string();
    assert!(matches!(error, Error::Corrupt { .. } | Error::Io { .. }), "{error:?}");
    assert!(text.contains(&part.file) && text.contains(part.table.name()), "{text}");
}

/// Reads a forged run every way there is: any outcome but a panic or an abort.
fn survives(dir: &Path, part: &PartEntry) {
    if let Err(error) = read_all(dir) {
        assert_names(&error, part);
    }
    let run = Run::open(dir).unwrap();
    for_all_tables!(R => {
        for batch in run.stream_columns::<R>(&[R::COLUMNS[1].name], 1..5).unwrap() {
            let _ = batch;
        }
    });
    let _ = run.check_integrity();
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn truncated_parts(which: prop::sample::Index, at: prop::sample::Index) {
        let (dir, parts) = recorded();
        let part = which.get(&parts);
        let bytes = std::fs::read(part.path(dir.path())).unwrap();
        let cut = &bytes[..at.index(bytes.len())];
        std::fs::write(part.path(dir.path()), cut).unwrap();
        assert_names(&read_all(dir.path()).unwrap_err(), part);
        let report = Run::open(dir.path()).unwrap().check_integrity();
        prop_assert!(report.problems.iter().any(|p| p.kind == ProblemKind::Damaged && p.file == part.name()));
        // Even with a manifest that vouches for the stump.
        forge(dir.path(), part, cut);
        assert_names(&read_all(dir.path()).unwrap_err(), part);
        survives(dir.path(), part);
    }

    #[test]
    fn flipped_bytes(which: prop::sample::Index, flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4)) {
        let (dir, parts) = recorded();
        let part = which.get(&parts);
        let good = std::fs::read(part.path(dir.path())).unwrap();
        let mut bytes = good.clone();
        for (at, mask) in flips {
            bytes[at.index(good.len())] ^= mask;
        }
        // Two flips of the same byte may undo each other.
        prop_assume!(bytes != good);
        std::fs::write(part.path(dir.path()), &bytes).unwrap();
        assert_names(&read_all(dir.path()).unwrap_err(), part);
        let report = Run::open(dir.path()).unwrap().check_integrity();
        prop_assert!(report.problems.iter().any(|p| p.kind == ProblemKind::Damaged && p.file == part.name()));
        forge(dir.path(), part, &bytes);
        survives(dir.path(), part);
    }

    /// Flips where they hurt most: page headers and footer, with a manifest that vouches for them.
    #[test]
    fn forged_footers(seed: u64) {
        let (dir, parts) = recorded();
        let part = &parts[seed as usize % parts.len()];
        let good = std::fs::read(part.path(dir.path())).unwrap();
        for i in 0..24 {
            let mut bytes = good.clone();
            let random = mix(seed ^ i);
            let back = 9 + (random >> 16) as usize % (good.len() - 9).min(1200);
            let at = good.len() - back;
            bytes[at] = (random & 0xff) as u8;
            forge(dir.path(), part, &bytes);
            survives(dir.path(), part);
        }
    }

    #[test]
    fn garbage_json(text in "\\PC{0,60}", which: bool) {
        let (dir, _) = recorded();
        let file = if which { "run.json" } else { "manifest.json" };
        std::fs::write(dir.path().join(file), text).unwrap();
        let error = Run::open(dir.path()).unwrap_err();
        prop_assert!(error.to_string().contains(file), "{}", error);
    }
}

#[test]
fn a_manifest_that_lies_about_a_part() {
    type Lie = fn(&mut serde_json::Value);
    let lies: [(&str, Lie); 6] = [
        ("rows", |p| p["rows"] = (p["rows"].as_u64().unwrap() + 1).into()),
        ("rows", |p| p["rows"] = u64::MAX.into()),
        ("bytes", |p| p["bytes"] = (p["bytes"].as_u64().unwrap() + 1).into()),
        ("hash", |p| p["blake3"] = "00".into()),
        ("step", |p| p["last_step"] = (p["last_step"].as_u64().unwrap() + 1).into()),
        ("step", |p| p["first_step"] = (p["first_step"].as_u64().unwrap() + 1).into()),
    ];
    for (word, lie) in lies {
        let dir = tempfile::tempdir().unwrap();
        // One part a table, so that the manifest as such makes sense.
        record(dir.path(), &Model::new(11, 2, 2), 7, 7);
        edit_manifest(dir.path(), |parts| parts.iter_mut().filter(|p| p["table"] == "heads").for_each(lie));
        let error = Run::open(dir.path()).unwrap().read::<HeadRow>(..).unwrap_err();
        assert!(error.to_string().contains("heads") && error.to_string().contains(word), "{word}: {error}");
    }
}

#[test]
fn a_manifest_that_makes_no_sense() {
    type Nonsense = fn(&mut Vec<serde_json::Value>);
    let cases: [Nonsense; 6] = [
        |parts| parts[0]["file"] = "../../part-000000.parquet".into(),
        |parts| parts[0]["rows"] = 0.into(),
        |parts| parts[0]["first_step"] = 99.into(),
        |parts| parts[0]["table"] = "tails".into(),
        |parts| parts.reverse(),
        |parts| parts.push(parts[0].clone()),
    ];
    for nonsense in cases {
        let (dir, _) = recorded();
        edit_manifest(dir.path(), nonsense);
        let error = Run::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("manifest.json"), "{error}");
        assert!(RunWriter::resume(dir.path(), 0).is_err());
    }
}

#[test]
fn a_part_of_another_table() {
    let (dir, parts) = recorded();
    let of = |table| parts.iter().find(|p| p.table == table).unwrap();
    let bytes = std::fs::read(of(Table::Writes).path(dir.path())).unwrap();
    forge(dir.path(), of(Table::Heads), &bytes);
    let error = read_all(dir.path()).unwrap_err();
    assert_names(&error, of(Table::Heads));
    assert!(error.to_string().contains("columns"), "{error}");
}

/// Rewrites a part of the steps table with other writer settings and a manifest that vouches for it.
fn foreign(
    properties: parquet::file::properties::WriterPropertiesBuilder,
    version: &str,
    table: &str,
) -> Error {
    use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::KeyValue;
    let (dir, parts) = recorded();
    let part = parts.iter().find(|p| p.table == Table::Steps).unwrap();
    let file = std::fs::File::open(part.path(dir.path())).unwrap();
    let batch =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let about = [("growthpath.schema_version", version), ("growthpath.table", table)];
    let about = about.map(|(k, v)| KeyValue::new(k.to_owned(), v.to_owned())).to_vec();
    let properties = properties.set_key_value_metadata(Some(about)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    forge(dir.path(), part, &bytes);
    let error = Run::open(dir.path()).unwrap().steps().expect_err("a foreign file must not pass");
    assert_names(&error, part);
    error
}

#[test]
fn files_that_the_writer_never_makes() {
    use parquet::file::properties::WriterProperties;
    let dictionary = foreign(WriterProperties::builder().set_dictionary_enabled(true), "2", "steps");
    assert!(dictionary.to_string().contains("never written"), "{dictionary}");
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    let version = foreign(plain(), "1", "steps");
    assert!(version.to_string().contains("schema version 1"), "{version}");
    let table = foreign(plain(), "2", "evals");
    assert!(table.to_string().contains("table evals"), "{table}");
}

#[test]
fn not_a_run() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Run::open(dir.path().join("none")).unwrap_err(), Error::Missing { .. }));
    assert!(matches!(Run::open(dir.path()).unwrap_err(), Error::NotARun { .. }));
    assert!(matches!(RunWriter::resume(dir.path(), 0).unwrap_err(), Error::NotARun { .. }));
    std::fs::write(dir.path().join("file"), "x").unwrap();
    assert!(matches!(Run::open(dir.path().join("file")).unwrap_err(), Error::NotARun { .. }));
}

#[test]
fn other_schema_versions_are_refused_by_name() {
    for (file, version, told) in
        [("run.json", "7", "7"), ("manifest.json", "\"x\"", "x"), ("run.json", "null", "null")]
    {
        let (dir, _) = recorded();
        // Fields of another version need not make sense to this one.
        std::fs::write(dir.path().join(file), format!("{{\"schema_version\": {version}}}")).unwrap();
        let error = Run::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::SchemaVersion { .. }), "{error:?}");
        assert!(error.to_string().contains(told) && error.to_string().contains(file), "{error}");
    }
}

#[test]
fn a_missing_part_is_named() {
    let (dir, parts) = recorded();
    std::fs::remove_file(parts[3].path(dir.path())).unwrap();
    assert_names(&read_all(dir.path()).unwrap_err(), &parts[3]);
    let report = Run::open(dir.path()).unwrap().check_integrity();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].file, parts[3].name());
}

#[test]
fn a_stream_ends_after_its_error() {
    let (dir, parts) = recorded();
    let first = parts.iter().find(|p| p.table == Table::Heads).unwrap();
    std::fs::write(first.path(dir.path()), b"PAR1").unwrap();
    let run = Run::open(dir.path()).unwrap();
    let mut stream = run.stream::<HeadRow>(..);
    assert!(stream.next().unwrap().is_err());
    assert!(stream.next().is_none());
}
