//! `checkpoint.json`: which run and step a checkpoint belongs to, and a hash of each of its files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use growthpath_trace::{disk, seal};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of the file.
pub const FILE: &str = "checkpoint.json";

/// The files that a checkpoint consists of.
pub const FILES: [&str; 5] =
    ["config.json", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"];

/// Larger ones are no seals.
const MOST_BYTES: u64 = 1 << 16;

/// Longest header of a safetensors file.
const MOST_HEADER: u64 = 100_000_000;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Its size.
    pub bytes: u64,
    /// Its blake3, in hex.
    pub blake3: String,
}

/// The contents of `checkpoint.json`, beside its own hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// `id` of the run in `run.json`.
    pub run: String,
    /// Steps done.
    pub step: u32,
    /// Whether nobody asked for it: it goes when newer ones are there.
    pub automatic: bool,
    /// One entry a file.
    pub files: BTreeMap<String, Sealed>,
}

impl Seal {
    /// The seal of the files that lie in `dir`.
    ///
    /// # Errors
    /// A file that cannot be read, or holds NaN or infinity.
    pub fn of(dir: &Path, run: &str, step: u32, automatic: bool) -> Result<Self> {
        let file = |name: &str| Ok((name.to_owned(), examine(&dir.join(name))?));
        let files = FILES.into_iter().map(file).collect::<Result<_>>()?;
        Ok(Self { run: run.to_owned(), step, automatic, files })
    }

    /// Write it beside the files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::format(&path, e.to_string()))?;
        Ok(disk::write_whole(&path, seal::seal(&text).as_bytes())?)
    }

    /// Read the seal of a checkpoint, without looking at its files.
    ///
    /// # Errors
    /// [`Error::Format`] where there is none or it makes no sense.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let no = |m: &str| Error::format(&path, format!("{m}: this checkpoint cannot be trusted"));
        let found = fs::metadata(&path).map_err(|e| no(&format!("cannot be read ({e})")))?;
        if !found.is_file() || found.len() > MOST_BYTES {
            return Err(no("is not the seal of a checkpoint"));
        }
        let text = fs::read_to_string(&path).map_err(|e| no(&format!("cannot be read ({e})")))?;
        seal::check(&path, text.as_bytes(), seal::Hash::Required).map_err(|e| match e {
            growthpath_trace::Error::Corrupt { path, what } => Error::format(path, what),
            e => e.into(),
        })?;
        serde_json::from_str(&text).map_err(|e| no(&format!("is not the seal of a checkpoint ({e})")))
    }

    /// Compare every file with its hash.
    ///
    /// # Errors
    /// [`Error::Format`] naming the first file that is missing or was changed.
    pub fn check_files(&self, dir: &Path) -> Result<()> {
        for name in FILES {
            self.check_file(dir, name)?;
        }
        Ok(())
    }

    /// Compare one file with its hash.
    ///
    /// # Errors
    /// As [`Seal::check_files`].
    pub fn check_file(&self, dir: &Path, name: &str) -> Result<()> {
        let path = dir.join(name);
        let Some(want) = self.files.get(name) else {
            return Err(Error::format(dir.join(FILE), format!("says nothing of {name}")));
        };
        let found = fs::metadata(&path).map_err(Error::io(&path))?;
        if !found.is_file() {
            return Err(Error::format(&path, "is not a file"));
        }
        if found.len() != want.bytes {
            let text = format!("has {} bytes, not the {} that were written", found.len(), want.bytes);
            return Err(Error::format(&path, text));
        }
        match examine(&path)? == *want {
            true => Ok(()),
            false => Err(Error::format(&path, "was changed after it was written: its hash is another one")),
        }
    }
}

/// Size and hash of a file; in a safetensors file every number must be finite.
fn examine(path: &Path) -> Result<Sealed> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(Error::io(path))?);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0_u64;
    let numbers = path.extension().is_some_and(|e| e == "safetensors");
    if numbers {
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(Error::io(path))?;
        let header = u64::from_le_bytes(length);
        if header > MOST_HEADER {
            return Err(Error::format(path, "is not a safetensors file"));
        }
        hasher.update(&length);
        let mut text = Vec::new();
        (&mut file).take(header).read_to_end(&mut text).map_err(Error::io(path))?;
        hasher.update(&text);
        bytes = 8 + text.len() as u64;
    }
    // A multiple of a number's size: none is cut in two but by the end of the file.
    let mut buffer = vec![0; 1 << 20];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]).map_err(Error::io(path))? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            break;
        }
        let got = &buffer[..filled];
        hasher.update(got);
        bytes += filled as u64;
        let finite = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite();
        if numbers && !got.chunks_exact(4).all(finite) {
            return Err(Error::format(path, "holds NaN or infinity"));
        }
    }
    Ok(Sealed { bytes, blake3: hasher.finalize().to_hex().to_string() })
}
