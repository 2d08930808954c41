//! What a generator is made of.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which 3 x 3 convolutions of an up block are depthwise-separable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// None: Projected GAN.
    Standard,
    /// Both.
    Separable,
    /// The one after the upsampling.
    First,
    /// The other one.
    Second,
}

impl Variant {
    /// All four, the baseline first.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Separable, Self::First, Self::Second];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Separable => "separable",
            Self::First => "first",
            Self::Second => "second",
        }
    }

    /// Whether convolution 1 or 2 of a block is separable.
    pub fn separates(self, convolution: usize) -> bool {
        match self {
            Self::Standard => false,
            Self::Separable => true,
            Self::First => convolution == 1,
            Self::Second => convolution == 2,
        }
    }
}

/// Size and kind of a generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorConfig {
    /// Base width.
    pub ngf: usize,
    /// Pixels along each side: 128, 256, 512 or 1024.
    pub resolution: usize,
    /// Which convolutions are separable.
    pub variant: Variant,
    /// One convolution and no noise in a block.
    pub lite: bool,
}

/// Latent dimensions.
pub const LATENT: usize = 256;

impl GeneratorConfig {
    /// Check that such a generator can be built.
    ///
    /// # Errors
    /// [`Error::Usage`] with the mend.
    pub fn check(&self) -> Result<()> {
        if ![128, 256, 512, 1024].contains(&self.resolution) {
            let r = self.resolution;
            return Err(Error::usage(format!("resolution {r}: choose 128, 256, 512 or 1024")));
        }
        if self.lite && matches!(self.variant, Variant::First | Variant::Second) {
            return Err(Error::usage(
                "a lite block has one convolution: choose variant standard or separable",
            ));
        }
        // Every width down to the last block's must be whole: the last one is ngf / 2 at 256 px, half of that twice on.
        let divisor = self.last_block() / 128;
        if self.ngf == 0 || !self.ngf.is_multiple_of(divisor) || self.ngf > 1024 {
            let (n, r) = (self.ngf, self.resolution);
            return Err(Error::usage(format!(
                "ngf {n}: at {r} px choose a multiple of {divisor} up to 1024"
            )));
        }
        Ok(())
    }

    /// Resolution of the last up block that has parameters: 256 px even where the output is smaller.
    pub fn last_block(&self) -> usize {
        self.resolution.max(256)
    }

    /// Channels at a resolution (`2` stands for the first block, before its gate).
    pub fn channels(&self, resolution: usize) -> usize {
        match resolution {
            0..=4 => 16 * self.ngf,
            8 => 8 * self.ngf,
            16 => 4 * self.ngf,
            32 | 64 => 2 * self.ngf,
            _ => self.ngf * 128 / resolution,
        }
    }

    /// Resolutions of the up blocks.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        let last = self.last_block();
        (3..).map(|p| 1 << p).take_while(move |r| *r <= last)
    }

    /// Skip-layer excitations: (from, to).
    pub fn excitations(&self) -> &'static [(usize, usize)] {
        const ALL: [(usize, usize); 4] = [(4, 64), (8, 128), (16, 256), (32, 512)];
        if self.resolution >= 512 { &ALL } else { &ALL[..3] }
    }

    /// Convolutions in a block.
    pub fn convolutions(&self) -> usize {
        if self.lite { 1 } else { 2 }
    }
}
