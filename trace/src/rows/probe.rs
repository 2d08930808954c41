//! What is measured on the fixed probe batch: growth accounting, prediction, bound, moments, shares, reliance.

use super::table;

/// [`ShareRow::write`] of the constant part of a layer's input (the norm's bias and the like).
pub const WRITE_CONSTANT: u16 = 65_535;

/// [`RelianceRow::head`] where a row speaks of a whole layer or half.
pub const WHOLE_LAYER: u16 = 65_535;

table! {
    /// One head at one probe, with the interval since the probe before it. At the first probe
    /// `prev_step == step` and every column about the interval is undefined.
    ProbeRow = Probe {
        key step: u32 ["step"] "Optimizer steps done when it was taken.";
        num prev_step: u32 ["step"] "Step of the probe before; step itself at the first probe.";
        key layer: u16 ["1"] "Layer, counted from the bottom.";
        key head: u16 ["1"] "Head in its layer.";
        num spread: f64 ["1"] "RMS of the row-centred logits over causal pairs: the spread a.";
        opt spread_prev: f64 ["1"] "The spread at the probe before.";
        opt entropy: f64 ["1"] "Attention entropy over ln(row length), mean over rows with at least 2 keys.";
        opt sharpness: f64 ["1"] "1 - entropy over ln(row length), mean over rows with at least 8 keys.";
        num top1: f64 ["1"] "Mean over rows of the largest attention weight.";
        num s_max: f64 ["1"] "Largest logit over causal pairs.";
        opt gamma: f64 ["ln"] "Log growth of the spread over the interval: gamma_q + gamma_k + gamma_f (3.1).";
        opt gamma_q: f64 ["ln"] "Part of the growth that the query weights made (3.1).";
        opt gamma_k: f64 ["ln"] "Part of the growth that the key weights made (3.1).";
        opt gamma_f: f64 ["ln"] "Part of the growth that the features made (3.1).";
        opt cos_theta: f64 ["1"] "Cosine between the row-centred logits at the interval's ends: turning (3.2).";
        opt a_hat: f64 ["1"] "Spread predicted from weights and moments (4.1); undefined where logits are not bilinear.";
        opt a_hat_prev: f64 ["1"] "Predicted spread at the probe before.";
        opt gamma_q_hat: f64 ["ln"] "Predicted part of the query weights (4.2).";
        opt gamma_k_hat: f64 ["ln"] "Predicted part of the key weights (4.2).";
        opt gamma_f_hat: f64 ["ln"] "Predicted part of the features (4.2).";
        opt eta: f64 ["1"] "Effective learning rate summed over the interval: step size of (5.1).";
        opt u: f64 ["1"] "Update geometry: update size dm_i per unit of eta (5.1).";
        opt dm_i: f64 ["1"] "Size of the change of M in the identity metric, eta u (5.1).";
        opt e: f64 ["1"] "Residual energy in the metric of the interval's start: |dM|_S per unit of dm_i (5.1).";
        opt c: f64 ["1"] "Coherence of dM with the mean of M and M' at the start, in [-1, 1] (5.1).";
        opt c0: f64 ["1"] "Coherence of dM with M at the start: the persistent part of c (5.1).";
        opt scale: f64 ["1"] "Predicted spread mid-interval in the metric of the start: the scale a of (5.1).";
        opt e_next: f64 ["1"] "Residual energy in the metric of the interval's end (5.1).";
        opt c_next: f64 ["1"] "Coherence in the metric of the interval's end (5.1).";
        opt scale_next: f64 ["1"] "Scale in the metric of the interval's end (5.1).";
        opt feature_step: f64 ["ln"] "R: predicted log growth by the features under the new weights (5.4).";
        opt ds_w: f64 ["1"] "RMS of the logit change that the weights make at the interval's first features (section 6).";
        opt gamma_w_start: f64 ["ln"] "Log growth that the weights make at the interval's first features (6.3).";
        opt bound_s: f64 ["1"] "Norm of the weight change s of the cheap bound (6.1).";
        opt bound_e: f64 ["1"] "Energy E of the cheap bound (6.1).";
        opt bound_omega: f64 ["1"] "Weight size omega, mid-interval, of the cheap bound (6.1).";
        opt bound_cheap: f64 ["1"] "The bound s E omega on ds_w (6.1).";
        opt bound_tight: f64 ["1"] "The bound on ds_w from the scatter of the keys (6.2).";
        opt e_max: f64 ["1"] "Upper bound on e without RoPE (5.2).";
    }
}

table! {
    /// The residual basis that one layer's attention sees at one probe (section 8).
    ProbeLayerRow = ProbeLayers {
        key step: u32 ["step"] "Optimizer steps done when it was taken.";
        key layer: u16 ["1"] "Layer, counted from the bottom.";
        opt eff_rank: f64 ["1"] "Effective rank of the key moment.";
        opt distinct: f64 ["1"] "Token-distinct fraction: trace of the key moment over that of the query moment.";
        num tr_sq: f64 ["1"] "Trace of the query moment.";
        num tr_sk: f64 ["1"] "Trace of the key moment.";
        opt lambda_sq: f64 ["1"] "Largest eigenvalue of the query moment.";
        opt lambda_sk: f64 ["1"] "Largest eigenvalue of the key moment.";
        opt lambda_x: f64 ["1"] "RMS over sequences of the largest eigenvalue of X^T X / T (6.1).";
    }
}

table! {
    /// Maturity of one layer's residual basis at one step, over one lag (section 8). The key moments compared lie
    /// exactly `lag` steps apart.
    MaturityRow = Maturity {
        key step: u32 ["step"] "Optimizer steps done when the later moment was taken.";
        key layer: u16 ["1"] "Layer, counted from the bottom.";
        key lag: u32 ["step"] "Steps between the two moments.";
        opt maturity: f64 ["1"] "Cosine between the key moment now and a lag earlier; undefined for a zero moment.";
    }
}

table! {
    /// How far one layer's key moment was from its final one; written when the run ends (section 8).
    SettlingRow = Settling {
        key step: u32 ["step"] "Optimizer steps done when the earlier moment was taken.";
        key layer: u16 ["1"] "Layer, counted from the bottom.";
        opt final_cosine: f64 ["1"] "Cosine between the key moment at this step and at the end of the run.";
    }
}

table! {
    /// What one upstream write supplies to one layer's input at one probe.
    ShareRow = Shares {
        key step: u32 ["step"] "Optimizer steps done when it was taken.";
        key layer: u16 ["1"] "Layer whose input is split, counted from the bottom.";
        key write: u16 ["1"] "Write: 0 embedding, 2l+1 attention of layer l, 2l+2 FFN of layer l, 65535 constant part.";
        opt stream_share: f64 ["1"] "Share of the stream's energy (2.3); adds up to 1 over writes.";
        opt energy_share: f64 ["1"] "Share of the squared logit change |dM|_S^2 (5.3); adds up to 1 over writes.";
        opt drift_share: f64 ["ln"] "Part of the predicted feature part of the growth that this write's drift makes (4.3).";
    }
}

table! {
    /// What the loss on fixed held-out windows loses when attention is replaced by the uniform causal average
    /// (section 8).
    RelianceRow = Reliance {
        key step: u32 ["step"] "Optimizer steps done when it was taken.";
        key scope: u8 ["1"] "What is replaced: 0 a head, 1 a layer, 2 a half of the layers.";
        key layer: u16 ["1"] "Layer; for a half: 0 lower, 1 upper.";
        key head: u16 ["1"] "Head; 65535 for a layer or a half.";
        num delta: f64 ["nat/token"] "Loss with the replacement minus loss without.";
        opt stderr: f64 ["nat/token"] "Standard error of delta over windows; undefined for one window.";
        num base_loss: f64 ["nat/token"] "Loss without replacement.";
        num sequences: u32 ["sequence"] "Windows that delta is a mean over.";
    }
}
