//! Streams over the parts of a table, in bounded memory.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;

use crate::column::{values, values_f64};
use crate::error::{Error, Result};
use crate::manifest::{Manifest, PartEntry};
use crate::part::Part;
use crate::range::StepRange;
use crate::rows::Row;
use crate::table::Table;

/// Batches of some columns of a table, cut to a window. The step is always the first column.
struct Batches {
    dir: PathBuf,
    waiting: VecDeque<PartEntry>,
    columns: Option<Vec<usize>>,
    range: StepRange,
    part: Option<Part>,
}

impl Batches {
    fn new(
        dir: &Path,
        manifest: &Manifest,
        table: Table,
        columns: Option<Vec<usize>>,
        range: StepRange,
    ) -> Self {
        let parts = manifest.of(table).filter(|p| range.overlaps(p.first_step, p.last_step));
        let waiting = parts.cloned().collect();
        Self { dir: dir.to_owned(), waiting, columns, range, part: None }
    }

    /// The next batch with rows in the window, mapped; after an error, nothing more.
    fn next<T>(&mut self, map: impl Fn(&RecordBatch) -> Result<T, String>) -> Option<Result<T>> {
        let next = self.advance(map).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.part = None;
            self.waiting.clear();
        }
        next
    }

    fn advance<T>(&mut self, map: impl Fn(&RecordBatch) -> Result<T, String>) -> Result<Option<T>> {
        loop {
            let mut part = match self.part.take() {
                Some(part) => part,
                None => match self.waiting.pop_front() {
                    None => return Ok(None),
                    Some(entry) => Part::open(&self.dir, &entry, self.columns.as_deref())?,
                },
            };
            let Some(batch) = part.next_batch()? else { continue };
            let wrong = |what| Error::corrupt(part.path(), what);
            // The part has checked that steps do not decrease, so the window is one slice.
            let steps = values::<u32>(batch.column(0)).map_err(&wrong)?;
            let start = steps.partition_point(|&s| s < self.range.start);
            let end = self.range.end.map_or(steps.len(), |end| steps.partition_point(|&s| s < end));
            let slice = (start < end).then(|| map(&batch.slice(start, end - start)).map_err(&wrong));
            // A batch that ends past the window is the part's last one of interest.
            if end == steps.len() {
                self.part = Some(part);
            }
            if let Some(slice) = slice {
                return slice.map(Some);
            }
        }
    }
}

/// Rows of a table in batches; made by [`crate::Run::stream`].
pub struct RowStream<R> {
    batches: Batches,
    row: PhantomData<R>,
}

impl<R: Row> RowStream<R> {
    pub(super) fn new(dir: &Path, manifest: &Manifest, range: StepRange) -> Self {
        Self { batches: Batches::new(dir, manifest, R::TABLE, None, range), row: PhantomData }
    }
}

impl<R: Row> Iterator for RowStream<R> {
    type Item = Result<Vec<R>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next(R::from_batch)
    }
}

/// Some columns of consecutive rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Step of each row.
    pub steps: Vec<u32>,
    /// One vector a column asked for, in the order asked, one entry a row; integers above 2^53 are rounded.
    pub values: Vec<Vec<f64>>,
}

/// Columns of a table in batches; made by [`crate::Run::stream_columns`].
pub struct ColumnStream {
    batches: Batches,
    /// Position in the decoded batch of each column asked for.
    places: Vec<usize>,
}

impl ColumnStream {
    pub(super) fn new(
        dir: &Path,
        manifest: &Manifest,
        table: Table,
        names: &[&str],
        range: StepRange,
    ) -> Result<Self> {
        let index = |name: &&str| {
            table.column_index(name).ok_or_else(|| Error::UnknownColumn { table, column: (*name).to_owned() })
        };
        let wanted = names.iter().map(index).collect::<Result<Vec<_>>>()?;
        // Decoded in table order, each once, after the step (column 0 of every table).
        let mut decoded = vec![0];
        decoded.extend(&wanted);
        decoded.sort_unstable();
        decoded.dedup();
        let places = wanted.iter().map(|w| decoded.partition_point(|d| d < w)).collect();
        Ok(Self { batches: Batches::new(dir, manifest, table, Some(decoded), range), places })
    }
}

impl Iterator for ColumnStream {
    type Item = Result<Columns>;

    fn next(&mut self) -> Option<Self::Item> {
        let places = &self.places;
        self.batches.next(|batch| {
            let steps = values::<u32>(batch.column(0))?.to_vec();
            let values = places.iter().map(|&p| values_f64(batch.column(p))).collect::<Result<_, _>>()?;
            Ok(Columns { steps, values })
        })
    }
}
