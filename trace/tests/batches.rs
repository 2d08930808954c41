//! Columns in, columns out: what programs see that do not know the row types.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use growthpath_trace::{EvalLossRow, Run, RunInfo, RunWriter, Status, Table};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|c| c.1).collect()).unwrap()
}

fn u32s(values: Vec<u32>) -> ArrayRef {
    Arc::new(UInt32Array::from(values))
}

fn f64s(values: Vec<f64>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

#[test]
fn columns_in_any_order_come_back_as_rows_and_as_columns() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let mut writer = RunWriter::create(&dir, &RunInfo::new(serde_json::Value::Null, 2, 1, 1)).unwrap();
    let given = batch(vec![
        ("loss", f64s(vec![2.5, 3.5])),
        ("sequence", u32s(vec![0, 1])),
        ("step", u32s(vec![1, 1])),
    ]);
    writer.push_batch(Table::EvalLosses, &given).unwrap();
    // An optional column that is left out is undefined.
    let settling = batch(vec![
        ("step", u32s(vec![1])),
        ("layer", Arc::new(arrow_array::UInt16Array::from(vec![0])) as ArrayRef),
    ]);
    writer.push_batch(Table::Settling, &settling).unwrap();
    writer.finish(Status::Complete).unwrap();

    let run = Run::open(&dir).unwrap();
    let row = |sequence, loss| EvalLossRow { step: 1, sequence, loss };
    assert_eq!(run.read::<EvalLossRow>(..).unwrap(), [row(0, 2.5), row(1, 3.5)]);
    let batches = run.read_batches(Table::EvalLosses, ..).unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].schema(), Table::EvalLosses.schema());
    assert_eq!(batches[0].num_rows(), 2);
    assert!(run.read_batches(Table::EvalLosses, 5..).unwrap().is_empty());
    assert!(run.read::<growthpath_trace::SettlingRow>(..).unwrap()[0].final_cosine.is_nan());
}

#[test]
fn wrong_columns_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let info = RunInfo::new(serde_json::Value::Null, 2, 1, 1);
    let mut writer = RunWriter::create(folder.path().join("run"), &info).unwrap();
    let mut refused = |columns: Vec<(&str, ArrayRef)>| {
        writer.push_batch(Table::EvalLosses, &batch(columns)).unwrap_err().to_string()
    };
    let keys = || vec![("step", u32s(vec![1])), ("sequence", u32s(vec![0]))];
    let with = |name: &'static str, array: ArrayRef| [keys(), vec![(name, array)]].concat();
    assert!(refused(keys()).contains("column loss is missing"));
    assert!(refused(with("losses", f64s(vec![1.0]))).contains("there is no column losses"));
    let text = refused(with("loss", u32s(vec![1])));
    assert!(text.contains("column loss holds UInt32 where Float64 was expected"), "{text}");
    let nulls: ArrayRef = Arc::new(Float64Array::from(vec![None::<f64>]));
    assert!(refused(with("loss", nulls)).contains("column loss holds nulls"));
    assert_eq!(DataType::Float64, Table::EvalLosses.schema().field(2).data_type().clone());
}
