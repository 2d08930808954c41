//! Element by element in lanes, compiled for the widest registers of the machine: everything here is `inline(always)`
//! and takes on the target of the multiversioned function that calls it.

/// Elements side by side.
pub const LANES: usize = 16;

/// Elements whose sums stay in float32 lanes before they join a float64 total: at most 32 additions a lane, which round by
/// some 1e-7 of the sum of sizes.
pub const FOLD: usize = 512;

type Lane = [f32; LANES];

/// `exp(x)` for `x <= 0` to about 2 ulp; 0 below -87.7.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves the rounded integer in the low bits of the mantissa.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.max(-88.0);
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    // ln 2 in two parts, the first with few bits: its product with n is exact.
    let r = x - n * 0.693_359_375;
    let r = r + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4_f32;
    for c in
        [1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1, 5.000_000_120_1e-1]
    {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    y * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// Sum of `f` over elements, float32 lanes within [`FOLD`] elements, float64 beyond.
#[inline(always)]
pub fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let mut total = 0.0;
    for block in a.chunks(FOLD) {
        let (lanes, rest) = block.as_chunks::<LANES>();
        let mut acc: Lane = [0.0; LANES];
        for v in lanes {
            for l in 0..LANES {
                acc[l] += f(v[l]);
            }
        }
        let few: f32 = rest.iter().map(|v| f(*v)).sum();
        total += f64::from(acc.iter().sum::<f32>() + few);
    }
    total
}

/// Sum of `f` over pairs of elements of two slices of one length.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut total = 0.0;
    for (x, y) in a.chunks(FOLD).zip(b.chunks(FOLD)) {
        let (xs, xr) = x.as_chunks::<LANES>();
        let (ys, yr) = y.as_chunks::<LANES>();
        let mut acc: Lane = [0.0; LANES];
        for (x, y) in xs.iter().zip(ys) {
            for l in 0..LANES {
                acc[l] += f(x[l], y[l]);
            }
        }
        let few: f32 = xr.iter().zip(yr).map(|(x, y)| f(*x, *y)).sum();
        total += f64::from(acc.iter().sum::<f32>() + few);
    }
    total
}

/// Smallest and largest element; NaN is passed over.
#[inline(always)]
pub fn ends(a: &[f32]) -> (f32, f32) {
    let smaller = |m: f32, x: f32| if x < m { x } else { m };
    let larger = |m: f32, x: f32| if x > m { x } else { m };
    let (lanes, rest) = a.as_chunks::<LANES>();
    let (mut low, mut high): (Lane, Lane) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for v in lanes {
        for l in 0..LANES {
            low[l] = smaller(low[l], v[l]);
            high[l] = larger(high[l], v[l]);
        }
    }
    let all = |lane: Lane| lane.into_iter().chain(rest.iter().copied());
    (all(low).fold(f32::INFINITY, smaller), all(high).fold(f32::NEG_INFINITY, larger))
}

/// Where `value` first stands in `a`.
#[inline(always)]
pub fn first(a: &[f32], value: f32) -> usize {
    let (lanes, _) = a.as_chunks::<LANES>();
    let whole = lanes.iter().position(|v| v.iter().fold(false, |found, x| found | (*x == value)));
    let from = whole.unwrap_or(lanes.len()) * LANES;
    from + a[from..].iter().position(|x| *x == value).unwrap_or(0)
}
