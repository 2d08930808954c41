use super::*;
use crate::data::Source;
use crate::model::ModelConfig;
use crate::train::config::{Precision, ProbeConfig};
use crate::train::schedule::{Schedule, ScheduleShape};
use proptest::prelude::*;

/// A micro run with `--probe auto`.
pub fn config(steps: u32, budget: f64) -> TrainConfig {
    let (mut model, batch) = ModelConfig::preset("gpt", "micro").unwrap();
    model.vocab = 8192;
    TrainConfig {
        model,
        data: Source::BuiltIn { seed: 0, bytes: 1 << 16 },
        tokenizer: "bytes".into(),
        batch,
        steps,
        seed: 1,
        precision: Precision::F32,
        optimizer: growthpath_kernels::optimizer::Rule::Sgd { momentum: 0.9 },
        schedule: Schedule { shape: ScheduleShape::Constant, lr: 0.1, warmup: 0, final_fraction: 1.0 },
        weight_decay: 0.0,
        clip: 1.0,
        intervention: None,
        telemetry_every: 1,
        spectra_every: 0,
        probe: ProbeConfig {
            times: ProbeTimes::Auto { threshold: 0.25, budget },
            sequences: 4,
            length: 128,
            reliance_sequences: 16,
            maturity_lag: 0.02,
        },
        eval_every: 0,
        eval_sequences: 2,
        checkpoint_every: 0,
        init: None,
        checkpoint_probes: false,
        dump_step: None,
    }
}

fn rows(spread: f64, entropy: f64) -> Vec<HeadRow> {
    let row = |layer| HeadRow { layer, spread: spread as f32, entropy: entropy as f32, ..HeadRow::default() };
    (0..8).map(row).collect()
}

/// A whole run over a path of ln spreads: what was due at every boundary, and the cadence at its end. `late`: rows of a
/// step arrive after the next boundary, as from a device.
fn run(config: &TrainConfig, path: impl Fn(u32) -> f64, late: bool) -> (Vec<Due>, Cadence) {
    let mut c = Cadence::new(config);
    let mut all = vec![c.decide(0)];
    let see = |c: &mut Cadence, step: u32| {
        let spread = path(step).exp();
        c.observe(step, &rows(spread, 1.0 / (1.0 + 0.2 * spread)));
    };
    for done in 1..=config.steps {
        if !late {
            see(&mut c, done - 1);
        } else if done > 1 {
            see(&mut c, done - 2);
        }
        all.push(c.decide(done));
    }
    (all, c)
}

fn probes(due: &[Due]) -> Vec<u32> {
    (0..due.len() as u32).filter(|t| due[*t as usize].probe).collect()
}

/// Still until 20, five units of growth until 50, still again.
fn growth(step: u32) -> f64 {
    -3.0 + 5.0 * (f64::from(step.clamp(20, 50)) - 20.0) / 30.0
}

#[test]
fn dense_while_logits_move_and_sparse_where_they_rest() {
    let (due, c) = run(&config(300, 0.1), growth, false);
    let at = probes(&due);
    let moving = at.iter().filter(|t| (20..=54).contains(*t)).count();
    let resting = at.iter().filter(|t| (55..300).contains(*t)).count();
    // Per step, three times as often: 35 steps move, 245 rest and share what is left.
    assert!(moving >= 8 && moving * 245 >= 3 * resting * 35, "{at:?}");
    assert!(at.first() == Some(&0) && at.last() == Some(&300));
    assert!(c.state.spent.total() <= 30.0, "{:?}", c.state.spent);
    assert!(due.iter().filter(|d| d.halves).count() >= 3);
    assert!(due[300].halves);
}

#[test]
fn growth_that_resumes_late_is_not_starved() {
    let again = |t: u32| growth(t) + 2.0 * (f64::from(t.clamp(240, 260)) - 240.0) / 20.0;
    let (due, _) = run(&config(300, 0.1), again, false);
    let late = probes(&due).into_iter().filter(|t| (241..=264).contains(t)).count();
    assert!(late >= 2, "{:?}", probes(&due));
}

/// What is left goes to probes at an even distance, in the end all of it, however the reliance and captures went.
#[test]
fn what_is_left_is_spent_towards_the_end() {
    let (due, c) = run(&config(300, 0.1), growth, false);
    let at = probes(&due);
    let widest = at.windows(2).filter(|w| w[0] >= 150).map(|w| w[1] - w[0]).max();
    assert!(widest.is_some_and(|w| w <= 20), "{at:?}");
    let (plan, s) = (c.plan(), &c.state);
    let pots = plan.probes.capacity + plan.halves.capacity + plan.captures.capacity;
    let left = pots - s.paid_probes - s.paid_halves - s.paid_captures;
    // What gaps of at least t / 32 leave.
    assert!(left >= 0.0 && left < 0.15 * pots, "{left} of {pots} steps unspent");
    // A long run at rest: no gap is closer than t / 32.
    let (due, _) = run(&config(20_000, 0.1), |_| 0.0, false);
    let at = probes(&due);
    let late = at.iter().filter(|t| **t >= 10_000).count();
    assert!(late <= 2 * 32, "{late}");
}

#[test]
fn a_large_budget_probes_every_threshold() {
    let (due, _) = run(&config(300, 1.0), growth, false);
    let moving: Vec<u32> = probes(&due).into_iter().filter(|t| (22..=50).contains(t)).collect();
    // The threshold, what a single step adds to it, and as the pot empties a little more.
    let widest = moving.windows(2).map(|w| growth(w[1]) - growth(w[0])).fold(0.0, f64::max);
    assert!(widest <= 0.25 + 1.0 / 6.0 + 0.1, "{widest} {moving:?}");
}

#[test]
fn rows_that_arrive_a_step_later_decide_alike() {
    let wobble = |t: u32| growth(t) + 0.1 * f64::from(t).sin();
    let c = config(300, 0.1);
    assert_eq!(run(&c, wobble, false).0, run(&c, wobble, true).0);
}

#[test]
fn without_telemetry_the_floor_takes_the_probes_share() {
    let mut c = config(300, 0.1);
    c.telemetry_every = 0;
    let blind = Cadence::new(&c);
    let seeing = Cadence::new(&config(300, 0.1));
    assert!(blind.plan().floor.len() > 2 * seeing.plan().floor.len());
    assert!(blind.plan().floor.len() as f64 * blind.plan().costs.probe <= super::plan::SHARES[0] * 30.0);
}

#[test]
fn fixed_times_are_as_they_were_asked_for() {
    let mut c = config(40, 0.1);
    c.probe.times = ProbeTimes::Every { steps: 10 };
    let (due, _) = run(&c, growth, false);
    assert_eq!(probes(&due), [0, 1, 2, 4, 8, 10, 16, 20, 30, 32, 40]);
    assert!(due.iter().all(|d| d.probe || !d.reliance()));
    assert!(due[40].head_sequences == 16 && due[40].halves);
    c.probe.times = ProbeTimes::Like { run: "a".into(), steps: vec![0, 3, 17], budget: 0.1 };
    assert_eq!(probes(&run(&c, growth, false).0), [0, 3, 17, 40]);
    c.probe.times = ProbeTimes::Never;
    assert!(run(&c, growth, false).0.iter().all(|d| *d == Due::default()));
}

#[test]
fn a_restored_cadence_decides_as_if_never_stopped() {
    let c = config(120, 0.2);
    let wobble = |t: u32| growth(t) + 0.1 * f64::from(t).sin();
    let (expected, _) = run(&c, wobble, false);
    let mut cut = Cadence::new(&c);
    let mut all = vec![cut.decide(0)];
    for done in 1..=120 {
        let spread = wobble(done - 1).exp();
        cut.observe(done - 1, &rows(spread, 1.0 / (1.0 + 0.2 * spread)));
        all.push(cut.decide(done));
        if done.is_multiple_of(13) {
            let json = serde_json::to_string(&cut.state).unwrap();
            cut = Cadence::new(&c);
            cut.state = serde_json::from_str(&json).unwrap();
        }
    }
    assert_eq!(all, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the logits do, the budget holds (or, where the first and last probe alone exceed it, what is reserved),
    /// and the floor is there.
    #[test]
    fn the_budget_holds_and_the_floor_stands(
        steps in 1u32..400, budget in 0.01f64..1.0, jumps in prop::collection::vec(-1.0f64..1.0, 400),
        telemetry in 0u32..3,
    ) {
        let mut config = config(steps, budget);
        config.telemetry_every = telemetry;
        let mut level = 0.0;
        let path: Vec<f64> = jumps.iter().map(|j| { level += j; level }).collect();
        let mut c = Cadence::new(&config);
        let mut keeper = crate::train::moments::Keeper::new(&config, c.plan());
        let moment = |step| crate::train::moments::KeyMoments { step, layers: vec![vec![1.0]] };
        for done in 0..=steps {
            if done > 0 && config.telemetry_due(done - 1) {
                let spread = path[done as usize - 1].exp();
                c.observe(done - 1, &rows(spread, 1.0 / (1.0 + spread)));
            }
            let due = c.decide(done);
            prop_assert!(due.probe || !c.plan().floor.contains(&done));
            if due.probe || keeper.due(done) {
                if !due.probe {
                    c.captured();
                }
                keeper.take(moment(done), due.probe, |n| c.pay_captures(n, done));
            }
        }
        prop_assert!(c.plan().floor.contains(&0) && c.plan().floor.contains(&steps));
        let (spent, limit) = (c.state.spent.total(), c.limit().unwrap());
        prop_assert!(spent <= limit * (1.0 + 1e-9), "{} of {}: {:?} {:?}", spent, limit, c.state.spent, c.plan());
        let ends = 2.0 * c.plan().costs.probe;
        prop_assert!(limit <= (budget * f64::from(steps)).max(ends) * (1.0 + 1e-9), "{} {}", limit, ends);
    }
}
