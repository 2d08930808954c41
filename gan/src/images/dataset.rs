//! Real images in memory, mirrored, in a seeded order.

use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;

use crate::error::Result;
use crate::nn::stream;

/// The order's stream of random numbers.
const ORDER: u64 = 6;

/// Images of one size, and their mirror images.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// `[3, size, size]` bytes each.
    images: Vec<Vec<u8>>,
    size: usize,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Dataset {
    /// Of `images`, each `[3, size, size]` bytes.
    pub fn new(images: Vec<Vec<u8>>, size: usize) -> Self {
        Self { images, size, epoch: None, order: Vec::new() }
    }

    /// Number of images, without mirrors.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// No image at all.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Pixels along each side.
    pub fn size(&self) -> usize {
        self.size
    }

    /// A hash of all pixels and their order.
    pub fn fingerprint(&self) -> String {
        let mut hash = blake3::Hasher::new();
        self.images.iter().for_each(|i| {
            hash.update(i);
        });
        hash.finalize().to_hex()[..16].to_string()
    }

    /// Images `step * batch ...` of an endless sequence of shuffled passes over images and mirrors:
    /// `[batch, 3, size, size]` in [-1, 1].
    ///
    /// # Errors
    /// From candle.
    pub fn batch(&mut self, step: u64, batch: usize, seed: u64) -> Result<Tensor> {
        let both = 2 * self.images.len() as u64;
        let mut values = Vec::with_capacity(batch * 3 * self.size * self.size);
        for k in (step * batch as u64..).take(batch) {
            if self.epoch != Some(k / both) {
                self.order = (0..both as usize).collect();
                self.order.shuffle(&mut stream(seed, ORDER, k / both));
                self.epoch = Some(k / both);
            }
            let i = self.order[(k % both) as usize];
            self.push(i / 2, i % 2 == 1, &mut values);
        }
        self.tensor(values)
    }

    /// Images `range` as they are: `[n, 3, size, size]` in [-1, 1].
    ///
    /// # Errors
    /// From candle.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Result<Tensor> {
        let mut values = Vec::new();
        range.for_each(|i| self.push(i, false, &mut values));
        self.tensor(values)
    }

    fn tensor(&self, values: Vec<f32>) -> Result<Tensor> {
        let n = values.len() / (3 * self.size * self.size);
        Ok(Tensor::from_vec(values, (n, 3, self.size, self.size), &Device::Cpu)?)
    }

    fn push(&self, i: usize, mirrored: bool, values: &mut Vec<f32>) {
        let scale = |v: &u8| f32::from(*v) / 127.5 - 1.0;
        if mirrored {
            for row in self.images[i].chunks_exact(self.size) {
                values.extend(row.iter().rev().map(scale));
            }
        } else {
            values.extend(self.images[i].iter().map(scale));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_and_mirror_comes_once_a_pass() {
        let images = (0..3u8).map(|i| [10 * i, 10 * i + 1, 10 * i + 2, 10 * i + 3].repeat(3)).collect();
        let mut data = Dataset::new(images, 2);
        let mut seen: Vec<Vec<i64>> = Vec::new();
        for step in 0..3 {
            let batch = data.batch(step, 2, 7).unwrap();
            for row in batch.flatten_from(1).unwrap().to_vec2::<f32>().unwrap() {
                seen.push(row[..2].iter().map(|v| ((v + 1.0) * 127.5).round() as i64).collect());
            }
        }
        seen.sort();
        let want = [[0, 1], [1, 0], [10, 11], [11, 10], [20, 21], [21, 20]].map(|v| v.to_vec());
        assert_eq!(seen, want);
        let again = Dataset::new(data.images.clone(), 2).batch(2, 2, 7).unwrap();
        assert_eq!(again.flatten_all().unwrap().to_vec1::<f32>().unwrap(), {
            data.batch(2, 2, 7).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
    }
}
