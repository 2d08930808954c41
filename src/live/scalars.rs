//! A run's curves as named numbers a step: few enough for a display, whatever the model's size.

use std::collections::BTreeMap;

use growthpath_trace::{EvalRow, HeadRow, MaturityRow, RelianceRow, Run, StepRow};

use crate::error::Result;

/// [`RelianceRow::scope`] of a half, and its `layer` for the upper one.
const HALF: u8 = 2;
const UPPER: u16 = 1;

/// The numbers of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Optimizer steps done before it.
    pub step: u32,
    /// Seconds of training before it, counted from the recorded step times.
    pub seconds: f64,
    /// Name and value; names are stable over versions. Only finite values.
    pub values: Vec<(String, f64)>,
}

/// First step of each table that was not read yet.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    steps: u32,
    heads: u32,
    evals: u32,
    maturity: u32,
    reliance: u32,
}

/// Reads what is new in a run, call by call.
#[derive(Debug, Clone, Default)]
pub struct Scalars {
    next: Next,
    seconds: f64,
    /// Seconds of training before the newest steps, so that rows of other tables find their time.
    clock: BTreeMap<u32, f64>,
}

/// Steps whose time is kept.
const CLOCK: usize = 4096;

type Samples = BTreeMap<u32, Vec<(String, f64)>>;

impl Scalars {
    /// Every number recorded since the last call, in the order of the steps.
    ///
    /// # Errors
    /// A part that cannot be read.
    pub fn read(&mut self, run: &Run) -> Result<Vec<Sample>> {
        // All or nothing: what was read before an error is read again.
        let mut after = self.clone();
        let samples = after.collect(run)?;
        *self = after;
        Ok(samples)
    }

    fn collect(&mut self, run: &Run) -> Result<Vec<Sample>> {
        let mut new = Samples::new();
        self.steps(run, &mut new)?;
        self.heads(run, &mut new)?;
        self.evals(run, &mut new)?;
        self.maturity(run, &mut new)?;
        self.reliance(run, &mut new)?;
        let samples = new.into_iter().map(|(step, values)| Sample {
            step,
            seconds: self.clock.range(..=step).next_back().map_or(0.0, |(_, s)| *s),
            values: values.into_iter().filter(|(_, v)| v.is_finite()).collect(),
        });
        let samples = samples.filter(|s| !s.values.is_empty()).collect();
        while self.clock.len() > CLOCK {
            self.clock.pop_first();
        }
        Ok(samples)
    }

    fn steps(&mut self, run: &Run, new: &mut Samples) -> Result<()> {
        for batch in run.stream::<StepRow>(self.next.steps..) {
            for r in batch? {
                self.clock.insert(r.step, self.seconds);
                self.seconds += f64::from(r.step_ms.max(0.0)) / 1e3;
                self.next.steps = r.step + 1;
                let values = [
                    ("train/loss", r.loss),
                    ("train/lr", r.lr),
                    ("train/grad_norm", r.grad_norm),
                    ("train/clip_scale", r.clip_scale),
                    ("train/qk_multiplier", r.qk_mult),
                ];
                let at = new.entry(r.step).or_default();
                at.extend(values.map(|(name, v)| (name.to_owned(), f64::from(v))));
                at.push(("train/tokens".to_owned(), r.tokens as f64));
            }
        }
        Ok(())
    }

    fn heads(&mut self, run: &Run, new: &mut Samples) -> Result<()> {
        let layers = usize::from(run.info().layers);
        let mut at: Option<Heads> = None;
        for batch in run.stream::<HeadRow>(self.next.heads..) {
            for r in batch? {
                if at.as_ref().is_some_and(|h| h.step != r.step)
                    && let Some(done) = at.take()
                {
                    done.tell(new);
                }
                at.get_or_insert_with(|| Heads::new(r.step, layers)).add(&r);
                self.next.heads = r.step + 1;
            }
        }
        at.into_iter().for_each(|h| h.tell(new));
        Ok(())
    }

    fn evals(&mut self, run: &Run, new: &mut Samples) -> Result<()> {
        for r in run.read::<EvalRow>(self.next.evals..)? {
            self.next.evals = r.step + 1;
            let values = [("valid/loss", r.loss), ("valid/perplexity", r.loss.exp())];
            new.entry(r.step).or_default().extend(values.map(|(n, v)| (n.to_owned(), v)));
        }
        Ok(())
    }

    /// Mean over the lower half's layers, over the run's own lag.
    fn maturity(&mut self, run: &Run, new: &mut Samples) -> Result<()> {
        let upper = run.info().layers / 2;
        let mut sums: BTreeMap<(u32, u32), (f64, f64)> = BTreeMap::new();
        for r in run.read::<MaturityRow>(self.next.maturity..)? {
            self.next.maturity = r.step + 1;
            if r.layer < upper {
                let sum = sums.entry((r.step, r.lag)).or_default();
                *sum = (sum.0 + r.maturity, sum.1 + 1.0);
            }
        }
        let name = |lag: u32| format!("attention/maturity_lower_lag{lag}");
        for ((step, lag), (sum, count)) in sums {
            new.entry(step).or_default().push((name(lag), sum / count));
        }
        Ok(())
    }

    fn reliance(&mut self, run: &Run, new: &mut Samples) -> Result<()> {
        for r in run.read::<RelianceRow>(self.next.reliance..)? {
            self.next.reliance = r.step + 1;
            if r.scope == HALF {
                let half = if r.layer == UPPER { "upper" } else { "lower" };
                new.entry(r.step).or_default().push((format!("attention/reliance_{half}"), r.delta));
            }
        }
        Ok(())
    }
}

/// What the heads of one step say together.
struct Heads {
    step: u32,
    /// Sum of ln spread and heads, layer by layer.
    spread: Vec<(f64, f64)>,
    /// Sum of sharpness and heads, layer by layer.
    sharpness: Vec<(f64, f64)>,
    largest: f64,
}

impl Heads {
    fn new(step: u32, layers: usize) -> Self {
        let none = vec![(0.0, 0.0); layers];
        Self { step, spread: none.clone(), sharpness: none, largest: f64::NAN }
    }

    fn add(&mut self, r: &HeadRow) {
        let layer = usize::from(r.layer);
        let put = |sums: &mut Vec<(f64, f64)>, v: f64| {
            if let Some(sum) = sums.get_mut(layer).filter(|_| v.is_finite()) {
                *sum = (sum.0 + v, sum.1 + 1.0);
            }
        };
        put(&mut self.spread, f64::from(r.spread).ln());
        put(&mut self.sharpness, f64::from(r.sharpness));
        self.largest = self.largest.max(f64::from(r.s_max));
    }

    fn tell(self, new: &mut Samples) {
        let mean = |sums: &[(f64, f64)]| {
            let (sum, count) = sums.iter().fold((0.0, 0.0), |a, s| (a.0 + s.0, a.1 + s.1));
            sum / count
        };
        let upper = self.spread.len() / 2;
        let at = new.entry(self.step).or_default();
        for (half, range) in [("lower", 0..upper), ("upper", upper..self.spread.len())] {
            at.push((format!("attention/spread_{half}"), mean(&self.spread[range.clone()]).exp()));
            at.push((format!("attention/sharpness_{half}"), mean(&self.sharpness[range])));
        }
        at.push(("attention/largest_logit".to_owned(), self.largest));
        for (layer, sum) in self.spread.iter().enumerate() {
            at.push((format!("spread/layer_{layer:02}"), (sum.0 / sum.1).exp()));
        }
    }
}
