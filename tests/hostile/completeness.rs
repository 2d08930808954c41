//! `verify` knows which measurements the configuration asks for.

use growthpath_trace::{Run, Table};

use crate::rewrite::rewrite;
use crate::support::*;

/// Times that are given, and times that the run chose itself.
const RUNS: [(&str, &[&str]); 2] = [
    ("every", &["--probe-every", "3"]),
    ("auto", &["--probe-budget", "1", "--reliance-sequences", "4", "--eval-every", "7"]),
];

#[test]
fn one_missing_measurement_of_any_table_is_a_fault() {
    for (name, more) in RUNS {
        let d = Dir::new();
        d.ok(&train("run", "200", more));
        assert!(d.ok(&["verify", "run"]).contains("all checks hold"), "{name}");
        let whole = Run::open(d.path("run")).unwrap();
        rewrite(&d.path("run"), &d.path("same"), |_, _, _, bits| Some(bits));
        assert!(d.ok(&["verify", "same"]).contains("all checks hold"), "{name}");
        for &table in Table::ALL {
            let (first, last) = whole.step_span(table).unwrap_or_else(|| panic!("{name}: {table} is empty"));
            assert!(last > first || table == Table::Settling, "{name}: {table}");
            // The last measurement, then the first, then everything.
            for (i, gone) in [last..=last, first..=first, first..=last].into_iter().enumerate() {
                let cut = format!("{table}-{i}");
                rewrite(&d.path("run"), &d.path(&cut), |t, _, step, bits| {
                    (t != table || !gone.contains(&step)).then_some(bits)
                });
                d.fails(1, &["problem", table.name(), "FAILED"], &["verify", &cut]);
            }
        }
    }
}

#[test]
fn measurements_that_were_not_due_are_a_fault() {
    let d = Dir::new();
    d.ok(&train("run", "60", &["--probe-every", "10", "--eval-every", "20"]));
    for table in [Table::Evals, Table::Maturity, Table::Reliance] {
        let odd = format!("odd-{table}");
        let rows = Run::open(d.path("run")).unwrap().rows(table);
        rewrite(&d.path("run"), &d.path(&odd), |t, i, _, mut bits| {
            // The first column is the step.
            bits[0] += u64::from(t == table && i as u64 + 1 == rows);
            Some(bits)
        });
        d.fails(1, &["problem", table.name()], &["verify", &odd]);
    }
}

#[test]
fn a_run_that_was_cut_off_is_held_against_what_it_reached() {
    let d = Dir::new();
    d.ok(&train("run", "60", &["--probe-every", "7", "--checkpoint-every", "20"]));
    std::fs::remove_dir_all(d.path("run/checkpoints/step-60")).unwrap();
    d.forget_its_end("run");
    drop(growthpath_trace::RunWriter::resume(d.path("run"), 40).unwrap());
    std::fs::remove_dir_all(d.path("run/checkpoints")).unwrap();
    assert!(d.ok(&["verify", "run"]).contains("all checks hold"));
}

#[test]
fn numbers_of_measurements_are_told() {
    let d = Dir::new();
    d.ok(&train("run", "30", &["--probe-every", "10", "--eval-every", "10"]));
    let text = d.ok(&["verify", "run"]);
    // 0, 1, 2, 4, 8, 10, 16, 20, 30.
    assert!(text.contains("asked for by the configuration: evals 4, eval_losses 4, probe 9"), "{text}");
    let o = d.run(&["verify", "run", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(json["completeness"]["measurements"]["probe"], 9);
    assert_eq!(json["completeness"]["notes"].as_array().unwrap().len(), 0);
}
