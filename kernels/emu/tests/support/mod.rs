//! Random inputs, comparison and launching, shared by the kernel tests.
#![allow(dead_code)] // each test file uses its own part

use growthpath_emu::{Arg, Bf16, Launch, Schedule};

/// Unit roundoff of float32, the arithmetic of every kernel.
pub const U32: f64 = 1.0 / (1u64 << 24) as f64;

/// A storage type of the kernels.
pub trait Storage: Copy + 'static {
    /// Suffix of kernel names.
    const NAME: &'static str;
    /// Unit roundoff of a store.
    const U: f64;
    /// Rounds.
    fn new(x: f32) -> Self;
    /// Exact.
    fn get(self) -> f64;
    /// Exact, as the kernel loads it.
    fn get32(self) -> f32 {
        self.get() as f32
    }
}

impl Storage for f32 {
    const NAME: &'static str = "f32";
    const U: f64 = U32;
    fn new(x: f32) -> Self {
        x
    }
    fn get(self) -> f64 {
        self.into()
    }
}

impl Storage for Bf16 {
    const NAME: &'static str = "bf16";
    /// Eight significant bits.
    const U: f64 = 1.0 / 256.0;
    fn new(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn get(self) -> f64 {
        self.to_f32().into()
    }
}

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `n` normals of this mean and deviation, stored.
    pub fn normals<S: Storage>(&mut self, n: usize, mean: f64, std: f64) -> Vec<S> {
        (0..n).map(|_| S::new((mean + std * self.normal()) as f32)).collect()
    }
}

/// An output no element of which may stay as it is.
pub fn unwritten<S: Storage>(n: usize) -> Vec<S> {
    vec![S::new(f32::NAN); n]
}

pub fn f64s<S: Storage>(x: &[S]) -> Vec<f64> {
    x.iter().map(|v| v.get()).collect()
}

/// Fails unless `got` is a number within `tolerance` of `want`, or both are too small for relative error to mean
/// anything: below the smallest normal float32 (and bf16).
#[track_caller]
pub fn close(what: &str, got: f64, want: f64, tolerance: f64) {
    let tolerance = tolerance + f64::from(f32::MIN_POSITIVE);
    assert!(
        (got - want).abs() <= tolerance,
        "{what}: {got:e}, reference {want:e}, off by {:e}, allowed {tolerance:e}",
        (got - want).abs()
    );
}

/// Runs a kernel that the tests expect to succeed.
#[track_caller]
pub fn launch(kernel: &str, grid: [u32; 3], block: [u32; 3], schedule: Schedule, args: &[Arg<'_>]) {
    launch_shared(kernel, grid, block, 0, schedule, args);
}

/// The same with dynamic shared memory.
#[track_caller]
pub fn launch_shared(
    kernel: &str,
    grid: [u32; 3],
    block: [u32; 3],
    shared: usize,
    schedule: Schedule,
    args: &[Arg<'_>],
) {
    // SAFETY: each test allocates what the kernel's comment says; the sanitized run checks that it did.
    if let Err(e) = unsafe { Launch { grid, block, shared, schedule }.run(kernel, args) } {
        panic!("{e}");
    }
}

/// `ceil(a / b)` as a grid size.
pub fn blocks(a: usize, b: usize) -> u32 {
    a.div_ceil(b) as u32
}

/// Columns that a block of the column kernels covers: `columns_a_block` of ../../src/gpu/reduce.rs.
pub fn columns_a_block(columns: usize) -> usize {
    if columns.is_multiple_of(8) { 1024 } else { 512 }
}

/// `ReduceTask` of reduce.cu.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ReduceTask {
    pub partial: *const f32,
    pub out: *mut f32,
    pub rows: i32,
    pub columns: i32,
    pub pitch: i32,
    pub max_mask: u32,
}

/// `ReduceTasks` of reduce.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct ReduceTasks {
    task: [ReduceTask; 32],
    first: [u32; 32],
}

/// Every task's sums, each over so many slices, in one launch.
pub fn reduce_all(tasks: &[(ReduceTask, usize)], schedule: Schedule) {
    let mut all = ReduceTasks { task: [tasks[0].0; 32], first: [u32::MAX; 32] };
    let mut grid = 0;
    for (i, (task, slices)) in tasks.iter().enumerate() {
        (all.task[i], all.first[i]) = (*task, grid);
        grid += blocks(task.columns as usize, 32) * *slices as u32;
    }
    launch("reduce_partials", [grid, 1, 1], [32, 32, 1], schedule, &[Arg::by_value(&all)]);
}

/// The second pass, checked on its own in reduce.rs.
pub fn reduce(partial: &[f32], slices: usize, rows: usize, columns: usize, max_mask: u32) -> Vec<f32> {
    let mut out = unwritten::<f32>(slices * columns);
    let task = ReduceTask {
        partial: partial.as_ptr(),
        out: out.as_mut_ptr(),
        rows: rows as i32,
        columns: columns as i32,
        pitch: columns as i32,
        max_mask,
    };
    reduce_all(&[(task, slices)], Schedule::Forward);
    out
}
