//! Rows counted by measurement.

use std::collections::BTreeMap;

use growthpath_trace::{Row, Run, Table, TableVisitor};

/// Rows of each measurement of a table: (step, what tells measurements of one step apart).
pub type Groups = BTreeMap<(u32, u32), u64>;

/// Tables whose steps the integrity check knows by itself.
pub const OF_EVERY_STEP: [Table; 3] = [Table::Steps, Table::Heads, Table::Writes];

/// What every other table holds; `None` for one that cannot be read.
pub fn recorded(run: &Run) -> BTreeMap<Table, Option<Groups>> {
    let others = Table::ALL.iter().filter(|t| !OF_EVERY_STEP.contains(t));
    others.map(|&t| (t, t.visit(&mut Count { run }))).collect()
}

struct Count<'a> {
    run: &'a Run,
}

impl TableVisitor for Count<'_> {
    type Output = Option<Groups>;

    fn visit<R: Row>(&mut self) -> Option<Groups> {
        let mut groups = Groups::new();
        for batch in self.run.stream::<R>(..) {
            for row in batch.ok()? {
                let key = row.key();
                // Key columns are at most 32 bits wide.
                let apart = match R::TABLE {
                    Table::Maturity => key[2] as u32,
                    Table::Reliance => key[1] as u32,
                    _ => 0,
                };
                *groups.entry((row.step(), apart)).or_default() += 1;
            }
        }
        Some(groups)
    }
}
