//! Parameters and multiply-accumulates of the networks, by counting.

use std::ops::{Add, AddAssign};

use crate::config::{GeneratorConfig, LATENT};

/// What a layer or a network holds and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Trained scalars.
    pub parameters: u64,
    /// Multiply-accumulates of its convolutions for one image.
    pub macs: u64,
}

impl Add for Count {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { parameters: self.parameters + o.parameters, macs: self.macs + o.macs }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

fn conv(ci: usize, co: usize, kernel: usize, size: usize, bias: bool) -> Count {
    let weights = (ci * co * kernel * kernel) as u64;
    let bias = if bias { co as u64 } else { 0 };
    Count { parameters: weights + bias, macs: weights * (size * size) as u64 }
}

fn parameters(n: usize) -> Count {
    Count { parameters: n as u64, macs: 0 }
}

/// The 3 x 3 convolution of a block, dense or separable.
fn block_conv(ci: usize, co: usize, size: usize, separable: bool) -> Count {
    match separable {
        true => conv(1, ci, 3, size, false) + conv(ci, co, 1, size, false),
        false => conv(ci, co, 3, size, false),
    }
}

/// A generator. Blocks above the output's resolution hold parameters and do nothing.
pub fn generator(c: &GeneratorConfig) -> Count {
    let first = 2 * c.channels(4);
    let mut total = conv(LATENT, first, 4, 1, false) + parameters(2 * first);
    let if_used = |size: usize, count: Count| match size <= c.resolution {
        true => count,
        false => Count { macs: 0, ..count },
    };
    for size in c.blocks() {
        let (ci, co) = (c.channels(size / 2), c.channels(size));
        for i in 1..=c.convolutions() {
            let input = if i == 1 { ci } else { co };
            total += if_used(size, block_conv(input, 2 * co, size, c.variant.separates(i)));
            total += parameters(2 * 2 * co + usize::from(!c.lite));
        }
    }
    for &(from, to) in c.excitations() {
        let (ci, co) = (c.channels(from), c.channels(to));
        total += if_used(to, conv(ci, co, 4, 1, false) + conv(co, co, 1, 1, false));
    }
    total + conv(c.channels(c.resolution), 3, 3, c.resolution, true)
}

/// Channels into the small discriminators, finest scale first.
pub const FEATURE_CHANNELS: [usize; 4] = [64, 64, 128, 256];

/// The resolutions for which the small discriminators are built, whatever the images' is.
pub const FEATURE_SIZES: [usize; 4] = [128, 64, 32, 16];

/// Channels of the small discriminator that starts at `start`, at `size`.
pub(crate) fn discriminator_channels(start: usize, input: usize, size: usize) -> usize {
    match size {
        s if s == start => input,
        8 => 512,
        16 => 256,
        32 => 128,
        _ => 64,
    }
}

/// The four small discriminators (trained) on images that enter the feature network with `size` pixels a side.
pub fn discriminators(size: usize) -> Count {
    let mut total = Count::default();
    for (scale, (start, input)) in FEATURE_SIZES.into_iter().zip(FEATURE_CHANNELS).enumerate() {
        let (mut level, mut pixels) = (start, (size / 2) >> scale);
        while level > 8 {
            pixels /= 2;
            let (ci, co) = (
                discriminator_channels(start, input, level),
                discriminator_channels(start, input, level / 2),
            );
            total += conv(ci, co, 4, pixels, true) + parameters(2 * co);
            level /= 2;
        }
        total += conv(512, 1, 4, pixels.saturating_sub(3), false);
    }
    total
}

/// Cross-channel and cross-scale mixing (frozen), for feature maps of an image of `size` pixels a side.
pub fn mixing(size: usize) -> Count {
    let channels = [24, 40, 112, 320];
    let mixed = [64, 128, 256, 512];
    let scaled = [64, 64, 128, 256];
    let mut total = Count::default();
    for i in 0..4 {
        let pixels = (size / 4) >> i;
        total += conv(channels[i], mixed[i], 1, pixels, true);
        total += conv(mixed[i], scaled[i], 1, 2 * pixels, true);
    }
    total
}
