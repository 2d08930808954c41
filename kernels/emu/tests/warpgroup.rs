//! The emulator's `wgmma` against the PTX manual: matrix descriptors, swizzles, and what it refuses.

#[path = "support/mod.rs"]
mod support;

use growthpath_emu::{Bf16, Launch, Schedule};
use support::*;

/// Bytes of the two parts of shared memory that the fixture fills, and where the second starts.
const PART: usize = 32768;

/// An operand in shared memory, whose rows lie along memory: `span` bytes of eight rows make an atom, sixteens of bytes
/// permuted in it; atoms lie `leading` bytes apart along the rows, `stride` bytes apart down them.
#[derive(Clone, Copy, Debug)]
struct Layout {
    span: usize,
    leading: usize,
    stride: usize,
}

impl Layout {
    /// Where element (row, column) lies, bytes. Figures of the manual: an atom fills lines of 128 bytes, eight sixteens each;
    /// those of a line are permuted by as many bits of the line's number as the swizzle has.
    fn place(self, row: usize, column: usize) -> usize {
        let (atom, along) = (2 * column / self.span, 2 * column % self.span);
        let sixteen = row % 8 * (self.span / 16) + along / 16;
        let (line, slot) = (sixteen / 8, sixteen % 8);
        let permuted = match self.span {
            128 => slot ^ line,
            64 => [slot, slot ^ 1, slot ^ 2, slot ^ 3][line],
            _ => [slot, slot ^ 1][line],
        };
        atom * self.leading + row / 8 * self.stride + line * 128 + permuted * 16 + along % 16
    }

    /// The manual's table: addresses and distances in sixteens of bytes; 1, 2, 3: swizzles of 128, 64 and 32 bytes.
    fn descriptor(self, start: usize) -> u64 {
        let field = |bytes: usize| (bytes as u64 & 0x3ffff) >> 4;
        let mode = match self.span {
            128 => 1,
            64 => 2,
            _ => 3,
        };
        field(start) | field(self.leading) << 16 | field(self.stride) << 32 | mode << 62
    }
}

fn run(shared: &[Bf16], a: u64, b: u64, transposed: bool, schedule: Schedule) -> Result<Vec<f32>, String> {
    let mut out = vec![f32::NAN; 64 * 128];
    let args = [shared.into(), a.into(), b.into(), (&mut out).into(), i32::from(transposed).into()];
    let launch = Launch { grid: [1, 1, 1], block: [128, 1, 1], shared: 2 * PART, schedule };
    // SAFETY: the fixture reads two parts of shared memory and writes 64 registers of 128 threads.
    unsafe { launch.run("instruction_wgmma", &args) }.map_err(|e| e.to_string())?;
    Ok(out)
}

/// Register of a thread that holds element (row, column) of the result: a warp has 16 rows, laid out as `mma.m16n8k16`'s.
fn place_d(row: usize, column: usize) -> usize {
    let thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
    64 * thread + column / 8 * 4 + row % 16 / 8 * 2 + column % 2
}

/// a of `deep` columns, of which sixteen are multiplied; b likewise, or (`transposed`) sixteen rows of as many.
fn multiplies(a_layout: Layout, b_layout: Layout, transposed: bool, deep: usize, from: usize) {
    let mut rng = Rng(17 + from as u64);
    let a: Vec<Bf16> = rng.normals(64 * deep, 0.0, 1.0);
    let b: Vec<Bf16> = rng.normals(128 * deep, 0.0, 1.0);
    // Whatever is not an operand is a NaN: a product that reads it shows.
    let mut shared = vec![Bf16::from_f32(f32::NAN); PART];
    for k in 0..deep {
        for row in 0..64 {
            shared[a_layout.place(row, k) / 2] = a[row * deep + k];
        }
        for n in 0..128 {
            let place = if transposed { b_layout.place(k, n) } else { b_layout.place(n, k) };
            shared[(PART + place) / 2] = b[n * deep + k];
        }
    }
    // From here on the first bytes are those of column `from` of row 0, which is permuted by nothing; of b transposed, row `from`.
    let step = if transposed { from / 8 * b_layout.stride } else { b_layout.place(0, from) };
    let (left, right) = (a_layout.descriptor(a_layout.place(0, from)), b_layout.descriptor(PART + step));
    for schedule in Schedule::ALL {
        let got = run(&shared, left, right, transposed, schedule).expect("runs");
        for row in 0..64 {
            for column in 0..128 {
                let terms = (from..from + 16).map(|k| a[row * deep + k].get() * b[column * deep + k].get());
                let size: f64 = terms.clone().map(f64::abs).sum();
                let what = format!("{a_layout:?}, {b_layout:?}, {transposed}, [{row}, {column}]");
                close(&what, got[place_d(row, column)].into(), terms.sum(), 16.0 * U32 * size);
            }
        }
    }
}

#[test]
fn operands_lie_as_their_descriptors_say() {
    for span in [128, 64, 32] {
        // Rows no wider than the swizzle; the leading distance is not used.
        let narrow = Layout { span, leading: 16, stride: 8 * span };
        let deep = span / 2;
        for from in (0..deep).step_by(16) {
            multiplies(narrow, narrow, false, deep, from);
        }
        // b transposed: its 128 columns are several atoms; either one after the other, or eight rows of all of them first.
        let atoms = 256 / span;
        for (leading, stride) in [(2 * 8 * span, 8 * span), (8 * span, atoms * 8 * span)] {
            let wide = Layout { span, leading, stride };
            multiplies(narrow, wide, true, 16, 0);
        }
    }
    // Rows of twice the swizzle, and the second sixteen rows of a transposed b.
    let wide = Layout { span: 128, leading: 1024, stride: 2048 };
    for from in [0, 48, 64, 112] {
        multiplies(wide, wide, false, 128, from);
    }
    multiplies(Layout { span: 64, leading: 16, stride: 512 }, wide, true, 32, 16);
}

#[test]
fn operands_that_no_swizzle_fits_are_refused() {
    let shared = vec![Bf16::from_f32(0.0); PART];
    let good = Layout { span: 128, leading: 1024, stride: 2048 };
    let start = good.descriptor(0);
    for (b, says) in [
        (good.descriptor(PART + 128), "do not start where the swizzle does"),
        (good.descriptor(PART) | 1 << 49, "do not start where the swizzle does"),
        (good.descriptor(PART) & !(3 << 62), "without swizzle"),
        (good.descriptor(2 * PART), "outside dynamic shared memory"),
        (Layout { stride: 4096, ..good }.descriptor(PART), "goes past the part"),
    ] {
        let error = run(&shared, start, b, false, Schedule::Forward).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
    assert!(run(&shared, start, good.descriptor(PART), false, Schedule::Forward).is_ok());
}
