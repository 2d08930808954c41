//! From the fused operations' side outputs to the rows of one step.

use growthpath_analysis::increment::Increment;
use growthpath_kernels::optimizer::HeadUpdateStats;
use growthpath_trace::{HeadRow, WriteRow};

use crate::model::params::{Side, slot};
use crate::model::{LayerStats, ModelConfig, StepStats};

/// Rows of `heads` for one step, in (layer, head) order; `qk_lr` is each layer's effective learning rate of W_Q, W_K;
/// `increments` has one entry a head, or none at a step without spectra.
pub fn head_rows(
    step: u32,
    config: &ModelConfig,
    stats: &StepStats,
    increments: &[Increment],
    qk_lr: &[f32],
) -> Vec<HeadRow> {
    let mut rows = Vec::with_capacity(config.layers * config.heads);
    for (l, (m, grads)) in stats.layers.iter().zip(&stats.logit_grads).enumerate() {
        let lr = qk_lr[l];
        for (h, (s, g)) in m.logits.iter().zip(grads).enumerate() {
            let [q, k] = [Side::Query, Side::Key].map(|side| &stats.slots[slot(config, l, h, side)]);
            let dm = increments.get(rows.len());
            let mut row = HeadRow {
                step,
                layer: l as u16,
                head: h as u16,
                g_q2: q.g2 as f32,
                g_k2: k.g2 as f32,
                g_qmax: q.g_max,
                g_kmax: k.g_max,
                w_q2: q.w2 as f32,
                w_k2: k.w2 as f32,
                d_q2: q.d2 as f32,
                d_k2: k.d2 as f32,
                wg_q: q.wg as f32,
                wg_k: k.wg as f32,
                wd_q: q.wd as f32,
                wd_k: k.wd as f32,
                gd_q: q.gd as f32,
                gd_k: k.gd as f32,
                lr,
                pressure_q: pressure(q),
                pressure_k: pressure(k),
                dm_f: dm.map_or(f32::NAN, |m| m.frobenius as f32),
                dm_top: dm.map_or(f32::NAN, |m| m.top as f32),
                dm_entropy: dm.map_or(f32::NAN, |m| m.entropy as f32),
                ..HeadRow::undefined()
            };
            row.set_statistics(s, g);
            rows.push(row);
        }
    }
    rows
}

/// Cosine of a head's weights and minus their gradient; NaN where the square of one of them is zero, or underflows.
fn pressure(s: &HeadUpdateStats) -> f32 {
    let cosine = -s.wg / (s.w2.sqrt() * s.g2.sqrt());
    if cosine.is_infinite() { f32::NAN } else { cosine as f32 }
}

/// Rows of `writes` for one step, in (layer, site) order.
pub fn write_rows(step: u32, measures: &[LayerStats]) -> Vec<WriteRow> {
    let mut rows = Vec::with_capacity(2 * measures.len());
    for (l, m) in measures.iter().enumerate() {
        for (site, w) in m.writes.iter().enumerate() {
            let ffn = site == 1;
            rows.push(WriteRow {
                step,
                layer: l as u16,
                site: site as u8,
                energy: w.energy as f32,
                common: w.common as f32,
                dot: w.dot as f32,
                h2_before: w.h2_before as f32,
                h2_after: w.h2_after as f32,
                hidden_ms: if ffn { m.hidden.hidden_ms as f32 } else { f32::NAN },
                hidden_common: if ffn { m.hidden.hidden_common as f32 } else { f32::NAN },
            });
        }
    }
    rows
}
