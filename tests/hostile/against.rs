//! `verify --against` compares every table that there is.

use growthpath_trace::{CellType, Role, Run, Table};

use crate::rewrite::rewrite;
use crate::support::*;

#[test]
fn a_difference_in_any_table_is_told() {
    let d = Dir::new();
    d.ok(&train("run", "100", &["--probe-every", "10"]));
    rewrite(&d.path("run"), &d.path("same"), |_, _, _, bits| Some(bits));
    let text = d.ok(&["verify", "run", "--against", "same"]);
    assert!(text.contains("every column agrees"), "{text}");
    for &table in Table::ALL {
        let rows = Run::open(d.path("run")).unwrap().rows(table);
        assert!(rows > 0 && text.contains(&format!("{table} {rows}")), "{table}: {text}");
        // The first measured number of its middle row.
        let mut columns = table.columns().iter().enumerate();
        let (at, column) = columns.find(|(_, c)| c.role != Role::Key && c.cell.is_float()).unwrap();
        let other = format!("other-{table}");
        rewrite(&d.path("run"), &d.path(&other), |t, i, _, mut bits| {
            if t == table && i as u64 == rows / 2 {
                let twice = |v: f64| if v.is_finite() { 2.0 * v + 1.0 } else { 1.0 };
                bits[at] = match column.cell {
                    CellType::F32 => {
                        (twice(f64::from(f32::from_bits(bits[at] as u32))) as f32).to_bits().into()
                    }
                    _ => twice(f64::from_bits(bits[at])).to_bits(),
                };
            }
            Some(bits)
        });
        d.fails(1, &[table.name(), column.name, "differ"], &["verify", "run", "--against", &other]);
        // A table that one run lacks.
        let lacks = format!("lacks-{table}");
        rewrite(&d.path("run"), &d.path(&lacks), |t, _, _, bits| (t != table).then_some(bits));
        d.fails(1, &[table.name()], &["verify", "run", "--against", &lacks]);
    }
}
