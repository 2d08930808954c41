//! Resuming leaves the trace that an uninterrupted run would have left.

mod common;

use common::*;
use growthpath_trace::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn resumed_runs_equal_uninterrupted_ones(
        seed: u64, steps in 1_u32..14, layers in 1_u16..3, heads in 1_u16..3, telemetry_every in 0_u32..4,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        flush_rows in 12_usize..90,
    ) {
        let model = Model { telemetry_every, ..Model::new(seed, layers, heads) };
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions { flush_rows, ..patient() };
        let mut writer = RunWriter::create_with(dir.path(), &model.info(steps), options).unwrap();
        let mut step = 0;
        for (stop, back) in cuts {
            let stop = step + stop.index((steps - step) as usize + 1) as u32;
            while step < stop {
                model.push_step(&mut writer, step).unwrap();
                step += 1;
            }
            // The checkpoint before `stop` and the probe of that step are durable, then the process dies.
            model.push_probe(&mut writer, stop).unwrap();
            writer.flush().unwrap();
            std::mem::forget(writer);
            step = back.index(stop as usize + 1) as u32;
            writer = RunWriter::resume_with(dir.path(), step, options).unwrap();
            for &table in Table::ALL {
                let kept = writer.last_step(table);
                prop_assert!(kept.is_none_or(|k| table.keep().keeps(k, step)));
            }
            let run = Run::open(dir.path()).unwrap();
            for_all_tables!(R => {
                let want: Vec<R> =
                    model.expected::<R>(step + 1).into_iter().filter(|r| R::TABLE.keep().keeps(r.step(), step)).collect();
                assert_same(&run.read::<R>(..).unwrap(), &want);
            });
        }
        while step < steps {
            model.push_step(&mut writer, step).unwrap();
            step += 1;
        }
        model.push_probe(&mut writer, steps).unwrap();
        let info = writer.finish(Status::Complete).unwrap();

        let straight = tempfile::tempdir().unwrap();
        let mut writer = RunWriter::create_with(straight.path(), &model.info(steps), patient()).unwrap();
        for step in 0..steps {
            model.push_step(&mut writer, step).unwrap();
        }
        model.push_probe(&mut writer, steps).unwrap();
        writer.finish(Status::Complete).unwrap();

        let (resumed, straight) = (Run::open(dir.path()).unwrap(), Run::open(straight.path()).unwrap());
        for_all_tables!(R => {
            assert_same(&resumed.read::<R>(..).unwrap(), &straight.read::<R>(..).unwrap());
        });
        let report = resumed.check_integrity();
        prop_assert!(report.is_ok() && report.strays.is_empty(), "{:?}", report);
        prop_assert!(!info.resumed.is_empty());
    }
}

#[test]
fn a_record_that_ends_too_early_is_left_alone() {
    let model = Model::new(3, 1, 2);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 5, 2);
    let error = RunWriter::resume(dir.path(), 6).unwrap_err();
    assert!(matches!(error, Error::ResumeGap { step: 6, last: Some(4), .. }), "{error:?}");
    assert!(error.to_string().contains("ends with step 4"), "{error}");
    assert_holds(dir.path(), &model, 5);
    assert_eq!(Run::open(dir.path()).unwrap().info().status, Status::Complete);
    // Right at its end it can go on.
    let mut writer = RunWriter::resume(dir.path(), 5).unwrap();
    model.push_step(&mut writer, 5).unwrap();
    writer.update_info(|info| info.steps_planned = 6).unwrap();
    writer.finish(Status::Complete).unwrap();
    assert_holds(dir.path(), &model, 6);
    assert!(Run::open(dir.path()).unwrap().check_integrity().is_ok());
}

#[test]
fn a_damaged_part_stops_a_resume_before_anything_changes() {
    let model = Model::new(3, 1, 2);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 6, 6);
    let parts = Run::open(dir.path()).unwrap().parts().to_vec();
    let heads = parts.iter().find(|p| p.table == Table::Heads).unwrap();
    let good = std::fs::read(heads.path(dir.path())).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    std::fs::write(heads.path(dir.path()), &bad).unwrap();
    let error = RunWriter::resume(dir.path(), 3).unwrap_err();
    assert!(error.to_string().contains(&heads.file), "{error}");
    std::fs::write(heads.path(dir.path()), &good).unwrap();
    assert_holds(dir.path(), &model, 6);
}

#[test]
fn files_that_are_not_ours_stay() {
    let model = Model::new(3, 1, 2);
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &model, 4, 2);
    std::fs::create_dir(dir.path().join("checkpoints")).unwrap();
    let kept = ["notes.txt", "heads/notes.txt", "checkpoints/part-000000.parquet", "heads/part-7.parquet"];
    let gone = ["heads/part-000077.parquet", "heads/.part-000001.parquet.1-0.tmp", ".run.json.1-0.tmp"];
    for file in kept.iter().chain(&gone) {
        std::fs::write(dir.path().join(file), "x").unwrap();
    }
    let mut strays = Run::open(dir.path()).unwrap().check_integrity().strays;
    strays.sort();
    let mut want = gone.map(str::to_owned);
    want.sort();
    assert_eq!(strays, want);
    drop(RunWriter::resume(dir.path(), 3).unwrap());
    assert!(kept.iter().all(|f| dir.path().join(f).exists()));
    assert!(gone.iter().all(|f| !dir.path().join(f).exists()));
}

/// What is written at a run's end is dropped whole when the run goes on.
#[test]
fn rows_of_the_end_go_when_a_run_is_resumed() {
    let model = Model::new(5, 2, 1);
    let dir = tempfile::tempdir().unwrap();
    let rows = |cosine: f64| -> Vec<SettlingRow> {
        let row = |(step, layer)| SettlingRow { step, layer, final_cosine: cosine };
        [(0, 0), (0, 1), (3, 0), (3, 1)].map(row).into()
    };
    let mut writer = RunWriter::create(dir.path(), &model.info(9)).unwrap();
    for step in 0..5 {
        model.push_step(&mut writer, step).unwrap();
    }
    writer.settling(&rows(0.5)).unwrap();
    writer.finish(Status::Interrupted).unwrap();
    assert_same(&Run::open(dir.path()).unwrap().read::<SettlingRow>(..).unwrap(), &rows(0.5));
    let mut writer = RunWriter::resume(dir.path(), 4).unwrap();
    for step in 4..9 {
        model.push_step(&mut writer, step).unwrap();
    }
    writer.settling(&rows(0.25)).unwrap();
    writer.finish(Status::Complete).unwrap();
    let run = Run::open(dir.path()).unwrap();
    assert_same(&run.read::<SettlingRow>(..).unwrap(), &rows(0.25));
    assert!(run.check_integrity().is_ok());
}
