//! Tables that another program wrote, imported: the same rows, or an error that names what is wrong.

mod common;

use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, UInt64Array, cast::AsArray,
};
use arrow_schema::{DataType, Field, Schema};
use common::*;
use growthpath_trace::*;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// All rows of a table's folder as one batch, as another program would read them.
fn table(folder: &Path) -> RecordBatch {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut batches = Vec::new();
    for f in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(f).unwrap())
            .unwrap()
            .build()
            .unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    let columns = (0..batches[0].num_columns()).map(|c| {
        let parts: Vec<&dyn Array> = batches.iter().map(|b| b.column(c).as_ref()).collect();
        arrow_select::concat::concat(&parts).unwrap()
    });
    let fields = batches[0].schema().fields().clone();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).unwrap()
}

/// Writes columns by name, nullable, with the defaults of most programs: dictionaries and snappy.
fn write(path: &Path, columns: Vec<(String, ArrayRef)>) {
    let fields: Vec<Field> =
        columns.iter().map(|(n, a)| Field::new(n, a.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|c| c.1).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn columns(batch: &RecordBatch) -> Vec<(String, ArrayRef)> {
    let names = batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    names.into_iter().zip(batch.columns().iter().cloned()).collect()
}

/// Rows in reverse, integers as int64, floats as float64 with NaN as null, columns in reverse.
fn as_others_do(batch: &RecordBatch) -> Vec<(String, ArrayRef)> {
    let n = batch.num_rows();
    let backwards = UInt64Array::from_iter_values((0..n as u64).rev());
    let mut out = columns(batch);
    for (_, a) in &mut out {
        let array = arrow_select::take::take(a, &backwards, None).unwrap();
        *a = match array.data_type() {
            DataType::Float32 => {
                let values = array.as_primitive::<arrow_array::types::Float32Type>();
                let wide = values.iter().map(|v| v.filter(|v| !v.is_nan()).map(f64::from));
                Arc::new(Float64Array::from_iter(wide))
            }
            DataType::UInt16 => {
                let values = array.as_primitive::<arrow_array::types::UInt16Type>();
                Arc::new(Int64Array::from_iter(values.iter().map(|v| v.map(i64::from))))
            }
            DataType::UInt32 => {
                let values = array.as_primitive::<arrow_array::types::UInt32Type>();
                Arc::new(Int64Array::from_iter(values.iter().map(|v| v.map(i64::from))))
            }
            _ => array,
        };
    }
    out.reverse();
    out
}

fn recorded(dir: &Path) {
    record(dir, &Model::new(11, 2, 2), 7, 4);
}

/// Replaces a table by one file.
fn replace(run: &Path, table: &str, columns: Vec<(String, ArrayRef)>) {
    std::fs::remove_dir_all(run.join(table)).unwrap();
    std::fs::create_dir(run.join(table)).unwrap();
    write(&run.join(table).join("data_0.parquet"), columns);
}

#[test]
fn rows_come_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (run, copy, out) = (dir.path().join("run"), dir.path().join("copy"), dir.path().join("out"));
    recorded(&run);
    recorded(&copy);
    for &t in Table::ALL.iter().filter(|t| run.join(t.name()).is_dir()) {
        let mut other = as_others_do(&table(&run.join(t.name())));
        if t == Table::Heads {
            other.retain(|c| c.0 != "qk_cos");
            let n = other[0].1.len();
            other.push(("arm".into(), Arc::new(Float32Array::from(vec![0.0; n]))));
            other.push(("__index_level_0__".into(), Arc::new(Float32Array::from(vec![0.0; n]))));
        }
        replace(&copy, t.name(), other);
    }
    // Read as it lies it is refused, with the way in.
    let error = Run::open(&copy).unwrap().read::<HeadRow>(..).unwrap_err().to_string();
    assert!(error.contains("heads"), "{error}");
    let done = import(&copy, &out).unwrap();
    assert!(done.integrity.is_ok(), "{:?}", done.integrity.problems);
    assert_eq!(done.left_out, ["heads.arm"]);
    assert_eq!(done.undefined, ["heads.qk_cos"]);
    let (before, after) = (Run::open(&run).unwrap(), Run::open(&out).unwrap());
    for_all_tables!(R => {
        let (mut a, b) = (before.read::<R>(..).unwrap(), after.read::<R>(..).unwrap());
        if let Some(cut) = R::TABLE.column_index("qk_cos") {
            for row in &mut a {
                let mut bits = row.bits();
                bits[cut] = u64::from(f32::NAN.to_bits());
                *row = R::from_bits(&bits).unwrap();
            }
        }
        assert!(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.same_bits(b)), "{}", R::TABLE);
    });
    assert!(after.info().extra.contains_key(IMPORTED));
    assert_eq!(after.info().status, before.info().status);
    // A directory that holds something is not touched.
    assert!(matches!(import(&copy, &run), Err(Error::AlreadyARun { .. })));
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    type Change = fn(&mut Vec<(String, ArrayRef)>);
    fn put(c: &mut [(String, ArrayRef)], name: &str, array: impl Fn(usize) -> ArrayRef) {
        let column = c.iter_mut().find(|c| c.0 == name).unwrap();
        column.1 = array(column.1.len());
    }
    let cases: [(&str, Change, &[&str]); 6] = [
        ("missing", |c| c.retain(|c| c.0 != "w_q2"), &["no column w_q2", "Float32"]),
        ("twice", |c| c.push(c[3].clone()), &["twice"]),
        (
            "text",
            |c| put(c, "lr", |n| Arc::new(arrow_array::StringArray::from(vec!["x"; n]))),
            &["column lr", "Float32"],
        ),
        (
            "negative",
            |c| put(c, "layer", |n| Arc::new(Int64Array::from(vec![-1; n]))),
            &["column layer", "-1", "UInt16"],
        ),
        (
            "averaged",
            |c| put(c, "lr", |n| Arc::new(Float64Array::from(vec![0.1; n]))),
            &["column lr", "0.1", "Float32"],
        ),
        ("same key", |c| put(c, "step", |n| Arc::new(Int64Array::from(vec![0; n]))), &["heads", "step=0"]),
    ];
    for (name, change, says) in cases {
        let (run, out) = (dir.path().join(name), dir.path().join("out"));
        recorded(&run);
        let mut c = columns(&table(&run.join("heads")));
        change(&mut c);
        replace(&run, "heads", c);
        let error = import(&run, &out).unwrap_err().to_string();
        assert!(says.iter().all(|s| error.contains(s)), "{name}: {error}");
        assert!(!out.exists(), "{name}");
    }
    let empty = dir.path().join("empty");
    recorded(&empty);
    for &t in Table::ALL {
        let _ = std::fs::remove_dir_all(empty.join(t.name()));
    }
    assert!(matches!(import(&empty, &dir.path().join("out")), Err(Error::NoTables { .. })));
    std::fs::write(empty.join("heads.parquet"), b"PAR1 not really PAR1").unwrap();
    let error = import(&empty, &dir.path().join("out")).unwrap_err().to_string();
    assert!(error.contains("heads.parquet") && error.contains("no Parquet file"), "{error}");
}

#[test]
fn runs_make_one_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (dir.path().join("run"), dir.path().join("dataset"));
    recorded(&run);
    let opened = Run::open(&run).unwrap();
    let partition = Partition { arm: "a/b".into(), ..Partition::of(&opened) };
    let files = add_to_dataset(&opened, &partition, &out).unwrap();
    assert_eq!(files, opened.parts().len());
    for part in opened.parts() {
        let copy = out.join(part.table.name()).join("arm=a%2Fb/seed=11").join(&part.file);
        assert_eq!(std::fs::read(part.path(&run)).unwrap(), std::fs::read(copy).unwrap());
    }
    assert!(matches!(add_to_dataset(&opened, &partition, &out), Err(Error::PartitionExists { .. })));
    // A damaged part does not get in.
    std::fs::write(opened.parts()[0].path(&run), b"x").unwrap();
    let other = Partition { arm: "b".into(), seed: 1 };
    assert!(matches!(add_to_dataset(&opened, &other, &out), Err(Error::Corrupt { .. })));
}
