//! Heads of a checkpoint, and where they stand in a fused projection.

use growthpath_analysis::spectral::HeadLayout;

use super::checkpoint::Checkpoint;
use super::family::{Order, Projection};
use super::matrix::Features;
use crate::error::Result;

impl Checkpoint {
    /// Heads by the configuration, and where it is silent by the shapes of the weights.
    pub(super) fn heads(&self) -> Result<HeadLayout> {
        let c = &self.config;
        let heads = c.need(&["num_attention_heads", "n_head", "n_heads", "num_heads"])?;
        let told = c.count(&["head_dim"])?;
        let told_kv = self.told_key_heads(heads)?;
        let rows = |module: &str| {
            let t = self.store.get(&self.attention(self.layers[0], &format!("{module}.weight")))?;
            t.shape.first().copied()
        };
        let divided =
            |n: Option<usize>, by: usize| n.filter(|n| by > 0 && n.is_multiple_of(by)).map(|n| n / by);
        let (head_dim, kv_heads) = match self.family.projection {
            Projection::Separate { q, k } => {
                let width = told.or_else(|| divided(rows(q), heads)).unwrap_or(self.width / heads);
                (width, told_kv.or_else(|| divided(rows(k), width)).unwrap_or(heads))
            }
            Projection::Fused { .. } => (told.unwrap_or(self.width / heads), told_kv.unwrap_or(heads)),
        };
        let layout = HeadLayout { heads, kv_heads, head_dim };
        if head_dim == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(c.wrong(format!(
                "gives {heads} heads, {kv_heads} for keys, of width {head_dim}: that fits no attention"
            )));
        }
        Ok(layout)
    }

    fn told_key_heads(&self, heads: usize) -> Result<Option<usize>> {
        let c = &self.config;
        match self.family.projection {
            Projection::Fused { order: Order::Falcon, .. } => {
                if c.flag(&["new_decoder_architecture"], false)? {
                    Ok(Some(c.count(&["num_kv_heads", "n_head_kv"])?.unwrap_or(heads)))
                } else {
                    Ok(Some(if c.flag(&["multi_query"], true)? { 1 } else { heads }))
                }
            }
            Projection::Fused { order: Order::BigCode, .. } => {
                Ok(Some(if c.flag(&["multi_query"], true)? { 1 } else { heads }))
            }
            Projection::Fused { order: Order::PerHead, .. } => Ok(Some(heads)),
            _ => c.count(&["num_key_value_heads", "attn_config.kv_n_heads"]),
        }
    }

    /// Output width of the projection, and where the features of queries and of keys stand in it.
    pub(super) fn fused(&self, order: Order) -> Result<(usize, Features, Features)> {
        let HeadLayout { heads, kv_heads, head_dim: n } = self.layout;
        let one_key = kv_heads == 1 && heads > 1;
        let order = match order {
            Order::Falcon if self.config.flag(&["new_decoder_architecture"], false)? => Order::Grouped,
            Order::Falcon | Order::BigCode if one_key => Order::Blocks,
            Order::Falcon | Order::BigCode => Order::PerHead,
            order => order,
        };
        let group = heads / kv_heads;
        let at = |start: usize, width: usize| start * n..(start + width) * n;
        Ok(match order {
            Order::PerHead => (
                3 * heads * n,
                (0..heads).map(|h| at(3 * h, 1)).collect(),
                (0..heads).map(|h| at(3 * h + 1, 1)).collect(),
            ),
            Order::Grouped => {
                let queries = (0..kv_heads).map(|g| at(g * (group + 2), group)).collect();
                let keys = (0..kv_heads).map(|g| at(g * (group + 2) + group, 1)).collect();
                (kv_heads * (group + 2) * n, queries, keys)
            }
            _ => {
                let (queries, keys) = (at(0, heads), at(heads, kv_heads));
                ((heads + 2 * kv_heads) * n, Vec::from([queries]), Vec::from([keys]))
            }
        })
    }
}
