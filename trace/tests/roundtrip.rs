//! What is written is read back, bit for bit, however it was cut into parts.

mod common;

use arrow_array::Array;
use common::*;
use growthpath_trace::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn any_bits_survive_any_flush_points(
        seed: u64, steps in 0_u32..14, layers in 1_u16..4, heads in 1_u16..4,
        flushes: u16, flush_rows in prop_oneof![8_usize..60, Just(100_000)], telemetry_every in 0_u32..4,
    ) {
        let model = Model { wild: true, telemetry_every, ..Model::new(seed, layers, heads) };
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions { flush_rows, ..patient() };
        let mut writer = RunWriter::create_with(dir.path(), &model.info(steps), options).unwrap();
        for step in 0..steps {
            model.push_step(&mut writer, step).unwrap();
            if flushes >> step & 1 == 1 {
                writer.flush().unwrap();
            }
        }
        let info = writer.finish(Status::Complete).unwrap();
        assert_holds(dir.path(), &model, steps);
        let run = Run::open(dir.path()).unwrap();
        prop_assert_eq!(run.info(), &info);
        prop_assert_eq!(info.status, Status::Complete);
    }

    #[test]
    fn windows_and_columns_are_the_filtered_rows(
        seed: u64, steps in 1_u32..12, flush_every in 1_u32..5, start in 0_u32..14, length in 0_u32..14,
    ) {
        let model = Model { telemetry_every: 1, ..Model::new(seed, 2, 3) };
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), &model, steps, flush_every);
        let run = Run::open(dir.path()).unwrap();
        let window = start..start + length;
        for_all_tables!(R => {
            let all = model.expected::<R>(steps);
            let inside: Vec<R> = all.into_iter().filter(|r| window.contains(&r.step())).collect();
            assert_same(&run.read::<R>(window.clone()).unwrap(), &inside);
            // Out of table order and one twice, on purpose.
            let last = R::COLUMNS[R::COLUMNS.len() - 1].name;
            let names = [last, "step", R::COLUMNS[1].name, last];
            let columns = run.read_columns::<R>(&names, window.clone()).unwrap();
            prop_assert_eq!(&columns.steps, &inside.iter().map(Row::step).collect::<Vec<_>>());
            for (name, got) in names.iter().zip(&columns.values) {
                let want: Vec<u64> = inside.iter().map(|r| r.value(name).unwrap().to_bits()).collect();
                prop_assert_eq!(got.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), want);
            }
        });
        let report = run.check_integrity();
        prop_assert!(report.is_ok(), "{:?}", report.problems);
        prop_assert_eq!(report.rows[&Table::Steps], u64::from(steps));
    }
}

#[test]
fn long_parts_come_in_bounded_batches() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<HeadRow> =
        (0..150_000).map(|step| HeadRow { step, g_q2: step as f32, ..HeadRow::default() }).collect();
    let mut writer =
        RunWriter::create_with(dir.path(), &Model::new(0, 1, 1).info(150_000), patient()).unwrap();
    writer.heads(&rows).unwrap();
    writer.finish(Status::Interrupted).unwrap();
    let run = Run::open(dir.path()).unwrap();
    assert_eq!(run.parts().len(), 1);
    let batches: Vec<_> = run.stream::<HeadRow>(..).map(|b| b.unwrap()).collect();
    assert!(batches.len() > 10 && batches.iter().all(|b| b.len() <= 8192));
    assert_same(&batches.concat(), &rows);
    let window = run.read::<HeadRow>(131_000..131_200).unwrap();
    assert_same(&window, &rows[131_000..131_200]);
    assert_eq!(run.step_span(Table::Heads), Some((0, 149_999)));
    assert_eq!(run.rows(Table::Heads), 150_000);
}

#[test]
fn parts_outside_the_window_are_not_touched() {
    let model = Model::new(5, 1, 2);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 9, 3);
    let run = Run::open(dir.path()).unwrap();
    for part in run.parts().iter().filter(|p| p.table == Table::Heads && p.first_step != 3) {
        std::fs::remove_file(part.path(dir.path())).unwrap();
    }
    let want: Vec<HeadRow> = (3..6).flat_map(|s| model.rows(s)).collect();
    assert_same(&run.read::<HeadRow>(3..6).unwrap(), &want);
    assert!(run.read::<HeadRow>(3..7).is_err());
}

#[test]
fn unknown_columns_are_named() {
    let model = Model::new(5, 1, 1);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 1, 1);
    let error = Run::open(dir.path()).unwrap().read_columns::<HeadRow>(&["spred"], ..).unwrap_err();
    assert!(matches!(error, Error::UnknownColumn { table: Table::Heads, .. }));
    assert!(error.to_string().contains("spred") && error.to_string().contains("spread"));
}

#[test]
fn every_table_begins_with_its_step_and_has_at_most_four_key_columns() {
    for &table in Table::ALL {
        let columns = table.columns();
        assert_eq!((columns[0].name, columns[0].cell, columns[0].role), ("step", CellType::U32, Role::Key));
        let keys = columns.iter().filter(|c| c.role == Role::Key);
        assert!(keys.clone().count() <= 4 && keys.into_iter().all(|c| !c.cell.is_float()));
        assert!(columns.iter().all(|c| !c.unit.is_empty() && c.doc.ends_with('.')));
    }
}

#[test]
fn units_and_descriptions_travel_in_the_files() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let model = Model::new(5, 1, 1);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 1, 1);
    for part in Run::open(dir.path()).unwrap().parts() {
        let file = std::fs::File::open(part.path(dir.path())).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let footer = builder.metadata().file_metadata().key_value_metadata().unwrap();
        let value = |key: &str| footer.iter().find(|kv| kv.key == key).unwrap().value.clone().unwrap();
        assert_eq!(value("growthpath.schema_version"), SCHEMA_VERSION.to_string());
        assert_eq!(value("growthpath.table"), part.table.name());
        let about: serde_json::Value = serde_json::from_str(&value("growthpath.columns")).unwrap();
        for (field, column) in builder.schema().fields().iter().zip(part.table.columns()) {
            assert_eq!(field.metadata()["unit"], column.unit);
            assert_eq!(field.metadata()["description"], column.doc);
            assert_eq!(about[column.name]["unit"], column.unit);
            assert_eq!(about[column.name]["description"], column.doc);
            assert_eq!(field.is_nullable(), column.role == Role::Optional, "{}", column.name);
        }
    }
}

#[test]
fn undefined_numbers_are_null_in_the_files() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float32Type, Float64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let model = Model::new(5, 2, 3);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 6, 1);
    let mut nulls = 0;
    for part in Run::open(dir.path()).unwrap().parts() {
        let file = std::fs::File::open(part.path(dir.path())).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            for (array, column) in batch.columns().iter().zip(part.table.columns()) {
                nulls += array.null_count();
                assert!(array.null_count() == 0 || column.role == Role::Optional, "{}", column.name);
                let nan = match column.cell {
                    CellType::F32 => array.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
                    CellType::F64 => array.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
                    _ => false,
                };
                assert!(!nan, "{}: an aggregate over it would be NaN", column.name);
            }
        }
    }
    assert!(nulls > 0, "an eighth of the optional cells is undefined");
}
