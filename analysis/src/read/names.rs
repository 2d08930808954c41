//! Names of residual writes.

use growthpath_trace::WRITE_CONSTANT;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Name of a write: `embedding`, `attn_0`, `ffn_0`, `attn_1`, ..., and `constant` for the part of a
/// layer's input that no write supplies.
pub fn write_name(write: u16) -> String {
    match write {
        WRITE_CONSTANT => "constant".to_owned(),
        0 => "embedding".to_owned(),
        w if w % 2 == 1 => format!("attn_{}", w / 2),
        w => format!("ffn_{}", w / 2 - 1),
    }
}

/// Writes that an `L`-layer model can have, and the constant part: `2L + 2` slots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteSlots {
    layers: usize,
}

impl WriteSlots {
    pub fn new(layers: usize) -> Self {
        Self { layers }
    }

    pub fn count(&self) -> usize {
        2 * self.layers + 2
    }

    /// Slot of a write; `None` for one that the model does not have.
    pub fn slot(&self, write: u16) -> Option<usize> {
        match write {
            WRITE_CONSTANT => Some(2 * self.layers + 1),
            w => Some(usize::from(w)).filter(|w| *w <= 2 * self.layers),
        }
    }

    /// Name of a slot.
    pub fn name(&self, slot: usize) -> String {
        // At most 1024 layers are read, so slots fit.
        write_name(if slot > 2 * self.layers { WRITE_CONSTANT } else { slot as u16 })
    }
}

/// Values by name, in an order of their own; serialised as a map in that order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamedValues(pub Vec<(String, f64)>);

impl NamedValues {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }
}

impl Serialize for NamedValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_residual_order() {
        let slots = WriteSlots::new(2);
        let names: Vec<String> = (0..slots.count()).map(|s| slots.name(s)).collect();
        assert_eq!(names, ["embedding", "attn_0", "ffn_0", "attn_1", "ffn_1", "constant"]);
        for slot in 0..5 {
            assert_eq!(slots.slot(slot), Some(usize::from(slot)));
        }
        assert_eq!(slots.slot(5), None);
        assert_eq!(slots.slot(WRITE_CONSTANT), Some(5));
    }

    #[test]
    fn named_values_keep_their_order_and_write_nan_as_null() {
        let values = NamedValues(vec![("z".into(), 1.5), ("a".into(), f64::NAN)]);
        assert_eq!(serde_json::to_string(&values).unwrap(), r#"{"z":1.5,"a":null}"#);
    }
}
