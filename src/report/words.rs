//! The words that the report uses.

/// Term and meaning.
pub const WORDS: &[(&str, &str)] = &[
    (
        "spread",
        "RMS of a head’s row-centred logits on fixed held-out sequences; 0 exactly when attention is uniform.",
    ),
    (
        "growth",
        "Natural logarithm of the spread’s ratio between two times; exactly the sum of what query weights, key weights and features made of it (3.1). A negative part held it back.",
    ),
    (
        "predicted",
        "The same from weights and second moments alone, without any logit (4.2). A prediction, shown beside the measurement and never in its place.",
    ),
    ("commits", "The upper half is sharp and the loss relies on its attention."),
    ("settles", "The lower half’s maturity is above its threshold and stays there, wherever it is measured."),
    ("premature", "The upper half commits before the lower half settles."),
    ("upper half", "Layers from L/2 (rounded down) on."),
    ("reliance", "Loss with a part’s attention replaced by the uniform causal average, minus loss with it."),
    ("maturity", "Cosine of a layer’s key moment with the one a lag earlier."),
    (
        "turning",
        "1 − cosine between the logits of one probe and the next: how far the pattern changed rather than grew.",
    ),
    (
        "levers",
        "Starting spread, step size η, update geometry u, residual energy e, coherence c₀ and features: what a gap in predicted growth is split over (5.4).",
    ),
    ("entropy", "Attention entropy over ln(row length); 1 is uniform attention."),
];
