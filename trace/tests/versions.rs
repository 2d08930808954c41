//! Columns that came after a run was recorded, or that a newer program recorded: read as undefined, or refused by name.

mod common;

use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use common::*;
use growthpath_trace::*;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

/// Rewrites every part of `heads` with its columns changed, as another version would have recorded them.
fn rewritten(change: impl Fn(&mut Vec<(String, ArrayRef)>)) -> (tempfile::TempDir, Vec<HeadRow>) {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &Model::new(11, 2, 2), 7, 4);
    let run = Run::open(dir.path()).unwrap();
    let rows = run.read::<HeadRow>(..).unwrap();
    for part in run.parts().iter().filter(|p| p.table == Table::Heads) {
        let file = std::fs::File::open(part.path(dir.path())).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let about: Vec<KeyValue> = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
        let about = about.into_iter().filter(|kv| kv.key.starts_with("growthpath.")).collect();
        let batch = builder.build().unwrap().next().unwrap().unwrap();
        let names = batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let mut columns = names.into_iter().zip(batch.columns().iter().cloned()).collect();
        change(&mut columns);
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_dictionary_enabled(false);
        let properties = properties.set_key_value_metadata(Some(about)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        forge(dir.path(), part, &bytes);
    }
    (dir, rows)
}

#[test]
fn an_older_run_lacks_columns_and_has_them_in_another_order() {
    let (dir, mut rows) = rewritten(|columns| {
        columns.retain(|c| c.0 != "qk_cos" && c.0 != "gs2");
        columns.swap(7, 20);
        columns.swap(0, 3);
    });
    rows.iter_mut().for_each(|r| (r.qk_cos, r.gs2) = (f32::NAN, f32::NAN));
    let run = Run::open(dir.path()).unwrap();
    assert!(run.check_integrity().is_ok(), "{:?}", run.check_integrity().problems);
    let read = run.read::<HeadRow>(..).unwrap();
    assert!(read.len() == rows.len() && read.iter().zip(&rows).all(|(a, b)| a.same_bits(b)));
    let columns = run.read_columns::<HeadRow>(&["top1", "gs2", "w_q2"], 2..4).unwrap();
    let window: Vec<&HeadRow> = rows.iter().filter(|r| (2..4).contains(&r.step)).collect();
    let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&columns.values[0]), bits(&window.iter().map(|r| r.top1.into()).collect::<Vec<_>>()));
    assert!(columns.values[1].iter().all(|v| v.is_nan()));
    assert_eq!(columns.values[2], window.iter().map(|r| f64::from(r.w_q2)).collect::<Vec<_>>());
    assert_eq!(run.missing_columns(Table::Heads).unwrap(), ["gs2", "qk_cos"]);
    assert!(run.missing_columns(Table::Steps).unwrap().is_empty());
    // Training goes on in it: old parts stay as they are, new ones have every column.
    let mut writer = RunWriter::resume(dir.path(), 5).unwrap();
    let key = |step| HeadRow { step, ..HeadRow::default() };
    writer.steps(StepRow { step: 5, ..StepRow::default() }).unwrap();
    writer.heads(&[key(5)]).unwrap();
    writer.flush().unwrap();
    drop(writer);
    assert_eq!(Run::open(dir.path()).unwrap().read::<HeadRow>(5..).unwrap().last(), Some(&key(5)));
}

#[test]
fn what_cannot_be_read_is_named() {
    let column = |n: usize| Arc::new(Float32Array::from(vec![1.0; n])) as ArrayRef;
    type Change<'a> = &'a dyn Fn(&mut Vec<(String, ArrayRef)>);
    let cases: [(Change<'_>, &str); 3] = [
        (&|c| c.push(("s_kurtosis".into(), column(c[0].1.len()))), "s_kurtosis is unknown"),
        (&|c| c.retain(|c| c.0 != "w_q2"), "w_q2 is missing"),
        (&|c| c[2].1 = column(c[2].1.len()), "head is of another type"),
    ];
    for (change, says) in cases {
        let (dir, _) = rewritten(change);
        let error = Run::open(dir.path()).unwrap().read::<HeadRow>(..).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("heads"), "{error}");
    }
}
