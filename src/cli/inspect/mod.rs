//! `growthpath inspect`: attention's spectra in checkpoints, no training run needed.

mod inspection;
mod text;

use std::path::PathBuf;

use growthpath_analysis::spectral::{HeadLayout, HeadSpectrum, balance_change, head_spectra};

use self::inspection::{Inspection, Layer};
use super::output;
use crate::error::{Error, Result};
use crate::qk_import::{Checkpoint, LayerWeights, NormGain, Pair, in_order};
use crate::train::checkpoint::unchanged_weights;

/// Arguments of `growthpath inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Checkpoint folders (config.json beside safetensors), ours or Hugging Face's; taken in order of their steps
    #[arg(value_name = "CHECKPOINT", required = true)]
    checkpoints: Vec<PathBuf>,
    /// Fold the gain (and bias) of the norm before attention into the weights: M then acts on the normalized stream
    #[arg(long)]
    fold_norms: bool,
    /// One row a head instead of one a layer
    #[arg(long)]
    heads: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Singular values of `scale W_Q W_K^T`; the analysis' own factor is `1 / sqrt(d_h)`.
fn spectra(pair: &Pair, layout: &HeadLayout, scale: f64) -> Result<Vec<HeadSpectrum>> {
    let factor = scale * (layout.head_dim as f64).sqrt();
    let plain = head_spectra(&pair.wq, &pair.wk, layout)?;
    if factor == 1.0 {
        return Ok(plain);
    }
    let scaled = |h: HeadSpectrum| h.singular_values.into_iter().map(|s| s * factor).collect();
    Ok(plain.into_iter().map(|h| HeadSpectrum::new(scaled(h))).collect())
}

fn growth(now: &[HeadSpectrum], before: &[HeadSpectrum]) -> Vec<f64> {
    now.iter().zip(before).map(|(n, o)| (n.spectral_norm / o.spectral_norm).ln()).collect()
}

/// One layer, against the same layer of the checkpoint before.
fn layer(now: &LayerWeights, before: Option<(&LayerWeights, &Layer)>, gain: NormGain) -> Result<Layer> {
    let heads = spectra(&now.weights(gain), &now.layout, now.scale)?;
    let augmented = now.augmented(gain).map(|p| spectra(&p, &now.layout, now.scale)).transpose()?;
    let mut out = Layer {
        layer: now.layer,
        attention_scale: now.scale,
        rope: now.rotation.rotary,
        heads,
        augmented,
        spectral_growth: None,
        augmented_growth: None,
        balance: None,
    };
    if let Some((weights, old)) = before {
        out.spectral_growth = Some(growth(&out.heads, &old.heads));
        out.augmented_growth = match (&out.augmented, &old.augmented) {
            (Some(n), Some(o)) => Some(growth(n, o)),
            _ => None,
        };
        let (was, is) = (weights.stored(), now.stored());
        out.balance = Some(balance_change((&was.wq, &was.wk), (&is.wq, &is.wk), &now.layout)?);
    }
    Ok(out)
}

/// Growth between two checkpoints has a meaning only where both have the same heads, norms and biases.
fn comparable(a: &Checkpoint, b: &Checkpoint) -> Result<()> {
    let both = || format!("{} and {}", a.path.display(), b.path.display());
    let no_growth = "growth between them has no meaning";
    if a.layout != b.layout || a.layers != b.layers || a.width != b.width {
        return Err(Error::usage(format!("{} differ in layers, heads or width: {no_growth}", both())));
    }
    if a.model_type != b.model_type {
        return Err(Error::usage(format!(
            "{} are of different architectures ({}, {}): {no_growth}",
            both(),
            a.model_type,
            b.model_type
        )));
    }
    Ok(())
}

fn same_biases(a: (&Checkpoint, &LayerWeights), b: (&Checkpoint, &LayerWeights)) -> Result<()> {
    let has = |w: &LayerWeights| (w.bq.is_some(), w.bk.is_some());
    if has(a.1) == has(b.1) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "only one of {} and {} has query and key biases (layer {}): growth between them has no meaning",
        a.0.path.display(),
        b.0.path.display(),
        a.1.layer
    )))
}

/// Inspect one checkpoint; of this and the one before a single layer is in memory at a time.
fn inspect(
    now: &Checkpoint,
    before: Option<&(Checkpoint, Inspection)>,
    gain: NormGain,
) -> Result<Inspection> {
    let bilinear = now.not_bilinear.is_none();
    let mut layers: Vec<Layer> = Vec::with_capacity(now.layers.len());
    let (fold, mut folded) = (gain == NormGain::Folded, false);
    for (i, &l) in now.layers.iter().enumerate() {
        let weights = now.layer(l)?;
        folded |= fold && weights.gain.is_some();
        let old = match before.filter(|b| bilinear && b.0.not_bilinear.is_none()) {
            Some((checkpoint, inspection)) => {
                let old = checkpoint.layer(l)?;
                same_biases((checkpoint, &old), (now, &weights))?;
                Some((old, &inspection.layers[i]))
            }
            None => None,
        };
        layers.push(layer(&weights, old.as_ref().map(|(w, l)| (w, *l)), gain)?);
    }
    let mut notes = now.notes.clone();
    if fold && !folded {
        notes.push("no norm with a gain stands before attention: nothing was folded".into());
    }
    if let Some((b, _)) = before.filter(|(b, _)| b.step.is_some() && b.step == now.step) {
        notes.push(format!(
            "at the step of {}: what is printed as growth compares two runs",
            b.path.display()
        ));
    }
    let HeadLayout { heads, kv_heads, head_dim } = now.layout;
    Ok(Inspection {
        checkpoint: now.path.clone(),
        step: now.step,
        model_type: now.model_type.clone(),
        heads,
        kv_heads,
        head_dim,
        rope: layers.iter().any(|l| l.rope),
        bilinear,
        not_bilinear: now.not_bilinear.clone(),
        norms_folded: folded,
        notes,
        layers,
    })
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let (paths, reordered) = in_order(&args.checkpoints)?;
    let gain = if args.fold_norms { NormGain::Folded } else { NormGain::Apart };
    let mut done: Vec<Inspection> = Vec::new();
    let mut last: Option<(Checkpoint, Inspection)> = None;
    for path in &paths {
        let checkpoint = Checkpoint::open(path)?;
        unchanged_weights(path)?;
        if let Some((before, _)) = &last {
            comparable(before, &checkpoint)?;
        }
        let inspection = inspect(&checkpoint, last.as_ref(), gain)?;
        if let Some((_, i)) = last.replace((checkpoint, inspection)) {
            done.push(i);
        }
    }
    done.extend(last.map(|l| l.1));
    if let (Some(first), Some(note)) = (done.first_mut(), reordered) {
        first.notes.push(note);
    }
    if args.json { output::json(&done) } else { output::print(&text::text(&done, args.heads)) }
}
