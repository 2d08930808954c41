//! What is recorded while the model trains: steps, heads, residual writes, evaluations.

use growthpath_statistics::logits::{LogitGradStats, LogitStats};

use super::table;

table! {
    /// One optimizer step.
    StepRow = Steps {
        key step: u32 ["step"] "Optimizer step, counted from 0.";
        num tokens: u64 ["token"] "Tokens trained on in all, this step's included.";
        num loss: f32 ["nat/token"] "Mean cross-entropy of the step's batch, before the update.";
        num lr: f32 ["1"] "Base learning rate of the step.";
        num qk_mult: f32 ["1"] "Multiplier on the learning rate of the W_Q and W_K that the intervention slows; 1 where it slows none.";
        num grad_norm: f32 ["nat"] "Global gradient norm before clipping.";
        num clip_scale: f32 ["1"] "Factor that clipping put on the gradient; 1 when it did not act.";
        num step_ms: f32 ["ms"] "Wall-clock time of the step.";
    }
}

/// The rows of `heads`, with the columns of the logits' statistics as they are declared.
macro_rules! head_table {
    (
        {
            $(#[$about:meta])* $name:ident = $table:ident { $($before:tt)* } { $($after:tt)* }
        }
        forward {
            sums $sums:tt maxima $maxima:tt
            statistics { $($logit:ident [$unit:literal] $scale:ident $doc:literal = $finish:expr;)+ }
        }
        backward {
            sums $gradient_sums:tt maxima $gradient_maxima:tt
            statistics { $($gradient:ident [$gunit:literal] $gscale:ident $gdoc:literal = $gfinish:expr;)+ }
        }
    ) => {
        table! {
            $(#[$about])*
            $name = $table {
                $($before)*
                $(opt $logit: f32 [$unit] $doc;)+
                $(opt $gradient: f32 [$gunit] $gdoc;)+
                $($after)*
            }
        }

        impl $name {
            /// Takes a head's statistics over.
            pub fn set_statistics(&mut self, logits: &LogitStats, gradients: &LogitGradStats) {
                $(self.$logit = logits.$logit as f32;)+
                $(self.$gradient = gradients.$gradient as f32;)+
            }
        }
    };
}

growthpath_statistics::logit_statistics! {
    head_table {
        /// One attention head at one optimizer step. Gradients are those before clipping, weights those before the
        /// update, inner products run over the head's slice of W_Q or W_K, biases included.
        HeadRow = Heads {
            key step: u32 ["step"] "Optimizer step, counted from 0.";
            key layer: u16 ["1"] "Layer, counted from the bottom.";
            key head: u16 ["1"] "Head in its layer.";
            num g_q2: f32 ["nat^2"] "Squared Frobenius norm of the gradient of W_Q, before clipping.";
            num g_k2: f32 ["nat^2"] "Squared Frobenius norm of the gradient of W_K, before clipping.";
            num g_qmax: f32 ["nat"] "Largest absolute entry of the gradient of W_Q.";
            num g_kmax: f32 ["nat"] "Largest absolute entry of the gradient of W_K.";
            num w_q2: f32 ["1"] "Squared Frobenius norm of W_Q before the update.";
            num w_k2: f32 ["1"] "Squared Frobenius norm of W_K before the update.";
            num d_q2: f32 ["1"] "Squared Frobenius norm of the update of W_Q as applied, weight decay included.";
            num d_k2: f32 ["1"] "Squared Frobenius norm of the update of W_K as applied, weight decay included.";
            num wg_q: f32 ["nat"] "Inner product of W_Q and its gradient: minus the sharpening pressure (2.1).";
            num wg_k: f32 ["nat"] "Inner product of W_K and its gradient: equal to wg_q by (2.1).";
            num wd_q: f32 ["1"] "Inner product of W_Q and its update (2.4).";
            num wd_k: f32 ["1"] "Inner product of W_K and its update (2.4).";
            num gd_q: f32 ["nat"] "Inner product of the gradient of W_Q and its update.";
            num gd_k: f32 ["nat"] "Inner product of the gradient of W_K and its update.";
            num lr: f32 ["1"] "Effective learning rate of this head's W_Q and W_K.";
        } {
            opt pressure_q: f32 ["1"] "Normalized sharpening pressure: cosine of W_Q and minus its gradient; undefined where one is zero.";
            opt pressure_k: f32 ["1"] "Cosine of W_K and minus its gradient; undefined where one is zero.";
            opt dm_f: f32 ["1"] "Frobenius norm of the first-order increment of M of the step's update; undefined between steps of --spectra-every.";
            opt dm_top: f32 ["1"] "Largest singular value of that increment, (dQ W_K^T + W_Q dK^T) / sqrt(d_h), biases included.";
            opt dm_entropy: f32 ["1"] "Entropy of its squared singular values over their sum, over ln(2 d_h).";
        }
    }
}

table! {
    /// One sub-block's residual write at one optimizer step; means run over the tokens of the batch.
    WriteRow = Writes {
        key step: u32 ["step"] "Optimizer step, counted from 0.";
        key layer: u16 ["1"] "Layer, counted from the bottom.";
        key site: u8 ["1"] "Sub-block that writes: 0 attention, 1 FFN.";
        num energy: f32 ["1"] "Mean squared norm of the write.";
        num common: f32 ["1"] "Squared norm of the write's mean over tokens: its common-mode energy.";
        num dot: f32 ["1"] "Mean inner product of the write and the stream that it adds to.";
        num h2_before: f32 ["1"] "Mean squared norm of the stream before the write.";
        num h2_after: f32 ["1"] "Mean squared norm of the stream after the write.";
        opt hidden_ms: f32 ["1"] "Second moment of the FFN's hidden activation, per unit; undefined for attention.";
        opt hidden_common: f32 ["1"] "Part of hidden_ms that is the mean over tokens; undefined for attention.";
    }
}

table! {
    /// One evaluation on held-out text.
    EvalRow = Evals {
        key step: u32 ["step"] "Optimizer steps done when it was taken.";
        num tokens: u64 ["token"] "Tokens trained on until then.";
        num loss: f64 ["nat/token"] "Mean cross-entropy over the evaluation sequences.";
        opt stderr: f64 ["nat/token"] "Standard error of loss over sequences; undefined for one sequence.";
        num sequences: u32 ["sequence"] "Sequences evaluated.";
    }
}

table! {
    /// One sequence of one evaluation: two runs evaluated on the same sequences are compared in pairs.
    EvalLossRow = EvalLosses {
        key step: u32 ["step"] "Optimizer steps done when it was taken.";
        key sequence: u32 ["1"] "Evaluation sequence, counted from 0.";
        num loss: f64 ["nat/token"] "Mean cross-entropy over the sequence.";
    }
}
