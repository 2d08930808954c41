//! Probes beside training against those that it waits for: the same bits in every table and checkpoint, whatever becomes of the
//! run.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use candle_core::Device as CandleDevice;
use growthpath_trace::{
    EvalLossRow, EvalRow, HeadRow, MaturityRow, ProbeLayerRow, ProbeRow, RelianceRow, Row, Run, RunInfo,
    SettlingRow, ShareRow, Status, StepRow, WriteRow,
};

use super::*;
use crate::data::{Dataset, Source, TokenizerSpec};
use crate::model::ModelConfig;
use crate::model::backend::Cpu;
use crate::train::config::{ProbeTimes, TrainConfig};
use crate::train::intervention::{Hold, Intervention, Target};
use crate::train::{Device, Event, Outcome, Resume, checkpoint, resume, train};

/// A measurement that no test waits for.
const LONG: Duration = Duration::from_secs(60);

/// Keeps the threads of a pool busy until it is dropped.
struct Gate {
    _keys: Vec<Sender<()>>,
}

impl Gate {
    fn before(probes: &ProbesBeside) -> Self {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let (doors, threads) = (Arc::clone(&keys), probes.pool.current_num_threads());
        probes.pool.spawn_broadcast(move |_| {
            let (key, door) = channel::<()>();
            doors.lock().unwrap().push(key);
            // Ends when the key is dropped.
            let _ = door.recv_timeout(LONG);
        });
        while keys.lock().unwrap().len() < threads {
            thread::yield_now();
        }
        let all = std::mem::take(&mut *keys.lock().unwrap());
        Self { _keys: all }
    }
}

/// What this thread's next runs probe with.
#[derive(Default)]
struct Instead {
    beside: bool,
    /// Whether the first measurement has to wait at a gate.
    gated: bool,
    gate: Option<Gate>,
}

thread_local! {
    static INSTEAD: RefCell<Instead> = RefCell::default();
}

/// What takes the place of the probes that training on the host waits for, where a test asks for it.
pub(in crate::train) fn instead(model: &Decoder, batch: &Batch) -> Result<Option<ProbesBeside>> {
    INSTEAD.with_borrow_mut(|i| {
        let probes = ProbesBeside::new(model, batch.clone(), ProbesOn::Beside);
        let probes = i.beside.then_some(probes).transpose()?;
        i.gate = probes.as_ref().filter(|_| i.gated).map(Gate::before);
        Ok(probes)
    })
}

fn with<T>(beside: bool, gated: bool, run: impl FnOnce() -> T) -> T {
    INSTEAD.set(Instead { beside, gated, gate: None });
    let value = run();
    INSTEAD.set(Instead::default());
    value
}

fn text(context: usize) -> Dataset {
    let source = Source::BuiltIn { seed: 0, bytes: 1 << 15 };
    let tokenizer: TokenizerSpec = "bytes".parse().unwrap();
    Dataset::load(&source, &tokenizer, context, &mut |_, _, _| {}).unwrap()
}

/// A small run that decides on the way when to measure.
fn config(preset: &str, steps: u32) -> (TrainConfig, Dataset) {
    let mut c = crate::train::cadence::tests::config(steps, 0.6);
    c.model = ModelConfig::preset(preset, "nano").unwrap().0;
    (c.model.layers, c.model.width, c.model.heads, c.model.context) = (2, 32, 2, 32);
    (c.batch, c.schedule.lr, c.eval_every) = (2, 0.2, 20);
    (c.probe.sequences, c.probe.length, c.probe.reliance_sequences) = (2, 32, 3);
    let data = text(c.model.context);
    c.model.vocab = data.info().vocab_size;
    (c, data)
}

fn run(c: &TrainConfig, data: &Dataset, dir: &Path, on: &mut dyn FnMut(Event)) -> Result<Outcome> {
    train(c, data, dir, "run", &Device::Cpu, on)
}

/// Every row of a run but for times, as text that tells one bit from another.
fn rows(dir: &Path) -> String {
    fn of<R: Row + std::fmt::Debug>(run: &Run, text: &mut String) {
        run.read::<R>(..).unwrap().iter().for_each(|r| writeln!(text, "{r:?}").unwrap());
    }
    let (run, mut text) = (Run::open(dir).unwrap(), String::new());
    for row in run.steps().unwrap() {
        writeln!(text, "{:?}", StepRow { step_ms: 0.0, ..row }).unwrap();
    }
    of::<HeadRow>(&run, &mut text);
    of::<WriteRow>(&run, &mut text);
    of::<EvalRow>(&run, &mut text);
    of::<EvalLossRow>(&run, &mut text);
    of::<ProbeRow>(&run, &mut text);
    of::<ProbeLayerRow>(&run, &mut text);
    of::<ShareRow>(&run, &mut text);
    of::<MaturityRow>(&run, &mut text);
    of::<SettlingRow>(&run, &mut text);
    of::<RelianceRow>(&run, &mut text);
    text
}

fn same_checkpoint(a: &Path, b: &Path, step: u32) {
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let bytes = |run| std::fs::read(checkpoint::folder(run, step).join(file)).unwrap();
        assert!(bytes(a) == bytes(b), "{file} at step {step}");
    }
}

/// Train with both kinds of probes; the directories are `waited` and `beside` in the one that is given back.
fn both(c: &TrainConfig, data: &Dataset) -> (tempfile::TempDir, [Result<Outcome>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let outcomes = [("waited", false), ("beside", true)]
        .map(|(name, beside)| with(beside, false, || run(c, data, &dir.path().join(name), &mut |_| {})));
    (dir, outcomes)
}

#[test]
fn a_run_has_the_same_bits() {
    for preset in ["gpt", "llama"] {
        let (mut c, data) = config(preset, 80);
        c.checkpoint_every = 7;
        let (dir, outcomes) = both(&c, &data);
        let [waited, beside] = outcomes.map(Result::unwrap);
        let [a, b] = ["waited", "beside"].map(|name| dir.path().join(name));
        assert!(rows(&a) == rows(&b), "{preset}");
        assert!(Run::open(&b).unwrap().read::<ProbeRow>(..).unwrap().len() > 4 * 6);
        (1..=11).map(|i| 7 * i).chain([80]).for_each(|step| same_checkpoint(&a, &b, step));
        assert_eq!(waited.beside_seconds, 0.0);
        assert!(beside.beside_seconds > 0.0 && beside.probe_steps == waited.probe_steps);
        let told = |run: &Path| Run::open(run).unwrap().info().extra["probes"].clone();
        assert_eq!([told(&a), told(&b)], ["host", "host, beside training"]);
    }
}

#[test]
fn an_adaptive_hold_ends_at_the_same_step() {
    let (mut c, data) = config("gpt", 100);
    let hold = Hold::Adaptive { threshold: 0.5, probes: 2 };
    c.intervention = Some(Intervention { target: Target::UpperQk, multiplier: 0.25, hold, ramp: 0.0 });
    let (dir, outcomes) = both(&c, &data);
    outcomes.into_iter().for_each(|o| drop(o.unwrap()));
    let [a, b] = ["waited", "beside"].map(|name| dir.path().join(name));
    assert!(rows(&a) == rows(&b));
    let slowed = Run::open(&b).unwrap().steps().unwrap().iter().filter(|r| r.qk_mult < 1.0).count();
    // At 12 % of training a hold ends whatever was measured.
    assert!(0 < slowed && slowed < 12, "held for {slowed} steps");
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    let (mut c, data) = config("gpt", 60);
    c.checkpoint_every = 7;
    let hold = Hold::Adaptive { threshold: 0.999, probes: 2 };
    c.intervention = Some(Intervention { target: Target::UpperQk, multiplier: 0.25, hold, ramp: 0.1 });
    let dir = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| dir.path().join(name));
    run(&c, &data, &whole, &mut |_| {}).unwrap();
    for keep in [49, 14] {
        let _ = std::fs::remove_dir_all(&cut);
        with(true, false, || run(&c, &data, &cut, &mut |_| {})).unwrap();
        for step in (keep + 1)..=60 {
            let _ = std::fs::remove_dir_all(checkpoint::folder(&cut, step));
        }
        RunInfo::rewrite(&cut, |i| i["status"] = "running".into()).unwrap();
        // Every other time on a machine where training waits for probes.
        let from = Resume::of(&cut).unwrap();
        with(keep == 14, false, || resume(&c, &data, &from, &Device::Cpu, &mut |_| {})).unwrap();
        assert!(rows(&whole) == rows(&cut), "resumed at {keep}");
        same_checkpoint(&whole, &cut, 60);
        let told = Run::open(&cut).unwrap().info().extra["probes"].as_str().unwrap().to_owned();
        assert_eq!(told.contains("; from step 49 on: host"), keep == 49, "{told}");
    }
}

/// Probes at the start and at the end alone.
fn sparse(steps: u32) -> (TrainConfig, Dataset) {
    let (mut c, data) = config("gpt", steps);
    c.probe.times = ProbeTimes::Like { run: "other".into(), steps: vec![0, steps], budget: 0.6 };
    c.eval_every = 0;
    (c, data)
}

#[test]
fn training_goes_on_while_a_probe_is_worked_on() {
    let (c, data) = sparse(20);
    let dir = tempfile::tempdir().unwrap();
    let mut first = None;
    let mut on = |event: Event| {
        if let Event::Step(s) = event {
            first.get_or_insert(s.done);
            // The gate opens when a step was done: a training that waits would not get there.
            INSTEAD.with_borrow_mut(|i| i.gate = None);
        }
    };
    let begun = Instant::now();
    with(true, true, || run(&c, &data, dir.path(), &mut on)).unwrap();
    assert_eq!(first, Some(1));
    assert!(begun.elapsed() < LONG, "the gate was waited for");
    assert_eq!(Run::open(dir.path()).unwrap().info().status, Status::Complete);
}

#[test]
fn what_is_under_way_when_training_diverges_is_recorded() {
    let (mut c, data) = sparse(20);
    (c.schedule.lr, c.clip) = (1e30, 0.0);
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["waited", "beside"].map(|name| dir.path().join(name));
    let said = |o: Result<Outcome>| o.map(|_| ()).unwrap_err().to_string();
    let waited = said(run(&c, &data, &a, &mut |_| {}));
    let beside = with(true, true, || {
        let mut on = |event: Event| {
            if matches!(event, Event::Step(_)) {
                let gate = INSTEAD.with_borrow_mut(|i| i.gate.take());
                thread::spawn(move || {
                    // Training has diverged long before.
                    thread::sleep(Duration::from_millis(500));
                    drop(gate);
                });
            }
        };
        said(run(&c, &data, &b, &mut on))
    });
    assert!(waited.contains("diverged") && waited == beside, "{waited}\n{beside}");
    assert!(rows(&a) == rows(&b));
    let run = Run::open(&b).unwrap();
    assert_eq!((run.info().status, run.read::<ProbeRow>(..).unwrap().len()), (Status::Diverged, 4));
}

/// A model, and probes of it of both kinds.
fn probes() -> (Decoder, HostProbes, ProbesBeside) {
    let (c, data) = config("gpt", 10);
    let model = Decoder::new(c.model, 5, &CandleDevice::Cpu).unwrap();
    let batch = data.probe_sequences(2, 32).unwrap();
    let beside = ProbesBeside::new(&model, batch.clone(), ProbesOn::Beside).unwrap();
    (model.copy().unwrap(), HostProbes::new(&model, batch), beside)
}

fn spoil(model: &Decoder, value: f32) {
    growthpath_kernels::tensor::edit(model.params.vars[2].as_tensor(), |v| v.fill(value)).unwrap();
}

#[test]
fn what_training_does_to_the_model_meanwhile_is_not_seen() {
    let (model, mut host, mut beside) = probes();
    let backend = Cpu::new(&model, 64);
    let what = |step| Measurement::Probe { step, eta: vec![0.1; 2] };
    for step in [0, 3] {
        let gate = Gate::before(&beside);
        assert!(beside.begin(&backend, &model, what(step)).unwrap().is_none());
        let expected = host.measure(&model, &what(step)).unwrap();
        assert!(Probes::<Cpu>::collect(&mut beside, false).unwrap().is_none());
        assert!(beside.begin(&backend, &model, what(step + 1)).is_err(), "two under way");
        // The copy was taken before.
        spoil(&model, 0.5 + step as f32);
        drop(gate);
        let got = Probes::<Cpu>::collect(&mut beside, true).unwrap().unwrap();
        assert_eq!(format!("{:?}", got.rows), format!("{:?}", expected.rows));
        assert_eq!(got.moments, expected.moments);
        assert!(Probes::<Cpu>::collect(&mut beside, true).unwrap().is_none());
    }
}

#[test]
fn an_error_is_the_same_and_comes_when_it_is_collected() {
    let (model, mut host, mut beside) = probes();
    let backend = Cpu::new(&model, 64);
    spoil(&model, f32::NAN);
    let what = Measurement::Probe { step: 4, eta: vec![0.1; 2] };
    let expected = host.measure(&model, &what).map(|_| ()).unwrap_err().to_string();
    assert!(beside.begin(&backend, &model, what.clone()).unwrap().is_none());
    let got = Probes::<Cpu>::collect(&mut beside, true).map(|_| ()).unwrap_err().to_string();
    assert_eq!(got, expected);
    // The state is back: the next one may begin.
    spoil(&model, 0.25);
    assert!(beside.measure_now(&backend, &model, what).unwrap().is_some());
}

#[test]
fn a_panic_is_passed_on() {
    let (model, _, mut beside) = probes();
    let backend = Cpu::new(&model, 64);
    // A step size is missing.
    let what = |step, layers| Measurement::Probe { step, eta: vec![0.1; layers] };
    beside.measure_now(&backend, &model, what(0, 2)).unwrap();
    let mut on = || beside.measure_now(&backend, &model, what(1, 1)).map(|_| ());
    assert!(catch_unwind(AssertUnwindSafe(&mut on)).is_err());
    assert!(on().is_err(), "the state is lost, and that is said");
}
