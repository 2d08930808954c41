//! Sizes from flags and files, held against what can be counted, recorded and held in memory, before anything is
//! allocated.

use super::config::{ProbeTimes, TrainConfig};
use crate::error::{Error, Result};
use crate::memory::{available, readable};
use crate::model::ModelConfig;
use crate::model::config::Positions;

/// Most tokens a step: batch times context.
const MOST_TOKENS: u128 = 1 << 31;

/// Most layers, and heads a layer: what a reader of the trace takes.
const MOST: usize = 1024;

/// Refuse sizes that cannot be counted or recorded.
///
/// # Errors
/// What is too large, and the most that it may be.
pub fn counted(config: &TrainConfig) -> Result<()> {
    let bad = |m: String| Err(Error::usage(m));
    let (m, wide) = (&config.model, |n: usize| n as u128);
    if m.layers > MOST || m.heads > MOST {
        return bad(format!(
            "{} layers of {} heads: at most {MOST} of {MOST} can be recorded",
            m.layers, m.heads
        ));
    }
    let tokens = wide(config.batch).saturating_mul(wide(m.context));
    if tokens > MOST_TOKENS {
        return bad(format!(
            "--batch {} times context {}: at most {MOST_TOKENS} tokens a step can be counted",
            config.batch, m.context
        ));
    }
    let most = 1 << 32;
    if [m.width, m.vocab, m.hidden, m.context].iter().any(|n| wide(*n) > most) {
        let hidden = if m.hidden > 0 { format!(", hidden width {}", m.hidden) } else { String::new() };
        return bad(format!(
            "width {}{}{hidden}, context {}: none may exceed {most}",
            m.width,
            vocabulary(m),
            m.context
        ));
    }
    Ok(())
}

/// The vocabulary in a message, once the tokenizer has decided it.
fn vocabulary(m: &ModelConfig) -> String {
    if m.vocab > 0 { format!(", vocabulary {}", m.vocab) } else { String::new() }
}

/// What must fit the memory that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The parameters and the optimizer's state.
    Parameters,
    /// The gradients and the activations of a step as well: the host trains.
    Step,
}

/// Refuse sizes that exceed the memory that is free.
/// Every estimate is a lower bound, so nothing that fits is refused.
///
/// # Errors
/// As [`counted`]; what takes how much, and what there is.
pub fn fit(config: &TrainConfig, holds: Holds) -> Result<()> {
    counted(config)?;
    let (m, wide) = (&config.model, |n: usize| n as u128);
    // No factor exceeds 2^34, so no product below overflows.
    let tokens = wide(config.batch) * wide(m.context);
    let (d, f, layers) = (wide(m.width), wide(m.hidden_width()), wide(m.layers));
    let embeddings = (wide(m.vocab) * if m.tied { 1 } else { 2 }
        + if m.pos == Positions::Learned { wide(m.context) } else { 0 })
        * d;
    let ffn = if m.ffn.gated() { 3 } else { 2 };
    let parameters = embeddings + layers * d * (4 * d + ffn * f);
    // Weights and two moments, and on the host gradients; four bytes each.
    let copies = if holds == Holds::Step { 4 } else { 3 };
    let mut needs = vec![("parameters and optimizer", 4 * copies * parameters)];
    if holds == Holds::Step {
        // Queries, keys, values and the stream of every layer.
        needs.push(("the activations of a step", 4 * 4 * tokens * d * layers));
    }
    if config.probe.times != ProbeTimes::Never {
        // One head's logits in float64.
        needs.push(("a probe's logits", wide(config.probe.length).saturating_pow(2).saturating_mul(8)));
    }
    let Some(free) = available() else { return Ok(()) };
    let all: u128 = needs.iter().map(|n| n.1).fold(0, u128::saturating_add);
    if all <= u128::from(free) {
        return Ok(());
    }
    let (what, most) = needs.into_iter().max_by_key(|n| n.1).unwrap_or(("it", all));
    Err(Error::usage(format!(
        "{} layers of width {}{}, batch {}, context {}: {what} alone take {} of memory and {} are free; choose smaller sizes",
        m.layers,
        m.width,
        vocabulary(m),
        config.batch,
        m.context,
        readable(most),
        readable(free.into()),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_that_is_not_known_yet_is_not_named() {
        let mut model = ModelConfig::preset("gpt", "nano").unwrap().0;
        assert_eq!(vocabulary(&model), "");
        model.vocab = 256;
        assert_eq!(vocabulary(&model), ", vocabulary 256");
    }
}
