//! Examining a whole run.

use std::collections::BTreeMap;

use super::Run;
use super::report::{IntegrityReport, Problem, ProblemKind};
use crate::column::{Role, values, values_f64};
use crate::error::Error;
use crate::info::{RunInfo, Status};
use crate::manifest::{self, PartEntry};
use crate::names::MANIFEST_FILE;
use crate::part::Part;
use crate::rows::{Key, Row, dispatch, show_key};
use crate::shown::shown_path;
use crate::table::Table;
use arrow_array::{Array, RecordBatch};

/// Problems told one by one for each table; further ones are only counted.
const MOST_TOLD: usize = 50;

impl Run {
    /// Examines everything: every part's hash, footer and pages, order, duplicates, gaps, completeness of steps,
    /// undefined numbers where there may be none. Damage is reported, never returned as an error.
    pub fn check_integrity(&self) -> IntegrityReport {
        check(self)
    }
}

fn check(run: &Run) -> IntegrityReport {
    let mut report = IntegrityReport {
        parts: run.manifest.parts.len(),
        rows: BTreeMap::new(),
        problems: Vec::new(),
        strays: Vec::new(),
    };
    match manifest::strays(&run.dir, &run.manifest) {
        Ok(strays) => {
            let name = |p: &std::path::PathBuf| shown_path(p.strip_prefix(&run.dir).unwrap_or(p));
            report.strays = strays.iter().map(name).collect();
        }
        Err(e) => report.problems.push(Problem {
            file: ".".to_owned(),
            kind: ProblemKind::Damaged,
            message: e.to_string(),
        }),
    }
    for &table in Table::ALL {
        let (rows, problems) = dispatch!(table, R => Walk::<R>::new(run).all());
        if rows > 0 {
            report.rows.insert(table, rows);
        }
        report.problems.extend(problems);
    }
    report
}

/// Steps that a table must have.
#[derive(Debug, Clone, Copy)]
enum Cadence {
    /// Any.
    Free,
    /// Every step divisible by this.
    Every(u32),
    /// None at all.
    Never,
}

/// A walk over the rows of one table.
struct Walk<'a, R> {
    run: &'a Run,
    cadence: Cadence,
    /// Rows that a step must have; `None` for any number.
    per_step: Option<u64>,
    /// Exclusive limits of the second and third key column; `None` for any value.
    limits: [Option<u64>; 2],
    last: Option<Key>,
    /// The step being walked over, its number of rows, and the file in which it began.
    group: Option<(u32, u64, String)>,
    /// Step of the probe before, for the chain of intervals.
    prev_probe: Option<u32>,
    rows: u64,
    problems: Vec<Problem>,
    untold: usize,
    row: std::marker::PhantomData<R>,
}

impl<'a, R: Row> Walk<'a, R> {
    fn new(run: &'a Run) -> Self {
        let RunInfo { layers, heads, telemetry_every, .. } = *run.info();
        let (layers, heads) = (u64::from(layers), u64::from(heads));
        let (per_step, limits) = match R::TABLE {
            Table::Heads | Table::Probe => (Some(layers * heads), [Some(layers), Some(heads)]),
            Table::Writes => (Some(layers * 2), [Some(layers), Some(2)]),
            Table::ProbeLayers | Table::Settling => (Some(layers), [Some(layers), None]),
            Table::EvalLosses => (None, [None, None]),
            Table::Shares | Table::Maturity => (None, [Some(layers), None]),
            Table::Reliance => (None, [Some(3), Some(layers.max(2))]),
            Table::Steps | Table::Evals => (Some(1), [None, None]),
        };
        let cadence = match (R::TABLE, telemetry_every) {
            (Table::Steps, _) if run.info().is_series() => Cadence::Never,
            (Table::Steps, _) => Cadence::Every(1),
            (Table::Heads | Table::Writes, Some(0)) => Cadence::Never,
            (Table::Heads | Table::Writes, Some(n)) => Cadence::Every(n),
            _ => Cadence::Free,
        };
        Self {
            run,
            cadence,
            per_step,
            limits,
            last: None,
            group: None,
            prev_probe: None,
            rows: 0,
            problems: Vec::new(),
            untold: 0,
            row: std::marker::PhantomData,
        }
    }

    fn all(mut self) -> (u64, Vec<Problem>) {
        let mut unread = false;
        for entry in self.run.manifest.of(R::TABLE) {
            if let Err(e) = self.part(entry) {
                self.tell(entry.name(), ProblemKind::Damaged, e.to_string());
                // What the part held is unknown: neither gaps nor counts around it mean anything.
                (self.last, self.group, self.prev_probe) = (None, None, None);
                unread = true;
            }
        }
        self.end(unread);
        if self.untold > 0 {
            let message = format!("{} further problems in table {}", self.untold, R::TABLE);
            self.problems.push(Problem { file: R::TABLE.to_string(), kind: ProblemKind::More, message });
        }
        (self.rows, self.problems)
    }

    fn part(&mut self, entry: &PartEntry) -> Result<(), Error> {
        let mut part = Part::open(&self.run.dir, entry, None)?;
        let file = entry.name();
        let mut first_row = true;
        let mut undefined = vec![0_usize; R::COLUMNS.len()];
        while let Some(batch) = part.next_batch()? {
            let wrong = |what| Error::corrupt(part.path(), what);
            self.count_undefined(&batch, &mut undefined).map_err(wrong)?;
            for row in R::from_batch(&batch).map_err(wrong)? {
                self.row(&row, &file, std::mem::take(&mut first_row) && self.last.is_none());
            }
            self.rows += batch.num_rows() as u64;
        }
        for (column, &n) in R::COLUMNS.iter().zip(&undefined) {
            if n > 0 {
                let what = if column.role == Role::Optional { "infinite" } else { "NaN or infinite" };
                self.tell(
                    file.clone(),
                    ProblemKind::NotFinite,
                    format!("column {} is {what} in {n} rows", column.name),
                );
            }
        }
        Ok(())
    }

    /// Counts, column by column, numbers that may not be there. A diverged run may end in any of them.
    fn count_undefined(&self, batch: &RecordBatch, counts: &mut [usize]) -> Result<(), String> {
        if self.run.info.status == Status::Diverged {
            return Ok(());
        }
        for ((column, array), count) in R::COLUMNS.iter().zip(batch.columns()).zip(counts) {
            let bad = |v: f64| v.is_infinite() || (v.is_nan() && column.role != Role::Optional);
            *count += match array.data_type() {
                arrow_schema::DataType::Float32 => {
                    values::<f32>(array)?.iter().filter(|&&v| bad(f64::from(v))).count()
                }
                arrow_schema::DataType::Float64 => values_f64(array)?.into_iter().filter(|&v| bad(v)).count(),
                _ => 0,
            };
        }
        Ok(())
    }

    /// One row: its key against the one before, its place in the model, its step against the cadence. `fresh`:
    /// nothing is known of the rows before it in the table.
    fn row(&mut self, row: &R, file: &str, fresh: bool) {
        let key = row.key();
        match self.last.map(|last| last.cmp(&key)) {
            Some(std::cmp::Ordering::Equal) => {
                self.tell(file.to_owned(), ProblemKind::Duplicate, show_key::<R>(&key) + " comes twice");
            }
            Some(std::cmp::Ordering::Greater) => {
                let what = format!("{} comes too late", show_key::<R>(&key));
                self.tell(file.to_owned(), ProblemKind::Unsorted, what);
            }
            _ => {}
        }
        self.last = Some(key);
        for (limit, &value) in self.limits.into_iter().zip(&key[1..]) {
            if limit.is_some_and(|limit| value >= limit) {
                let what = format!("{} lies outside the model", show_key::<R>(&key));
                self.tell(file.to_owned(), ProblemKind::OutOfRange, what);
            }
        }
        match &mut self.group {
            Some((step, rows, _)) if *step == row.step() => *rows += 1,
            _ => {
                let before = self.close_group(false);
                self.group = Some((row.step(), 1, file.to_owned()));
                self.follow(before, row.step(), file, fresh);
                self.chain(row, file, fresh);
            }
        }
    }

    /// Checks the number of rows of the step just walked over, and returns the step.
    fn close_group(&mut self, at_end: bool) -> Option<u32> {
        let (step, rows, file) = self.group.take()?;
        // A run whose process died may have been flushed within its last step.
        let excused = at_end && self.run.info.status == Status::Running;
        if let Some(want) = self.per_step
            && rows != want
            && !excused
        {
            self.tell(
                file,
                ProblemKind::Gap,
                format!("step {step} has {rows} rows where the model asks for {want}"),
            );
        }
        Some(step)
    }

    /// Checks that a step is the one that the cadence asks for after the step before.
    fn follow(&mut self, before: Option<u32>, step: u32, file: &str, fresh: bool) {
        let want = match (self.cadence, before) {
            (Cadence::Free, _) => return,
            (Cadence::Never, _) => {
                let what = format!("step {step} is recorded though run.json says that none is");
                return self.tell(file.to_owned(), ProblemKind::OutOfRange, what);
            }
            (Cadence::Every(n), Some(before)) => before.saturating_add(n),
            // At the start of the table; after a damaged part nothing is known.
            (Cadence::Every(_), None) if fresh && self.rows == 0 && self.problems.is_empty() => 0,
            (Cadence::Every(_), None) => return,
        };
        if step != want {
            let what = format!("step {step} comes where step {want} was expected");
            self.tell(file.to_owned(), ProblemKind::Gap, what);
        }
    }

    /// Checks that each probe's interval begins at the probe before it.
    fn chain(&mut self, row: &R, file: &str, fresh: bool) {
        if R::TABLE != Table::Probe {
            return;
        }
        // Steps fit float64 exactly.
        let prev = row.value("prev_step").unwrap_or(f64::NAN) as u32;
        let step = row.step();
        let known = self.prev_probe.replace(step);
        let start = fresh && self.rows == 0 && self.problems.is_empty();
        let want = known.or(start.then_some(step));
        if want.is_some_and(|want| want != prev) {
            let what = format!("the interval of probe {step} begins at {prev}, not at the probe before it");
            self.tell(file.to_owned(), ProblemKind::Gap, what);
        }
    }

    /// Checks that the table ends where `steps` ends, and `steps` where a complete run ends.
    fn end(&mut self, unread: bool) {
        let last = self.group.as_ref().map(|g| g.0);
        self.close_group(true);
        let Cadence::Every(n) = self.cadence else { return };
        let info = self.run.info();
        let want = match R::TABLE {
            Table::Steps if info.status == Status::Complete => info.steps_planned.checked_sub(1),
            Table::Steps => return,
            // What is recorded of a step whose process died may have been flushed apart.
            _ if info.status == Status::Running => return,
            _ => self.run.step_span(Table::Steps).map(|(_, last)| last / n * n),
        };
        if !unread && last != want {
            let tell = |step: Option<u32>| {
                step.map_or("before the first step".to_owned(), |s| format!("at step {s}"))
            };
            let what = format!("table {} ends {} where {} was expected", R::TABLE, tell(last), tell(want));
            self.tell(MANIFEST_FILE.to_owned(), ProblemKind::Gap, what);
        }
    }

    fn tell(&mut self, file: String, kind: ProblemKind, message: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(Problem { file, kind, message });
        } else {
            self.untold += 1;
        }
    }
}
