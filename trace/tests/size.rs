//! What a trace costs on disk and in the training loop.

mod common;

use std::time::Instant;

use common::*;
use growthpath_trace::*;

/// A standard normal number, by summing uniforms (12 of them have variance 1).
fn normal(state: &mut u64) -> f64 {
    let uniform = |state: &mut u64| {
        *state = state.wrapping_add(1);
        (mix(*state) >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..12).map(|_| uniform(state)).sum::<f64>() - 6.0
}

#[test]
fn random_walks_take_less_than_raw_float32() {
    const STEPS: u32 = 2048;
    const HEADS: u16 = 32;
    let floats = HeadRow::COLUMNS.iter().filter(|c| c.cell.is_float()).count();
    let mut state = 7;
    // Each column of each head is a quantity of its own scale whose logarithm walks, with 10 % noise a step on top, as
    // squared gradient norms and the like do; no column is constant, which flatters nobody.
    let mut logs: Vec<Vec<f64>> =
        (0..HEADS).map(|_| (0..floats).map(|_| 3.0 * normal(&mut state)).collect()).collect();
    let mut rows = Vec::new();
    for step in 0..STEPS {
        for head in 0..HEADS {
            let mut bits = vec![u64::from(step), u64::from(head / 4), u64::from(head % 4)];
            for (column, log) in logs[usize::from(head)].iter_mut().enumerate() {
                *log += 0.01 * normal(&mut state);
                let sign = if column % 3 == 2 { -1.0 } else { 1.0 };
                let value = (sign * (*log + 0.1 * normal(&mut state)).exp()) as f32;
                bits.push(u64::from(value.to_bits()));
            }
            rows.push(HeadRow::from_bits(&bits).unwrap());
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create_with(dir.path(), &Model::new(0, 8, 4).info(STEPS), patient()).unwrap();
    let start = Instant::now();
    for step in rows.chunks(usize::from(HEADS)) {
        writer.heads(step).unwrap();
    }
    let pushing = start.elapsed();
    writer.flush().unwrap();
    let writing = start.elapsed() - pushing;
    writer.finish(Status::Interrupted).unwrap();

    let run = Run::open(dir.path()).unwrap();
    let start = Instant::now();
    let read: Vec<HeadRow> = run.read(..).unwrap();
    let reading = start.elapsed();
    assert_same(&read, &rows);

    let stored: u64 = run.parts().iter().map(|p| p.bytes).sum();
    let raw = rows.len() * floats * 4;
    let keys = rows.len() * (4 + 2 + 2);
    println!(
        "{} rows: {:.3} of raw float32 (keys included; keys raw would add {:.3}); push {:.0} ns a row, \
         write {:.0} MB/s, read {:.0} MB/s",
        rows.len(),
        stored as f64 / raw as f64,
        keys as f64 / raw as f64,
        pushing.as_nanos() as f64 / rows.len() as f64,
        raw as f64 / 1e6 / writing.as_secs_f64(),
        raw as f64 / 1e6 / reading.as_secs_f64(),
    );
    // Sign and exponent (9 of 32 bits) hardly change along a column, the mantissa is noise: 23 / 32 = 0.72 is the
    // floor, footers and keys come on top.
    assert!(stored as f64 <= 0.85 * raw as f64, "{stored} bytes for {raw}");
}

/// Bytes that the columns of one part take, by column.
fn column_bytes(path: &std::path::Path) -> Vec<(String, i64)> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let groups = reader.metadata().row_groups();
    let name = |i: usize| groups[0].column(i).column_path().string();
    (0..groups[0].num_columns())
        .map(|i| (name(i), groups.iter().map(|g| g.column(i).compressed_size()).sum()))
        .collect()
}

#[test]
fn key_columns_cost_next_to_nothing() {
    const STEPS: u32 = 1000;
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        RunWriter::create_with(dir.path(), &Model::new(0, 24, 16).info(STEPS), patient()).unwrap();
    for step in 0..STEPS / 4 {
        let heads = (0..24 * 16).map(|i| HeadRow { step, layer: i / 16, head: i % 16, ..HeadRow::default() });
        writer.heads(&heads.collect::<Vec<_>>()).unwrap();
    }
    writer.finish(Status::Interrupted).unwrap();
    let run = Run::open(dir.path()).unwrap();
    let rows = run.rows(Table::Heads) as f64;
    for (name, bytes) in &column_bytes(&run.parts()[0].path(dir.path()))[..3] {
        println!("{name}: {:.4} bytes a row", *bytes as f64 / rows);
        // Raw they are 2 to 4; the patterns repeat, so a hundredth of a byte would do.
        assert!(*bytes as f64 <= 0.25 * rows, "{name}: {bytes} bytes for {rows} rows");
    }
}
