//! `entropy`: normalised attention entropy of the two halves over steps.

use super::common::{Halves, StepScale, arm_legend, half_legend, step_axis};
use crate::model::{Axis, Figure, Panel};
use crate::scale::Scale;
use crate::style::arm_styles;

/// One arm.
#[derive(Clone, Debug, Default)]
pub struct Arm {
    /// Arm name; decides the colour.
    pub name: String,
    /// Entropy over ln(row length), 1 = uniform attention.
    pub entropy: Halves,
}

/// What [`entropy`] draws.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Arms, drawn together.
    pub arms: Vec<Arm>,
    /// Step axis.
    pub step_scale: StepScale,
}

/// Upper half solid, lower half dashed, arms in their colours.
pub fn entropy(input: &Input) -> Figure {
    let mut figure = Figure::new("Attention entropy: upper against lower half");
    let names: Vec<&str> = input.arms.iter().map(|a| a.name.as_str()).collect();
    let styles = arm_styles(&names);
    figure.legend = arm_legend(&names, &styles, false);
    figure.legend.extend(half_legend());
    figure.panel_height = 230.0;
    let steps = input.arms.iter().flat_map(|a| a.entropy.upper.steps.iter().chain(&a.entropy.lower.steps));
    let mut panel = Panel::new(
        "",
        step_axis(input.step_scale, steps),
        Axis::new("entropy / ln(row length)", Scale::Linear),
    );
    for (arm, style) in input.arms.iter().zip(&styles) {
        panel.items.extend(arm.entropy.lines(*style));
    }
    figure.panels.push(panel);
    figure
}
