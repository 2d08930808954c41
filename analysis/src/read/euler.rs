//! The Euler identity (2.1) in recorded rows.

use growthpath_trace::Run;

/// Whether the run normalizes queries and keys: then both sides of (2.1) are not equal, but
/// `<W, G_W>` is zero.
pub(crate) fn has_qk_norm(run: &Run) -> bool {
    let config = &run.info().config;
    let flag = config.get("model").and_then(|m| m.get("qk_norm")).or_else(|| config.get("qk_norm"));
    flag.and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// Query heads that share one key head (grouped-query attention), as the configuration has it; 1 where it does not say.
/// `wg_k` of each is the shared head's, and (2.1) holds for the sum of `sgs` over the group.
pub(crate) fn heads_per_key(run: &Run) -> usize {
    let heads = usize::from(run.info().heads);
    let keys = run.info().config.pointer("/model/kv_heads").and_then(serde_json::Value::as_u64);
    keys.and_then(|k| usize::try_from(k).ok())
        .filter(|k| *k > 0 && heads.is_multiple_of(*k))
        .map_or(1, |k| heads / k)
}

/// Sums over the query heads that share a key head; rows come in (step, layer, head) order.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyGroup {
    heads: usize,
    sgs: f64,
    scale: f64,
}

impl KeyGroup {
    /// Adds the next head: its `sgs` and [`scale`]. At the last head of its group, both for the whole group.
    pub fn add(&mut self, per_key: usize, head: u16, sgs: f64, scale: f64) -> Option<(f64, f64)> {
        let place = usize::from(head) % per_key;
        if place == 0 {
            *self = Self::default();
        }
        if place != self.heads {
            // A head is missing before this one: the group says nothing.
            self.sgs = f64::NAN;
        }
        self.heads = place + 1;
        self.sgs += sgs;
        self.scale += scale;
        (self.heads == per_key).then_some((self.sgs, self.scale))
    }
}

/// Whether the run stored its activations as bf16, whose roundings are 2^-9 of a value.
pub(crate) fn stores_bf16(run: &Run) -> bool {
    run.info().config.get("precision").and_then(serde_json::Value::as_str) == Some("bf16")
}

/// `|value - wanted|` over the largest that `<W, G_W>` can be, `|W| |G_W|` by Cauchy-Schwarz: the
/// terms of the inner product cancel, so its own size says nothing of its rounding.
pub(crate) fn relative(value: f64, wanted: f64, scale: f64) -> f64 {
    let difference = (value - wanted).abs();
    // Below the smallest normal float32 the columns hold no digits to compare.
    if difference < f64::from(f32::MIN_POSITIVE) { 0.0 } else { difference / scale }
}

/// Part of `|S| |G_S|` that counts as rounding beside `|W| |G_W|`. The rows of a float32 G_S add up to zero only to
/// rounding, and the gradient of the weights multiplies what is left by the rows' mean logits, which `sgs`, summed over
/// centred rows, does not see. With the tolerance of 1e-3 that is 1e-6 of `|S| |G_S|`: eight float32 roundings. Where rows
/// are saturated, G_S is what cancelling leaves: smaller than its terms by the weight off the largest, 1 - top1.
const LOGITS: f64 = 1e-3;

/// `max(|W_Q| |G_Q|, |W_K| |G_K|)` from squared norms, and the logits' share of the rounding from `|S|^2`, `|G_S|^2` and
/// the mean largest attention weight.
pub(crate) fn scale([w_q2, g_q2, w_k2, g_k2]: [f64; 4], s2: f64, gs2: f64, top1: f64) -> f64 {
    let logits = LOGITS * (s2 * gs2).sqrt() / (1.0 - top1).max(1e-6);
    (w_q2 * g_q2).max(w_k2 * g_k2).sqrt() + if logits.is_finite() { logits } else { 0.0 }
}

/// `sqrt(N / d_h)` of a run that stores bf16, N the tokens of a batch; zero for others, and where the configuration does not
/// say. Times `|G_S| q_rms k_rms` it is `sqrt(d_h)` standard deviations of what the roundings of queries and keys add:
/// `sum_i <delta q_i, dq_i>` with `|dQ| <= |G_S| |K| / sqrt(d_h)`, every element of Q off by a random part of `2^-9` of it.
/// `|W| |G_W|` is no measure of that where the gradients of tokens cancel in `G_W = X^T dQ`.
pub(crate) fn roundings(run: &Run) -> f64 {
    let model =
        |name: &str| run.info().config.pointer(&format!("/model/{name}")).and_then(serde_json::Value::as_f64);
    let batch = run.info().config.get("batch").and_then(serde_json::Value::as_f64);
    match (stores_bf16(run), batch, model("context"), model("width")) {
        (true, Some(batch), Some(context), Some(width)) => {
            (batch * context * f64::from(run.info().heads) / width).sqrt()
        }
        _ => 0.0,
    }
}

/// Causal pairs of a training batch, which turn a mean square of logits into a sum; none where the configuration does not
/// say.
pub(crate) fn batch_pairs(run: &Run) -> Option<f64> {
    let config = &run.info().config;
    let batch = config.get("batch")?.as_f64()?;
    let context = config.get("model")?.get("context")?.as_f64()?;
    Some(batch * context * (context + 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_share_a_key_add_up() {
        let mut group = KeyGroup::default();
        assert_eq!(group.add(2, 0, 1.0, 3.0), None);
        assert_eq!(group.add(2, 1, 0.5, 3.0), Some((1.5, 6.0)));
        // A missing head leaves its group undefined, the next one is whole again.
        assert!(group.add(2, 3, 1.0, 1.0).is_none_or(|(sgs, _)| sgs.is_nan()));
        assert_eq!(group.add(2, 4, 1.0, 1.0), None);
        assert_eq!(group.add(2, 5, 1.0, 1.0), Some((2.0, 2.0)));
        assert_eq!(KeyGroup::default().add(1, 7, 0.25, 1.0), Some((0.25, 1.0)));
    }
}
