//! One method a table, so that a caller need not name row types.

use super::RunWriter;
use crate::error::Result;
use crate::rows::*;

macro_rules! named_pushes {
    ($($(#[$about:meta])* $name:ident($argument:ident: $ty:ty) => $rows:expr;)+) => {
        impl RunWriter {
            $($(#[$about])*
            ///
            /// # Errors
            ///
            /// As [`RunWriter::push`].
            pub fn $name(&mut self, $argument: $ty) -> Result<()> {
                self.push($rows)
            })+
        }
    };
}

named_pushes! {
    /// Adds one optimizer step.
    steps(row: StepRow) => &[row];
    /// Adds heads, in (step, layer, head) order.
    heads(rows: &[HeadRow]) => rows;
    /// Adds residual writes, in (step, layer, site) order.
    writes(rows: &[WriteRow]) => rows;
    /// Adds one evaluation.
    evals(row: EvalRow) => &[row];
    /// Adds probed heads, in (step, layer, head) order.
    probe(rows: &[ProbeRow]) => rows;
    /// Adds probed layers, in (step, layer) order.
    probe_layers(rows: &[ProbeLayerRow]) => rows;
    /// Adds shares of writes, in (step, layer, write) order.
    shares(rows: &[ShareRow]) => rows;
    /// Adds losses of evaluation sequences, in (step, sequence) order.
    eval_losses(rows: &[EvalLossRow]) => rows;
    /// Adds maturities, in (step, layer, lag) order.
    maturity(rows: &[MaturityRow]) => rows;
    /// Adds distances from the final key moments, in (step, layer) order.
    settling(rows: &[SettlingRow]) => rows;
    /// Adds reliances, in (step, scope, layer, head) order.
    reliance(rows: &[RelianceRow]) => rows;
}
