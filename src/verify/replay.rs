//! When a run had to measure what: its configuration, and where times are chosen on the way the decisions taken again
//! from the recorded rows.

use std::collections::BTreeMap;
use std::iter::Peekable;

use growthpath_trace::{EvalRow, HeadRow, RowStream, Run, Status, StepRow, Table};

use super::groups::{Groups, OF_EVERY_STEP};
use crate::train::TrainConfig;
use crate::train::cadence::Cadence;
use crate::train::config::ProbeTimes;
use crate::train::moments::{Keeper, KeyMoments};

/// Any number of rows, where the configuration does not say how many.
pub const ANY: u64 = u64::MAX;

/// What each table must hold.
pub struct Expected {
    /// Measurements by table.
    pub tables: BTreeMap<Table, Groups>,
    /// The last boundary of a run that did not end as planned: what was due there may be recorded or not.
    open: Option<u32>,
}

impl Expected {
    /// Whether what is due with `step` steps done need not be there.
    pub fn is_open(&self, step: u32) -> bool {
        self.open.is_some_and(|open| step >= open)
    }
}

/// Works out what a run must hold; `None` if the rows that decide it cannot be read. `known`: the run chose its times by
/// this program's rule.
pub fn expected(
    run: &Run,
    config: &TrainConfig,
    recorded: &BTreeMap<Table, Option<Groups>>,
    known: bool,
) -> Option<Expected> {
    let mut reached = 0;
    for batch in run.stream::<StepRow>(..) {
        reached = batch.ok()?.last().map_or(reached, |r| r.step.saturating_add(1));
    }
    let mut sequences = BTreeMap::new();
    for batch in run.stream::<EvalRow>(..) {
        sequences.extend(batch.ok()?.iter().map(|r| (r.step, u64::from(r.sequences))));
    }
    let tables = Table::ALL.iter().filter(|t| !OF_EVERY_STEP.contains(t));
    let mut replay = Replay {
        config,
        layers: config.model.layers as u64,
        heads: config.model.heads as u64,
        first_probe: true,
        sequences,
        tables: tables.map(|t| (*t, Groups::new())).collect(),
    };
    let last = reached.min(config.steps);
    if known || !config.probe.times.are_chosen() {
        replay.measurements(run, last)?;
    } else {
        replay.as_probed(recorded)?;
    }
    for done in (0..=last).filter(|d| config.eval_due(*d)) {
        replay.add(Table::Evals, (done, 0), 1);
        // All evaluations are of the same sequences.
        let each = replay.sequences.get(&done).or(replay.sequences.values().next()).copied();
        replay.add(Table::EvalLosses, (done, 0), each.unwrap_or(ANY));
    }
    let whole = complete(run) && reached >= config.steps;
    Some(Expected { tables: replay.tables, open: (!whole).then_some(last) })
}

struct Replay<'a> {
    config: &'a TrainConfig,
    layers: u64,
    heads: u64,
    first_probe: bool,
    /// Sequences of each evaluation.
    sequences: BTreeMap<u32, u64>,
    tables: BTreeMap<Table, Groups>,
}

impl Replay<'_> {
    fn add(&mut self, table: Table, key: (u32, u32), rows: u64) {
        self.tables.entry(table).or_default().insert(key, rows);
    }

    /// Probes, maturity, settling and reliance, as training takes them at every boundary up to `last`.
    fn measurements(&mut self, run: &Run, last: u32) -> Option<()> {
        let c = self.config;
        let mut cadence = Cadence::new(c);
        let mut keeper = Keeper::new(c, cadence.plan());
        let measuring = c.probe.times != ProbeTimes::Never;
        let mut rows = Steps::of(run);
        let mut end = None;
        for done in 0..=last {
            while c.probe.times.are_chosen() && rows.ahead()?.is_some_and(|step| step < done) {
                let (step, heads) = rows.next_step()?;
                cadence.observe(step, &heads);
            }
            let due = cadence.decide(done);
            if due.probe && !c.model.qk_norm {
                self.probe(done);
            }
            if measuring && (due.probe || keeper.due(done)) {
                let moment = one_a_layer(done, c.model.layers);
                let compared = keeper.take(moment.clone(), due.probe, |n| cadence.pay_captures(n, done));
                for row in compared {
                    self.add(Table::Maturity, (done, row.lag), self.layers);
                }
                end = Some(moment).filter(|_| done == c.steps);
            }
            if measuring && c.probe.reliance_sequences > 0 {
                if due.head_sequences > 0 {
                    self.add(Table::Reliance, (done, 0), self.layers * self.heads);
                    self.add(Table::Reliance, (done, 1), self.layers);
                }
                if due.halves {
                    self.add(Table::Reliance, (done, 2), 2);
                }
            }
        }
        // Settling is written as a whole before the run is called complete: a process may end in between.
        if (complete(run) || run.step_span(Table::Settling).is_some())
            && let Some(end) = end
        {
            for row in keeper.settle(&end) {
                self.add(Table::Settling, (row.step, 0), self.layers);
            }
        }
        Some(())
    }

    /// The rows of a probe.
    fn probe(&mut self, done: u32) {
        self.add(Table::Probe, (done, 0), self.layers * self.heads);
        self.add(Table::ProbeLayers, (done, 0), self.layers);
        // Layer l reads 2 l + 1 writes, and from the second probe on the constant part stands beside them.
        let constant = if std::mem::take(&mut self.first_probe) { 0 } else { self.layers };
        self.add(Table::Shares, (done, 0), self.layers * self.layers + constant);
    }

    /// Where the rule is unknown: the tables of a probe must have the probes of each other, everything else is taken as
    /// it is.
    fn as_probed(&mut self, recorded: &BTreeMap<Table, Option<Groups>>) -> Option<()> {
        let taken = |table| recorded.get(&table).and_then(Option::as_ref);
        let mut steps: Vec<u32> = Vec::new();
        for table in [Table::Probe, Table::ProbeLayers, Table::Shares] {
            steps.extend(taken(table)?.keys().map(|k| k.0));
        }
        steps.sort_unstable();
        steps.dedup();
        steps.into_iter().for_each(|step| self.probe(step));
        for table in [Table::Maturity, Table::Settling, Table::Reliance] {
            let groups = taken(table)?.clone();
            self.tables.insert(table, groups);
        }
        Some(())
    }
}

/// A moment whose cosines are defined, to count comparisons.
fn one_a_layer(step: u32, layers: usize) -> KeyMoments {
    KeyMoments { step, layers: vec![vec![1.0]; layers] }
}

/// `heads` one whole step at a time.
struct Steps {
    rows: Peekable<Box<dyn Iterator<Item = Option<HeadRow>>>>,
}

impl Steps {
    fn of(run: &Run) -> Self {
        let stream: RowStream<HeadRow> = run.stream(..);
        let each: Box<dyn Iterator<Item = Option<HeadRow>>> =
            Box::new(stream.flat_map(|batch| match batch {
                Ok(rows) => rows.into_iter().map(Some).collect::<Vec<_>>(),
                Err(_) => vec![None],
            }));
        Self { rows: each.peekable() }
    }

    /// The next step, `Some(None)` at the end; `None` if the rows cannot be read.
    fn ahead(&mut self) -> Option<Option<u32>> {
        match self.rows.peek() {
            None => Some(None),
            Some(row) => row.map(|r| Some(r.step)),
        }
    }

    /// The next step and its rows.
    fn next_step(&mut self) -> Option<(u32, Vec<HeadRow>)> {
        let first = self.rows.next()??;
        let mut rows = vec![first];
        while let Some(Some(row)) = self.rows.next_if(|r| r.is_some_and(|r| r.step == first.step)) {
            rows.push(row);
        }
        Some((first.step, rows))
    }
}

/// Whether the run says that it ended as planned.
fn complete(run: &Run) -> bool {
    run.info().status == Status::Complete
}
