//! The paired benchmark: what a step of each generator costs with the discriminator in the loop.

use serde::Serialize;

use crate::config::{GeneratorConfig, Variant};
use crate::count::{self, Count};
use crate::efficientnet::{EfficientNet, Size};
use crate::error::Result;
use crate::images::{Dataset, drawn_faces};
use crate::nn::stream;
use crate::train::{Settings, Trainer};

/// How memory is measured: by the program's allocator.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Bytes in use now; the maximum starts anew.
    pub mark: fn() -> usize,
    /// Most bytes in use since the mark.
    pub most: fn() -> usize,
}

/// What was measured of one generator.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Which.
    pub variant: Variant,
    /// Its parameters.
    pub parameters: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Seconds of a whole step, round by round.
    pub step: Vec<f64>,
    /// Seconds of the generator alone, forward and back.
    pub alone: Vec<f64>,
    /// Most bytes in use during a step, beyond those in use before the networks were made, by batch size.
    pub peak: Vec<(usize, usize)>,
}

/// A median with quartiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Lower quartile.
    pub low: f64,
    /// Median.
    pub median: f64,
    /// Upper quartile.
    pub high: f64,
}

/// Median and quartiles, interpolated; NaN for none.
pub fn spread(values: &[f64]) -> Spread {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    let at = |q: f64| {
        if v.is_empty() {
            return f64::NAN;
        }
        let x = q * (v.len() - 1) as f64;
        let (i, t) = (x as usize, x.fract());
        v[i] + t * (v[(i + 1).min(v.len() - 1)] - v[i])
    };
    Spread { low: at(0.25), median: at(0.5), high: at(0.75) }
}

/// Round by round, `a` over `b`.
pub fn paired(a: &[f64], b: &[f64]) -> Spread {
    spread(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
}

/// Where the peaks of two generators cross: both are fitted by `fixed + batch x each`; `None` where they are parallel or
/// fewer than two batches were measured.
pub fn crossing(a: &Measured, b: &Measured) -> Option<f64> {
    let ((a0, a1), (b0, b1)) = (line(&a.peak)?, line(&b.peak)?);
    let batch = (a0 - b0) / (b1 - a1);
    batch.is_finite().then_some(batch)
}

/// Least squares `(fixed, each)` in bytes.
pub fn line(points: &[(usize, usize)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0 as f64 / n, s.1 + p.1 as f64 / n));
    let sums = points.iter().fold((0.0, 0.0), |s, p| {
        let d = p.0 as f64 - mx;
        (s.0 + d * d, s.1 + d * (p.1 as f64 - my))
    });
    (sums.0 > 0.0).then(|| (my - sums.1 / sums.0 * mx, sums.1 / sums.0))
}

/// Parameters and multiply-accumulates of the four generators (two in the lite kind).
///
/// # Errors
/// A configuration that cannot be built.
pub fn counts(ngf: usize, resolution: usize, lite: bool) -> Result<Vec<(Variant, Count)>> {
    let mut rows = Vec::new();
    for variant in Variant::ALL {
        if lite && matches!(variant, Variant::First | Variant::Second) {
            continue;
        }
        let c = GeneratorConfig { ngf, resolution, variant, lite };
        c.check()?;
        rows.push((variant, count::generator(&c)));
    }
    Ok(rows)
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Job {
    /// One settings a generator, alike in everything else.
    pub settings: Vec<Settings>,
    /// Rounds of one step each; 0 leaves times out.
    pub rounds: usize,
    /// Batches at which peaks are measured.
    pub batches: Vec<usize>,
}

/// Measure; `network` makes a copy of the frozen network for each trainer, `said` hears what is being done.
///
/// # Errors
/// Settings that cannot be used, a step that fails.
pub fn measure(
    job: &Job,
    network: &dyn Fn(Size) -> Result<EfficientNet>,
    meter: Meter,
    said: &mut dyn FnMut(&str),
) -> Result<Vec<Measured>> {
    let mut all: Vec<Measured> = Vec::new();
    for s in &job.settings {
        let c = count::generator(&s.generator);
        all.push(Measured {
            variant: s.generator.variant,
            parameters: c.parameters,
            macs: c.macs,
            step: Vec::new(),
            alone: Vec::new(),
            peak: Vec::new(),
        });
    }
    let most = job.batches.iter().chain(job.settings.iter().map(|s| &s.batch)).max().copied().unwrap_or(2);
    let size = job.settings.first().map_or(128, |s| s.generator.resolution);
    let mut data = Dataset::new(drawn_faces(most, size, &mut stream(1, 8, 0)), size);
    if let Some(&batch) = job.batches.first() {
        for s in &job.settings {
            said(&format!("first steps: {}", s.generator.variant.name()));
            peak(&Settings { batch, ..s.clone() }, network, meter, &mut data)?;
        }
    }
    for (s, m) in job.settings.iter().zip(&mut all) {
        for &batch in &job.batches {
            said(&format!("peak memory: {}, batch {batch}", m.variant.name()));
            let s = Settings { batch, ..s.clone() };
            m.peak.push((batch, peak(&s, network, meter, &mut data)?));
        }
    }
    if job.rounds > 0 {
        time(job, network, &mut data, &mut all, said)?;
    }
    Ok(all)
}

/// Most bytes during the second step: the first makes the optimizers' moments. What threads keep for matrix products once
/// they have made one (faer's scratch, some 170 MiB with two threads and 32 MiB of L3 cache) must have been taken before, or
/// the generator that happens to be measured first is charged with it.
fn peak(
    s: &Settings,
    network: &dyn Fn(Size) -> Result<EfficientNet>,
    meter: Meter,
    data: &mut Dataset,
) -> Result<usize> {
    let before = (meter.mark)();
    let mut trainer = Trainer::new(s.clone(), network(Size::Lite0)?)?;
    trainer.step(data)?;
    (meter.mark)();
    trainer.step(data)?;
    Ok((meter.most)().saturating_sub(before))
}

/// Rounds of one step each in rotated order, so that what the machine does meanwhile hits all of them alike.
fn time(
    job: &Job,
    network: &dyn Fn(Size) -> Result<EfficientNet>,
    data: &mut Dataset,
    all: &mut [Measured],
    said: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut trainers = Vec::new();
    for s in &job.settings {
        let mut t = Trainer::new(s.clone(), network(Size::Lite0)?)?;
        t.step(data)?;
        t.generator_alone()?;
        trainers.push(t);
    }
    for round in 0..job.rounds {
        said(&format!("step time: round {} of {}", round + 1, job.rounds));
        for i in 0..trainers.len() {
            let i = (i + round) % trainers.len();
            let report = trainers[i].step(data)?;
            all[i].step.push(report.seconds_g + report.seconds_d);
            all[i].alone.push(trainers[i].generator_alone()?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lines_and_crossings() {
        let s = spread(&[4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(s, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(paired(&[2.0, 6.0], &[1.0, 3.0]).median, 2.0);
        let of = |peak: Vec<(usize, usize)>| Measured {
            variant: Variant::Standard,
            parameters: 0,
            macs: 0,
            step: vec![],
            alone: vec![],
            peak,
        };
        let a = of(vec![(1, 110), (2, 120), (4, 140)]);
        let b = of(vec![(1, 62), (2, 74), (4, 98)]);
        // Sums of a few numbers near 100 round by some 1e-14 of them.
        let near =
            |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12 * wanted, "{found} {wanted}");
        let (start, slope) = line(&a.peak).unwrap();
        near(start, 100.0);
        near(slope, 10.0);
        near(crossing(&a, &b).unwrap(), 25.0);
        assert_eq!(crossing(&a, &a), None);
    }
}
