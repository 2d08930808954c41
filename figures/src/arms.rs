//! One colour and one dash for every arm, decided by what was trained and not by its label: an arm and its slowed
//! twins share a pair of hues, the twin in the lighter one and dashed. Pairs differ in lightness, so that they are
//! told apart in grey too.

use serde_json::{Value, json};

use crate::colour::Colour;
use crate::model::{Dash, Stroke};
use crate::style::LINE;

/// Colour and dash of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmStyle {
    /// Line, bar or marker colour.
    pub colour: Colour,
    /// Solid for an arm as it is, broken for a slowed twin.
    pub dash: Dash,
}

impl ArmStyle {
    /// A data line in this style.
    pub fn stroke(self) -> Stroke {
        self.stroke_of(LINE)
    }

    /// A line of the given width in this style.
    pub fn stroke_of(self, width: f64) -> Stroke {
        Stroke { colour: self.colour, width, dash: self.dash }
    }
}

/// An architecture's own pair of hues: (norm, ffn, biases, positions), as it is, slowed.
type Known = (&'static str, &'static str, bool, &'static str, Colour, Colour);

const KNOWN: [Known; 8] = [
    ("layernorm", "gelu", true, "learned", Colour::hex(0x0B4F8A), Colour::hex(0x56A8DC)),
    ("rmsnorm", "swiglu", false, "rope", Colour::hex(0xC9480A), Colour::hex(0xF0A23C)),
    ("layernorm", "geglu", true, "learned", Colour::hex(0x00705A), Colour::hex(0x4DBE9E)),
    ("layernorm", "swiglu", true, "learned", Colour::hex(0x8A2E75), Colour::hex(0xD68CC4)),
    ("rmsnorm", "gelu", true, "learned", Colour::hex(0x222222), Colour::hex(0x8A8A8A)),
    ("layernorm", "gelu", false, "learned", Colour::hex(0x6B6B00), Colour::hex(0xB5B04A)),
    ("layernorm", "gelu", true, "rope", Colour::hex(0x4A3FB5), Colour::hex(0x9C96E8)),
    ("rmsnorm", "silu", false, "rope", Colour::hex(0x6E3318), Colour::hex(0xB98468)),
];

/// Pairs for arms that are not known, taken in order.
const SPARE: [(Colour, Colour); 6] = [
    (Colour::hex(0x2B7A78), Colour::hex(0x7CC6C3)),
    (Colour::hex(0x8C1D40), Colour::hex(0xD77E9B)),
    (Colour::hex(0x5B7F1E), Colour::hex(0xA9C96B)),
    (Colour::hex(0x3A4A63), Colour::hex(0x8FA3C2)),
    (Colour::hex(0xA0522D), Colour::hex(0xD9A37F)),
    (Colour::hex(0x5E2A84), Colour::hex(0xB38AD1)),
];

/// Dashes of the slowed twins of one arm, in order.
const TWINS: [Dash; 3] = [Dash::Dashed, Dash::DashDot, Dash::Dotted];

/// How far the hue of each twin is turned from the pair's own, and how much darker it is: bars and markers, which have
/// no dash, are told apart by it.
const TURNS: [(f64, f64); 9] = [
    (0.0, 0.0),
    (50.0, -0.09),
    (-50.0, -0.05),
    (100.0, 0.0),
    (-100.0, -0.09),
    (150.0, -0.05),
    (-150.0, 0.0),
    (25.0, -0.12),
    (-25.0, -0.12),
];

/// The style of the `k`-th slowed twin of an arm whose first twin has the colour `light`.
fn twin_style(light: Colour, k: usize) -> ArmStyle {
    let (degrees, darker) = TURNS[k % TURNS.len()];
    // Where the hues come round again, the dashes are others.
    ArmStyle { colour: light.turned(degrees, darker), dash: TWINS[(k + k / TURNS.len()) % TWINS.len()] }
}

/// What decides the hue: all that training depends on but seed and intervention. A trace of another program, whose
/// configuration says nothing, goes by its label.
fn hue_key(config: &Value, label: &str) -> Value {
    const TRAINS: [&str; 8] =
        ["model", "data", "tokenizer", "batch", "optimizer", "schedule", "weight_decay", "clip"];
    let trains: Vec<&Value> = TRAINS.iter().filter_map(|k| config.get(k)).collect();
    let of_label = trains.is_empty().then_some(label);
    json!([trains, of_label])
}

fn known(config: &Value) -> Option<(Colour, Colour)> {
    let model = config.get("model")?;
    let text = |key: &str| model.get(key).and_then(Value::as_str);
    let (norm, ffn, positions) = (text("norm")?, text("ffn")?, text("pos")?);
    let bias = model.get("bias").and_then(Value::as_bool)?;
    let found = KNOWN.iter().find(|k| (k.0, k.1, k.2, k.3) == (norm, ffn, bias, positions))?;
    Some((found.4, found.5))
}

/// Styles of runs by (configuration, label), in order. Runs that differ in the seed alone share one.
pub fn arm_styles(runs: &[(&Value, &str)]) -> Vec<ArmStyle> {
    let mut hues: Vec<(Value, (Colour, Colour), Vec<Value>)> = Vec::new();
    let mut spare = SPARE.iter().cycle();
    let mut styles = Vec::with_capacity(runs.len());
    for (config, label) in runs {
        let key = hue_key(config, label);
        let place = hues.iter().position(|h| h.0 == key).unwrap_or_else(|| {
            let own = known(config).filter(|pair| hues.iter().all(|h| h.1 != *pair));
            hues.push((key, own.or_else(|| spare.next().copied()).unwrap_or(SPARE[0]), Vec::new()));
            hues.len() - 1
        });
        let (_, (plain, light), twins) = &mut hues[place];
        styles.push(match config.get("intervention").filter(|i| !i.is_null()) {
            None => ArmStyle { colour: *plain, dash: Dash::Solid },
            Some(intervention) => {
                let twin = twins.iter().position(|t| t == intervention).unwrap_or_else(|| {
                    twins.push(intervention.clone());
                    twins.len() - 1
                });
                twin_style(*light, twin)
            }
        });
    }
    styles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ffn: &str, lr: f64, seed: u64, intervention: Value) -> Value {
        json!({
            "model": {"norm": "layernorm", "ffn": ffn, "bias": true, "pos": "learned"},
            "schedule": {"lr": lr}, "seed": seed, "intervention": intervention,
        })
    }

    #[test]
    fn twins_share_a_pair_whatever_the_labels() {
        let slow = |m: f64| json!({"target": "upper-qk", "multiplier": m});
        let configs = [
            config("gelu", 1e-3, 1, Value::Null),
            config("gelu", 1e-3, 1, slow(0.25)),
            config("gelu", 1e-3, 2, Value::Null),
            config("gelu", 1e-3, 1, slow(0.5)),
            config("gelu", 1e-1, 1, Value::Null),
        ];
        let runs: Vec<(&Value, &str)> = configs.iter().zip(["x", "y", "z", "u", "v"]).collect();
        let s = arm_styles(&runs);
        assert_eq!((s[0].colour, s[0].dash), (KNOWN[0].4, Dash::Solid));
        assert_eq!((s[1].colour, s[1].dash), (KNOWN[0].5, Dash::Dashed));
        assert_eq!(s[2], s[0], "a seed is no arm");
        assert!(s[3].colour != s[1].colour && s[3].dash == Dash::DashDot, "another multiplier is told apart");
        assert!(
            s[4].colour != s[0].colour && s[4].dash == Dash::Solid,
            "another learning rate is another arm"
        );
    }

    #[test]
    fn many_twins_are_told_apart_by_colour_and_by_dash() {
        let configs: Vec<Value> = [0.0, 0.25, 0.5]
            .into_iter()
            .flat_map(|m| [0.02, 0.04, 0.12].map(|h| (m, h)))
            .map(|(m, h)| json!({"target": "upper-qk", "multiplier": m, "hold": {"fraction": h}}))
            .map(|i| config("gelu", 1e-3, 1, i))
            .collect();
        let s = arm_styles(&configs.iter().map(|c| (c, "x")).collect::<Vec<_>>());
        for (i, a) in s.iter().enumerate() {
            assert!(a.colour.lightness() < 0.8, "{i}: too pale for a line on paper");
            for b in &s[..i] {
                assert_ne!(a.colour, b.colour, "{i}");
            }
        }
        let all: Vec<ArmStyle> = (0..27).map(|k| twin_style(KNOWN[0].5, k)).collect();
        assert!(
            (0..27).all(|i| (0..i).all(|j| all[i] != all[j])),
            "colour and dash together come round late"
        );
    }

    #[test]
    fn strangers_go_by_their_label() {
        let nothing = json!({});
        let s = arm_styles(&[(&nothing, "a"), (&nothing, "b"), (&nothing, "a")]);
        assert_eq!(s[0], s[2]);
        assert_ne!(s[0].colour, s[1].colour);
    }

    #[test]
    fn pairs_are_distinct_legible_and_told_apart_in_grey() {
        let pairs: Vec<(Colour, Colour)> =
            KNOWN.iter().map(|k| (k.4, k.5)).chain(SPARE.iter().copied()).collect();
        for (i, (plain, light)) in pairs.iter().enumerate() {
            assert!(light.lightness() - plain.lightness() > 0.15, "{i}: twin too alike in grey");
            assert!(light.lightness() < 0.8, "{i}: too pale for a line on paper");
            for other in &pairs[..i] {
                assert!(plain != &other.0 && light != &other.1);
            }
        }
        // The two that most figures set side by side.
        assert!(pairs[1].0.lightness() - pairs[0].0.lightness() > 0.1);
    }
}
