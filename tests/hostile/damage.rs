//! Damage in any table is an error of every verb that reads runs.

use growthpath_trace::{Run, Table};

use crate::support::*;

#[test]
fn a_flipped_bit_in_any_table_is_an_error_of_every_reading_verb() {
    let d = Dir::new();
    d.ok(&train("good", "100", &["--probe-every", "10"]));
    d.ok(&train("bad", "100", &["--probe-every", "10"]));
    for &table in Table::ALL {
        let run = Run::open(d.path("bad")).unwrap();
        let part = run.parts().iter().find(|p| p.table == table).unwrap();
        let (path, name) = (part.path(run.dir()), part.file.clone());
        flip(&path);
        let says = [table.name(), &name, "damaged"];
        for verb in [
            &["analyze", "bad"][..],
            &["analyze", "bad", "--json"],
            &["analyze", "bad", "--signals"],
            &["plot", "bad", "--out", "figures"],
            &["plot", "good", "bad", "--figure", "loss", "--out", "figures"],
            &["report", "good", "bad"],
            &["compare", "good", "bad"],
            &["compare", "bad", "good"],
            &["export", "bad", "--table", &table.name().replace('_', "-")],
            &["verify", "bad"],
            &["verify", "good", "--against", "bad"],
        ] {
            d.fails(1, &says[..2], verb);
        }
        flip(&path);
    }
    d.ok(&["verify", "bad"]);
    assert!(!d.path("report.html").exists() && !d.path("figures").exists());
}

#[test]
fn strays_are_named_in_words() {
    let d = Dir::new();
    d.ok(&train("run", "3", &[]));
    std::fs::copy(d.path("run/heads/part-000000.parquet"), d.path("run/heads/part-000001.parquet")).unwrap();
    std::fs::write(d.path("run/heads/.part-000002.parquet.7-1.tmp"), "x").unwrap();
    let text = d.ok(&["verify", "run"]);
    for stray in ["leftover: heads/part-000001.parquet", "leftover: heads/.part-000002.parquet.7-1.tmp"] {
        assert!(text.contains(stray), "{text}");
    }
}
