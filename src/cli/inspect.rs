//! `growthpath inspect`: attention's spectra in checkpoints, no training run needed.

use std::path::PathBuf;

use growthpath_analysis::spectral::{BalanceChange, HeadSpectrum, balance_change, head_spectra};
use serde::Serialize;

use super::output::{self, number, table};
use crate::error::{Error, Result};
use crate::model::foreign::{Attention, read_attention};

/// Arguments of `growthpath inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Checkpoint folders (config.json beside model.safetensors), in order of training
    #[arg(value_name = "CHECKPOINT", required = true)]
    checkpoints: Vec<PathBuf>,
    /// One row a head instead of one a layer
    #[arg(long)]
    heads: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Layer {
    layer: usize,
    heads: Vec<HeadSpectrum>,
    /// Spectral growth ln(|M|_2 now / |M|_2 at the checkpoint before), one a head.
    spectral_growth: Option<Vec<f64>>,
    /// Change of W_Q^T W_Q - W_K^T W_K since the checkpoint before, one a key head.
    balance: Option<Vec<BalanceChange>>,
}

#[derive(Serialize)]
struct Inspection {
    checkpoint: PathBuf,
    model_type: String,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rope: bool,
    layers: Vec<Layer>,
}

fn inspect(
    path: &std::path::Path,
    now: &Attention,
    before: Option<&(Attention, Inspection)>,
) -> Result<Inspection> {
    let mut layers = Vec::with_capacity(now.layers.len());
    for (l, w) in now.layers.iter().enumerate() {
        let heads = head_spectra(&w.wq, &w.wk, &now.layout)?;
        let (spectral_growth, balance) = match before {
            Some((a, i)) => {
                let old = &a.layers[l];
                let growth = heads.iter().zip(&i.layers[l].heads);
                let growth = growth.map(|(n, o)| (n.spectral_norm / o.spectral_norm).ln()).collect();
                (Some(growth), Some(balance_change((&old.wq, &old.wk), (&w.wq, &w.wk), &now.layout)?))
            }
            None => (None, None),
        };
        layers.push(Layer { layer: l, heads, spectral_growth, balance });
    }
    let l = now.layout;
    Ok(Inspection {
        checkpoint: path.to_path_buf(),
        model_type: now.model_type.clone(),
        heads: l.heads,
        kv_heads: l.kv_heads,
        head_dim: l.head_dim,
        rope: now.rope,
        layers,
    })
}

/// Run the verb.
pub fn run(args: &Args) -> Result<()> {
    let mut done: Vec<Inspection> = Vec::new();
    let mut last: Option<(Attention, Inspection)> = None;
    for path in &args.checkpoints {
        let attention = read_attention(path)?;
        if let Some((a, i)) = &last
            && (a.layout != attention.layout || a.layers.len() != attention.layers.len())
        {
            return Err(Error::usage(format!(
                "{} and {} differ in layers or heads: growth between them has no meaning",
                i.checkpoint.display(),
                path.display()
            )));
        }
        let inspection = inspect(path, &attention, last.as_ref())?;
        if let Some((_, i)) = last.replace((attention, inspection)) {
            done.push(i);
        }
    }
    done.extend(last.map(|l| l.1));
    if args.json { output::json(&done) } else { output::print(&text(&done, args.heads)) }
}

fn text(all: &[Inspection], by_head: bool) -> String {
    let mut out = String::new();
    for i in all {
        out += &format!(
            "{}: {}, {} layers, {} heads ({} for keys) of width {}{}\n",
            i.checkpoint.display(),
            i.model_type,
            i.layers.len(),
            i.heads,
            i.kv_heads,
            i.head_dim,
            if i.rope { ", rotary positions" } else { "" }
        );
        let mut rows = Vec::new();
        for l in &i.layers {
            let balance =
                l.balance.as_ref().map_or(f64::NAN, |b| b.iter().map(|b| b.relative).fold(0.0, f64::max));
            if by_head {
                for (h, s) in l.heads.iter().enumerate() {
                    let growth = l.spectral_growth.as_ref().map_or(f64::NAN, |g| g[h]);
                    rows.push(row(format!("{}.{h}", l.layer), std::slice::from_ref(s), growth, balance));
                }
            } else {
                let growth =
                    l.spectral_growth.as_ref().map_or(f64::NAN, |g| g.iter().sum::<f64>() / g.len() as f64);
                rows.push(row(l.layer.to_string(), &l.heads, growth, balance));
            }
        }
        let head = [
            if by_head { "layer.head" } else { "layer" },
            "|M|_2",
            "|M|_F",
            "stable rank",
            "entropy rank",
            "participation",
            "ln growth",
            "balance drift",
        ];
        out += &table(&head, &rows);
    }
    out += "M = W_Q W_K^T / sqrt(d_h) per head";
    out += if by_head { ".\n" } else { "; means over heads.\n" };
    out
}

fn row(name: String, heads: &[HeadSpectrum], growth: f64, balance: f64) -> Vec<String> {
    let mean = |f: fn(&HeadSpectrum) -> f64| number(heads.iter().map(f).sum::<f64>() / heads.len() as f64);
    vec![
        name,
        mean(|h| h.spectral_norm),
        mean(|h| h.frobenius_norm),
        mean(|h| h.stable_rank),
        mean(|h| h.entropy_rank),
        mean(|h| h.participation_rank),
        number(growth),
        number(balance),
    ]
}
