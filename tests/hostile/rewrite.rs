//! A run written anew with some of its rows changed or left out, whose files and hashes are sound all the same.

use std::path::Path;

use growthpath_trace::{Row, Run, RunWriter, Status, Table, TableVisitor};

/// What becomes of a row: its bits, or nothing. Given: the table, the row's number in it, its step, its bits.
pub type Change<'a> = dyn FnMut(Table, usize, u32, Vec<u64>) -> Option<Vec<u64>> + 'a;

struct Copy<'a> {
    from: &'a Run,
    to: &'a mut RunWriter,
    change: &'a mut Change<'a>,
}

impl TableVisitor for Copy<'_> {
    type Output = ();

    fn visit<R: Row>(&mut self) {
        let rows = self.from.read::<R>(..).unwrap();
        let kept: Vec<R> = rows
            .iter()
            .enumerate()
            .filter_map(|(i, r)| (self.change)(R::TABLE, i, r.step(), r.bits()))
            .map(|bits| R::from_bits(&bits).unwrap())
            .collect();
        self.to.push(&kept).unwrap();
    }
}

/// Write `from` anew as `to`.
pub fn rewrite(
    from: &Path,
    to: &Path,
    mut change: impl FnMut(Table, usize, u32, Vec<u64>) -> Option<Vec<u64>>,
) {
    let run = Run::open(from).unwrap();
    let status = run.info().status;
    let mut writer = RunWriter::create(to, run.info()).unwrap();
    let mut copy = Copy { from: &run, to: &mut writer, change: &mut change };
    Table::ALL.iter().for_each(|t| t.visit(&mut copy));
    assert_eq!(status, Status::Complete);
    writer.finish(status).unwrap();
    std::fs::copy(from.join("tokens.safetensors"), to.join("tokens.safetensors")).unwrap();
}
