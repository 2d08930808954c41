//! `factors`: the factors of the predicted growth rate over steps (5.1).

use super::common::{Halves, StepScale, arm_legend, half_legend, step_axis};
use crate::model::{Axis, Figure, Panel};
use crate::scale::Scale;
use crate::style::arm_styles;

/// One arm.
#[derive(Clone, Debug, Default)]
pub struct Arm {
    /// Arm name; decides the colour.
    pub name: String,
    /// Step-size term eta u: size of the weight change a step.
    pub step_size: Halves,
    /// Residual energy e: RMS logit change per unit of weight change.
    pub energy: Halves,
    /// Coherence c, in [-1, 1].
    pub coherence: Halves,
    /// Scale a^: predicted spread, logit units.
    pub scale: Halves,
}

/// What [`factors`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Arms, drawn together.
    pub arms: Vec<Arm>,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Two by two panels, one a factor: upper half solid, lower half dashed.
pub fn factors(input: &Input) -> Figure {
    let mut figure = Figure::new("Factors of the growth rate: ĝ = ηu · e · c / â");
    figure.columns = 2;
    figure.share_x = true;
    figure.panel_height = 140.0;
    let names: Vec<&str> = input.arms.iter().map(|a| a.name.as_str()).collect();
    let styles = arm_styles(&names);
    figure.legend = arm_legend(&names, &styles, false);
    figure.legend.extend(half_legend());
    type Pick = fn(&Arm) -> &Halves;
    let panels: [(&str, &str, Scale, Pick); 4] = [
        ("step size", "η·u per step", Scale::Log, |a| &a.step_size),
        ("residual energy", "e (logits per unit weight)", Scale::Log, |a| &a.energy),
        ("coherence", "c", Scale::Linear, |a| &a.coherence),
        ("scale", "â (logit units)", Scale::Log, |a| &a.scale),
    ];
    for (title, label, scale, pick) in panels {
        let steps = input.arms.iter().flat_map(|a| pick(a).upper.steps.iter().chain(&pick(a).lower.steps));
        let mut panel = Panel::new(title, step_axis(input.step_scale, steps), Axis::new(label, scale));
        for (arm, style) in input.arms.iter().zip(&styles) {
            panel.items.extend(pick(arm).lines(*style));
        }
        figure.panels.push(panel);
    }
    figure
}
