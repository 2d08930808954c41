//! Whether two runs recorded the same numbers: the same seed on two devices, or before and after a change.

use std::collections::VecDeque;

use growthpath_statistics::{Scale, logits};
use growthpath_trace::{Role, Row, RowStream, Run, Table, TableVisitor, shown_path};
use serde::Serialize;

use super::Place;
use crate::error::{AnalysisError, Result};

/// How far one column of two runs differs.
#[derive(Debug, Clone, Serialize)]
pub struct Agreement {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// Rows compared.
    pub rows: u64,
    /// Largest difference over the scale: the column's RMS within the step, and for inner products the largest value
    /// that they can have (Cauchy-Schwarz), since their terms cancel.
    pub worst: f64,
    /// Where.
    pub at: Option<Place>,
}

/// Largest magnitude that an inner product of a row can have; none for a column that is no inner product.
fn bound<R: Row>(row: &R, column: &str) -> Option<f64> {
    let product = |a: &str, b: &str| Some((row.value(a)? * row.value(b)?).sqrt());
    match column {
        "wg_q" => product("w_q2", "g_q2"),
        "wg_k" => product("w_k2", "g_k2"),
        "wd_q" => product("w_q2", "d_q2"),
        "wd_k" => product("w_k2", "d_k2"),
        "gd_q" => product("g_q2", "d_q2"),
        "gd_k" => product("g_k2", "d_k2"),
        "dot" => product("energy", "h2_before"),
        // Cosines: rounding is that of what they are made of, which reaches 1.
        "pressure_q" | "pressure_k" | "maturity" | "final_cosine" => Some(1.0),
        // Shares of one.
        "stream_share" | "energy_share" => Some(1.0),
        "delta" | "stderr" => row.value("base_loss"), // differences of losses
        _ => match declared(column)? {
            Scale::One => Some(1.0),
            Scale::Product => product("w_q2", "g_q2"), // bounds <W_Q, G_WQ>, which <S, G_S> is equal to (2.1)
            Scale::Own | Scale::Logit | Scale::Choice => None,
        },
    }
}

/// What the rounding of a statistic of the logits is relative to, as its declaration says.
fn declared(column: &str) -> Option<Scale> {
    logits::all().find(|s| s.name == column).map(|s| s.scale)
}

/// Columns that are compared: measured numbers, not keys and not the clock.
fn compared<R: Row>() -> impl Iterator<Item = &'static str> {
    R::COLUMNS.iter().filter(|c| c.role != Role::Key && c.name != "step_ms").map(|c| c.name)
}

/// Columns that both runs were asked to record: spectra of the update need not be, and a device records none.
fn recorded(run: &Run, column: &str) -> bool {
    let spectra = matches!(column, "dm_f" | "dm_top" | "dm_entropy");
    !spectra || run.info().config.get("spectra_every").and_then(serde_json::Value::as_u64) != Some(0)
}

fn value<R: Row>(row: &R, column: &str) -> f64 {
    row.value(column).unwrap_or(f64::NAN)
}

/// RMS of a column, or of the largest logit where rounding about zero has its size.
fn scale<R: Row>(rows: &[R], column: &str) -> f64 {
    let column = if declared(column) == Some(Scale::Logit) { "s_max" } else { column };
    let squares: f64 = rows.iter().map(|r| value(r, column).powi(2)).filter(|v| v.is_finite()).sum();
    (squares / rows.len().max(1) as f64).sqrt()
}

fn step<R: Row>(a: &[R], b: &[R], out: &mut [Agreement]) {
    for (o, column) in out.iter_mut().zip(compared::<R>()) {
        let common = scale(a, column).max(scale(b, column));
        for (x, y) in a.iter().zip(b) {
            let (p, q) = (value(x, column), value(y, column));
            let difference = match (p.is_nan(), q.is_nan()) {
                (true, true) => 0.0,
                (false, false) if p == q => 0.0,
                (false, false) => (p - q).abs() / bound(x, column).unwrap_or(common),
                _ => f64::INFINITY,
            };
            o.rows += 1;
            if difference > o.worst || difference.is_nan() {
                let part = |name: &str| x.value(name).map(|v| v as u16);
                o.worst = if difference.is_nan() { f64::INFINITY } else { difference };
                o.at = Some(Place { step: x.step(), layer: part("layer"), head: part("head") });
            }
        }
    }
}

/// The rows of a table, one whole step at a time: scales must not depend on where batches end.
struct Steps<R: Row> {
    rows: RowStream<R>,
    waiting: VecDeque<R>,
}

impl<R: Row> Steps<R> {
    fn of(run: &Run) -> Self {
        Self { rows: run.stream(..), waiting: VecDeque::new() }
    }
}

impl<R: Row> Iterator for Steps<R> {
    type Item = Result<Vec<R>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.front().map(Row::step) == self.waiting.back().map(Row::step) {
            match self.rows.next() {
                Some(Ok(more)) => self.waiting.extend(more),
                Some(Err(e)) => return Some(Err(e.into())),
                None => break,
            }
        }
        let first = self.waiting.front()?.step();
        let n = self.waiting.iter().take_while(|r| r.step() == first).count();
        Some(Ok(self.waiting.drain(..n).collect()))
    }
}

fn table<R: Row>(a: &Run, b: &Run, out: &mut Vec<Agreement>) -> Result<()> {
    let name = R::TABLE.name();
    let mismatch = |why: String| AnalysisError::Shape {
        what: format!("{name} of {}", shown_path(b.dir())),
        expected: format!("the rows of {}", shown_path(a.dir())),
        found: why,
    };
    let (n, m) = (a.rows(R::TABLE), b.rows(R::TABLE));
    if n != m {
        return Err(mismatch(format!("{m} rows for {n}: runs of another length or shape")));
    }
    let start = out.len();
    out.extend(compared::<R>().map(|column| Agreement {
        table: name,
        column,
        rows: 0,
        worst: 0.0,
        at: None,
    }));
    for (p, q) in Steps::<R>::of(a).zip(Steps::<R>::of(b)) {
        let (p, q) = (p?, q?);
        if p.len() != q.len() || p.iter().zip(&q).any(|(x, y)| x.key() != y.key()) {
            return Err(mismatch(format!(
                "other rows at step {}: recorded at other steps, or of another shape",
                p[0].step()
            )));
        }
        step(&p, &q, &mut out[start..]);
    }
    let missing = [a.missing_columns(R::TABLE)?, b.missing_columns(R::TABLE)?].concat();
    out.retain(|o| {
        o.table != name || !missing.contains(&o.column) && recorded(a, o.column) && recorded(b, o.column)
    });
    Ok(())
}

/// Compares one table of two runs.
struct Compare<'a> {
    runs: [&'a Run; 2],
    out: Vec<Agreement>,
}

impl TableVisitor for Compare<'_> {
    type Output = Result<()>;

    fn visit<R: Row + Serialize>(&mut self) -> Result<()> {
        table::<R>(self.runs[0], self.runs[1], &mut self.out)
    }
}

/// Compare two runs column by column, every table that there is; a table that neither run has gives columns of no rows.
///
/// # Errors
/// Runs of another length or shape, or a trace that cannot be read.
pub fn agreement(a: &Run, b: &Run) -> Result<Vec<Agreement>> {
    let mut compare = Compare { runs: [a, b], out: Vec::new() };
    Table::ALL.iter().try_for_each(|t| t.visit(&mut compare))?;
    Ok(compare.out)
}

#[cfg(test)]
mod tests {
    use growthpath_trace::HeadRow;

    use super::*;

    fn row(head: u16, g_q2: f32, wg_q: f32) -> HeadRow {
        HeadRow { step: 3, layer: 1, head, g_q2, w_q2: 4.0, wg_q, ..HeadRow::default() }
    }

    fn worst(a: &[HeadRow], b: &[HeadRow], column: &str) -> Agreement {
        let mut out: Vec<Agreement> = compared::<HeadRow>()
            .map(|column| Agreement { table: "heads", column, rows: 0, worst: 0.0, at: None })
            .collect();
        step(a, b, &mut out);
        out.into_iter().find(|o| o.column == column).unwrap()
    }

    #[test]
    fn differences_are_relative_to_the_columns_rms_or_to_what_an_inner_product_can_be() {
        let a = [row(0, 3.0, 1e-3), row(1, 4.0, 0.0)];
        let b = [row(0, 3.0, 1e-3), row(1, 4.5, 2e-3)];
        let g = worst(&a, &b, "g_q2");
        let rms = ((9.0 + 4.5f64 * 4.5) / 2.0).sqrt();
        assert!((g.worst - 0.5 / rms).abs() < 1e-12 && g.rows == 2);
        assert_eq!(g.at.map(|p| (p.step, p.layer, p.head)), Some((3, Some(1), Some(1))));
        // |w| |g| = 4
        assert!((worst(&a, &b, "wg_q").worst - 5e-4).abs() < 1e-9);
    }

    #[test]
    fn equal_rows_agree_and_a_lonely_nan_does_not() {
        let a = [row(0, f32::NAN, 1.0)];
        assert_eq!(worst(&a, &a, "g_q2").worst, 0.0);
        assert_eq!(worst(&a, &[row(0, 1.0, 1.0)], "g_q2").worst, f64::INFINITY);
    }
}
