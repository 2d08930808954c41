//! Figures of runs: losses, distances and speed.

use std::path::Path;

use growthpath_figures::arms::{ArmStyle, arm_styles};
use growthpath_figures::model::{Axis, Bar, Item, LegendEntry, Marker, Panel};
use growthpath_figures::scale::Scale;
use growthpath_figures::{Drawing, Format, Width};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::train::{Row, read_table};

/// A run to draw: its name and its folder's rows.
#[derive(Clone, Debug)]
pub struct Drawn {
    name: String,
    steps: Vec<Row>,
    evaluations: Vec<Row>,
}

impl Drawn {
    /// The rows of the run in `folder`.
    ///
    /// # Errors
    /// Missing or damaged tables.
    pub fn read(name: &str, folder: &Path) -> Result<Self> {
        let steps = read_table(&folder.join("steps.csv"))?;
        let evaluations = read_table(&folder.join("evaluations.csv"))?;
        Ok(Self { name: name.to_string(), steps, evaluations })
    }

    /// Median seconds of a step.
    pub fn seconds(&self) -> f64 {
        crate::bench::spread(&self.steps.iter().map(|r| r[6]).collect::<Vec<_>>()).median
    }

    /// The last evaluation: images seen, FD-lite1, KID, its standard error.
    pub fn last(&self) -> Option<(f64, f64, f64, f64)> {
        self.evaluations.last().map(|r| (r[1], r[2], r[3], r[4]))
    }
}

/// Mean over a centred window.
fn smooth(points: &[(f64, f64)], half: usize) -> Vec<(f64, f64)> {
    (0..points.len())
        .map(|i| {
            let window = &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
            (points[i].0, window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64)
        })
        .collect()
}

fn column(rows: &[Row], c: usize) -> Vec<(f64, f64)> {
    rows.iter().map(|r| (r[1] / 1000.0, r[c])).collect()
}

fn images_axis() -> Axis {
    Axis::new("images seen (thousands)", Scale::Linear)
}

fn frame(title: &str, runs: &[Drawn]) -> (Drawing, Vec<ArmStyle>) {
    // No configuration of growthpath's: the names decide.
    let names: Vec<(&Value, &str)> = runs.iter().map(|r| (&Value::Null, r.name.as_str())).collect();
    let styles = arm_styles(&names);
    let mut figure = Drawing::new(title);
    let entry = |(r, s): (&Drawn, &ArmStyle)| LegendEntry::line(&r.name, s.stroke());
    figure.legend = runs.iter().zip(&styles).map(entry).collect();
    (figure, styles)
}

/// Both losses and both mean logits over images seen.
pub fn losses(runs: &[Drawn]) -> Drawing {
    let (mut figure, styles) = frame("Losses and logits", runs);
    figure.columns = 2;
    figure.share_x = true;
    for (title, label, c) in [
        ("Generator", "loss", 2),
        ("Discriminator", "hinge loss", 3),
        ("Real images", "mean logit", 4),
        ("Generated images", "mean logit", 5),
    ] {
        let mut panel = Panel::new(title, images_axis(), Axis::new(label, Scale::Linear));
        for (run, style) in runs.iter().zip(&styles) {
            let points = smooth(&column(&run.steps, c), run.steps.len() / 60);
            panel.items.push(Item::Line { points, stroke: style.stroke(), band: Vec::new() });
        }
        figure.panels.push(panel);
    }
    figure
}

/// FD-lite1 and KID (with two standard errors) over images seen.
pub fn distances(runs: &[Drawn]) -> Drawing {
    let (mut figure, styles) = frame("Distance to the training images", runs);
    figure.columns = 2;
    let mut fd = Panel::new("FD-lite1", images_axis(), Axis::new("Frechet distance", Scale::Linear));
    let mut kid =
        Panel::new("KID (lite1 features)", images_axis(), Axis::new("kernel distance", Scale::Linear));
    for (run, style) in runs.iter().zip(&styles) {
        let points = column(&run.evaluations, 2);
        fd.items.push(Item::Line { points: points.clone(), stroke: style.stroke(), band: Vec::new() });
        fd.items.push(Item::Scatter { points, marker: Marker::Circle, colour: style.colour, radius: 2.6 });
        let band = run.evaluations.iter().map(|r| (r[1] / 1000.0, r[3] - 2.0 * r[4], r[3] + 2.0 * r[4]));
        let points = column(&run.evaluations, 3);
        kid.items.push(Item::Line { points, stroke: style.stroke(), band: band.collect() });
    }
    figure.panels = vec![fd, kid];
    figure
}

/// Seconds of a step of each run.
pub fn speed(runs: &[Drawn]) -> Drawing {
    let (mut figure, styles) = frame("Time of a training step", runs);
    let names = runs.iter().map(|r| r.name.clone()).collect();
    let mut panel =
        Panel::new("", Axis::categories("", names), Axis::new("seconds a step (median)", Scale::Linear));
    let bars = runs.iter().zip(&styles).enumerate().map(|(i, (run, style))| Bar {
        x: i as f64,
        width: 0.5,
        from: 0.0,
        to: run.seconds(),
        colour: style.colour,
        label: format!("{:.2} s", run.seconds()),
    });
    panel.items.push(Item::Bars { bars: bars.collect(), lying: false });
    figure.legend.clear();
    figure.panels.push(panel);
    figure
}

/// Save `figure` as `name.svg` and `name.png` in `folder`.
///
/// # Errors
/// A path that cannot be written.
pub fn save(figure: &Drawing, folder: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    figure.save(folder.join(format!("{name}.svg")), Format::Svg, Width::Page)?;
    Ok(figure.save(folder.join(format!("{name}.png")), Format::Png, Width::Page)?)
}
