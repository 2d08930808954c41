//! The figures: one file each, and one line in [`FIGURES`].

mod ablation;
mod common;
mod diagnosis;
mod energy_shares;
mod entropy;
mod factors;
mod growth_bound;
mod growth_depth;
mod growth_shares;
mod lead_lag;
mod loss;
mod needs;
mod prediction;
mod seeds;
mod sensitivity;
mod shapley;
mod spread_heatmap;
mod tightness;
mod write_energy;

use crate::material::Material;
use crate::model::Drawing;
use crate::render::has_data;
use needs::Needs;

/// One kind of figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Kebab-case name on the command line and of files.
    pub name: &'static str,
    /// What it shows, one line.
    pub about: &'static str,
    /// What it is drawn from.
    needs: Needs,
    /// Draws it: one drawing, or one for each run or pair.
    pub draw: fn(&Material) -> Vec<Drawing>,
}

/// All figures, in the order in which a report shows them.
#[rustfmt::skip]
pub const FIGURES: &[Figure] = &[
    Figure { name: "loss", about: "training and validation loss, with the entropy rate where it is known", needs: Needs::Losses, draw: loss::draw },
    Figure { name: "spread-heatmap", about: "spread of the attention logits by layer and step, with the hold and both times", needs: Needs::Heads, draw: spread_heatmap::draw },
    Figure { name: "growth-shares", about: "where growth came from: query weights, key weights and features, layer by layer", needs: Needs::Intervals, draw: growth_shares::draw },
    Figure { name: "growth-depth", about: "the same split over depth, with its scatter over heads as bands", needs: Needs::Intervals, draw: growth_depth::draw },
    Figure { name: "shapley", about: "from one arm's growth to another's, lever by lever: a waterfall", needs: Needs::Pair, draw: shapley::draw },
    Figure { name: "diagnosis", about: "when the upper half committed and when the lower half settled", needs: Needs::Verdict, draw: diagnosis::draw },
    Figure { name: "ablation", about: "what the loss loses without the attention of a layer or a half, with intervals", needs: Needs::Reliance, draw: ablation::draw },
    Figure { name: "sensitivity", about: "final loss and spread of the upper half by multiplier and hold, over slowed runs", needs: Needs::Settings, draw: sensitivity::draw },
    Figure { name: "entropy", about: "normalised attention entropy of the two halves over steps", needs: Needs::Heads, draw: entropy::draw },
    Figure { name: "factors", about: "step size, residual energy, coherence and scale of the weight path over steps", needs: Needs::Intervals, draw: factors::draw },
    Figure { name: "energy-shares", about: "which upstream writes each layer's attention grows on", needs: Needs::Intervals, draw: energy_shares::draw },
    Figure { name: "write-energy", about: "energy of every residual write by layer and site over steps", needs: Needs::Writes, draw: write_energy::draw },
    Figure { name: "prediction", about: "predicted against measured growth: query weights, key weights, features", needs: Needs::Intervals, draw: prediction::draw },
    Figure { name: "lead-lag", about: "how early signals go with the growth that follows, by lag", needs: Needs::Signals, draw: lead_lag::draw },
    Figure { name: "growth-bound", about: "growth by the weights under its bound, and the share of coherent growth", needs: Needs::Intervals, draw: growth_bound::draw },
    Figure { name: "seeds", about: "arms over seeds: spread of both halves and loss against the first arm, with 95 % bands", needs: Needs::Seeds, draw: seeds::draw },
    Figure { name: "tightness", about: "logit change over its two bounds over steps", needs: Needs::Intervals, draw: tightness::draw },
];

/// Names that figures had before.
const ALIASES: &[(&str, &str)] = &[("rate-scatter", "prediction")];

/// The figure of a name, or of a name that it had before.
pub fn figure(name: &str) -> Option<&'static Figure> {
    let name = ALIASES.iter().find(|a| a.0 == name).map_or(name, |a| a.1);
    FIGURES.iter().find(|f| f.name == name)
}

impl Figure {
    /// Why it cannot be drawn of these runs, and the mend; asked where [`Figure::drawings`] has nothing.
    pub fn why_not(&self, material: &Material) -> String {
        self.needs.unmet(material)
    }

    /// The drawings that show something, without the panels that do not.
    pub fn drawings(&self, material: &Material) -> Vec<Drawing> {
        let mut drawings = (self.draw)(material);
        for drawing in &mut drawings {
            drawing.panels.retain(has_data);
        }
        drawings.retain(|d| !d.panels.is_empty());
        drawings
    }
}
