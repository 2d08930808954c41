//! TensorBoard event files: length-prefixed protocol-buffer records with masked CRC-32C.
//!
//! An event is `{1: double wall_time, 2: int64 step, 3: string file_version | 5: Summary}`, a summary repeats
//! `1: {1: string tag, 2: float value}`. That is little enough to be written here: the crates that write it bring a
//! protobuf compiler or versions of their own of half the tree.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::scalars::Sample;
use crate::error::{Error, Result};

/// End of the names of files that are written here.
pub const RECORD_SUFFIX: &str = ".growthpath";

/// An event file being written.
pub struct EventFile {
    path: PathBuf,
    out: BufWriter<File>,
    /// Seconds since 1970 at which the run began.
    began: u64,
}

impl EventFile {
    /// A new file in `folder`, in place of those that were written here before: the same steps twice would be drawn twice.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(folder: &Path, began: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("events.out.tfevents.") && name.ends_with(RECORD_SUFFIX) {
                std::fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
            }
        }
        let path = folder.join(format!("events.out.tfevents.{began}{RECORD_SUFFIX}"));
        let out = BufWriter::new(File::create(&path).map_err(Error::io(&path))?);
        let mut file = Self { path, out, began };
        let mut event = field_f64(1, began as f64);
        event.extend(field_bytes(3, b"brain.Event:2"));
        file.record(&event)?;
        Ok(file)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds samples; they are in the file when this returns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, samples: &[Sample]) -> Result<()> {
        for s in samples {
            let mut summary = Vec::new();
            for (tag, value) in &s.values {
                let mut v = field_bytes(1, tag.as_bytes());
                v.extend(field_f32(2, *value as f32));
                summary.extend(field_bytes(1, &v));
            }
            let mut event = field_f64(1, self.began as f64 + s.seconds);
            event.extend(field_varint(2, u64::from(s.step)));
            event.extend(field_bytes(5, &summary));
            self.record(&event)?;
        }
        self.out.flush().map_err(Error::io(&self.path))
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let bytes = frame(event);
        self.out.write_all(&bytes).map_err(Error::io(&self.path))
    }
}

/// Length, its checksum, the record, its checksum; all little-endian.
fn frame(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(record);
    out.extend(masked(crc32c(record)).to_le_bytes());
    out
}

/// Rotated and shifted, so that the checksum of data with checksums in them stays one.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli), bit by bit from a table of bytes.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut crc, mut bit) = (i as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8))
}

fn varint(mut v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while v >= 0x80 {
        out.push((v as u8 & 0x7F) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
    out
}

fn field_varint(number: u64, v: u64) -> Vec<u8> {
    [varint(number << 3), varint(v)].concat()
}

fn field_f64(number: u64, v: f64) -> Vec<u8> {
    [varint(number << 3 | 1), v.to_le_bytes().to_vec()].concat()
}

fn field_bytes(number: u64, v: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(v.len() as u64), v.to_vec()].concat()
}

fn field_f32(number: u64, v: f32) -> Vec<u8> {
    [varint(number << 3 | 5), v.to_le_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_numbers_are_those_of_the_standards() {
        // RFC 3720, B.4: 32 bytes of zeros, of ones, and ascending; and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(varint(300), [0xAC, 0x02]);
        assert_eq!(field_varint(1, 150), [0x08, 0x96, 0x01]);
        assert_eq!(field_bytes(2, b"testing"), b"\x12\x07testing");
    }

    #[test]
    fn records_are_framed() {
        let f = frame(b"abc");
        assert_eq!(f.len(), 8 + 4 + 3 + 4);
        assert_eq!(&f[..8], &[3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&f[12..15], b"abc");
    }
}
