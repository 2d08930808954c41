//! The declaration itself: what the kernels add up and what is made of it.
//!
//! A line of `sums` or `maxima` is a number of a partial row: the kernels leave one row a (head, sequence), or a tile of
//! queries. A line of `statistics` is a column of `heads`:
//!
//! ```text
//! name ["unit"] scale "description" = |t, n| value;
//! ```
//!
//! `t` are a head's totals over the batch, `n` what they run over ([`Counted`]), `scale` says what the rounding of the
//! value is relative to ([`Scale`], in lower case). S are the post-scale logits, sums run over causal pairs, rows or tokens.
//! To add a statistic, add its lines here and add up what it needs in `kernels/src/attention/row.rs` and
//! `kernels/cuda/attention_row.cuh`; nothing else names it.

use crate::declare::{Accumulator, Combine, Counted, Scale, Statistic, declare};

/// Rows with fewer keys than this do not count towards sharpness (section 8).
pub const SHARP_KEYS: usize = 8;

/// Calls `$callback!` with what is given it in braces, then the two declarations: `forward`, of the logits, and
/// `backward`, of their gradient.
#[macro_export]
macro_rules! logit_statistics {
    ($callback:ident { $($given:tt)* }) => {
        $callback! {
            { $($given)* }
            forward {
                sums {
                    SQUARES "sum of S^2";
                    CENTRED "sum of the squares of the row-centred S";
                    ENTROPY "sum of H / ln(keys) over rows with at least 2 keys";
                    TOP1 "sum over rows of the largest weight";
                    SHARPNESS "sum of 1 - H / ln(keys) over rows with at least 8 keys";
                    DISTANCE "sum over rows i of i - j, j the key of the largest logit, the earliest of several";
                    LOGITS "sum of S";
                    QUERY "sum of |q|^2 over tokens";
                    KEY "sum of |k|^2 over tokens";
                    PAIRED_QUERY "sum of |q|^2 over causal pairs";
                    PAIRED_KEY "sum of |k|^2 over causal pairs";
                }
                maxima {
                    TOP "largest S";
                    DEPTH "largest -S";
                    BRACKET "worst violation of the bracket (2.5)";
                }
                statistics {
                    s_max ["1"] own "Largest logit over causal pairs of the training batch."
                        = |t, _| t[TOP];
                    s_min ["1"] own "Smallest logit over causal pairs."
                        = |t, _| -t[DEPTH];
                    s_ms ["1"] own "Mean square of the logits over causal pairs."
                        = |t, n| t[SQUARES] / n.pairs();
                    spread ["1"] own "RMS of the row-centred logits over causal pairs: the spread a."
                        = |t, n| (t[CENTRED] / n.pairs()).sqrt();
                    entropy ["1"] own "Attention entropy over ln(row length), mean over rows with at least 2 keys."
                        = |t, n| t[ENTROPY] / n.rows_with(2).max(1.0);
                    sharpness ["1"] one
                        "1 - entropy over ln(row length), mean over rows with at least 8 keys; undefined without such."
                        = |t, n| t[SHARPNESS] / n.some_rows_with(SHARP_KEYS);
                    top1 ["1"] own "Mean over rows of the largest attention weight."
                        = |t, n| t[TOP1] / n.tokens();
                    max_distance ["token"] choice
                        "Mean over rows of the distance back to the key of the largest logit, the earliest of several."
                        = |t, n| t[DISTANCE] / n.tokens();
                    q_rms ["1"] own "RMS norm of the queries, sqrt(mean |q|^2) over tokens, as attention sees them."
                        = |t, n| (t[QUERY] / n.tokens()).sqrt();
                    k_rms ["1"] own "RMS norm of the keys, as q_rms."
                        = |t, n| (t[KEY] / n.tokens()).sqrt();
                    qk_cos ["1"] one
                        "Cosine between queries and keys: sum q.k / sqrt(sum |q|^2 sum |k|^2), sums over causal pairs; undefined where one is zero."
                        = |t, n| n.cosine(t[LOGITS], t[PAIRED_QUERY], t[PAIRED_KEY]);
                    lse_gap ["1"] logit "Worst violation of the bracket (2.5); at most 0 when it holds."
                        = |t, _| t[BRACKET];
                }
            }
            backward {
                sums {
                    SQUARES "sum of G_S^2, G_S the gradient at S";
                    PRODUCT "sum of (S - c) G_S, c = LSE - ln(keys) of the row";
                }
                maxima {}
                statistics {
                    gs2 ["nat^2"] own "Squared norm of the gradient with respect to the logits."
                        = |t, _| t[SQUARES];
                    // Rows of G_S sum to zero, so any number may be taken off a row of S: LSE - ln(keys) is the row's mean
                    // up to half its variance, and a large common logit cancels before it meets the rounding of G_S.
                    sgs ["nat"] product "Inner product of row-centred logits and their gradient: equal to wg_q by (2.1)."
                        = |t, _| t[PRODUCT];
                }
            }
        }
    };
}

logit_statistics! { declare {} }
