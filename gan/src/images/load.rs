//! Reading a folder of images.

use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use rayon::prelude::*;

use crate::error::{Error, Result};

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// All PNG, JPEG and WebP images below `folder` in the order of their paths, each as `[3, size, size]` bytes: centred
/// square, resized, transparent pixels on white.
///
/// # Errors
/// A folder without images or with fewer than `least`, an image that cannot be read: each named.
pub fn load_folder(folder: &Path, size: usize, least: usize) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    collect(folder, &mut paths)?;
    paths.sort();
    if paths.len() < least {
        return Err(Error::format(
            folder,
            format!(
                "{} PNG, JPEG or WebP images, at least {least} are needed: give a folder with more of them",
                paths.len()
            ),
        ));
    }
    paths.par_iter().map(|p| load_image(p, size)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path
            .extension()
            .is_some_and(|e| EXTENSIONS.contains(&e.to_string_lossy().to_ascii_lowercase().as_str()))
        {
            paths.push(path);
        }
    }
    Ok(())
}

/// One image as `[3, size, size]` bytes.
///
/// # Errors
/// An image that cannot be read.
pub fn load_image(path: &Path, size: usize) -> Result<Vec<u8>> {
    let bad = |e: &dyn std::fmt::Display| {
        Error::format(path, format!("not an image that can be read ({e}): remove or replace it"))
    };
    let reader = image::ImageReader::open(path).map_err(Error::io(path))?;
    let reader = reader.with_guessed_format().map_err(Error::io(path))?;
    let image = reader.decode().map_err(|e| bad(&e))?.to_rgba8();
    let side = image.width().min(image.height());
    if side == 0 {
        return Err(bad(&"no pixels"));
    }
    let (x, y) = ((image.width() - side) / 2, (image.height() - side) / 2);
    let mut image = image::imageops::crop_imm(&image, x, y, side, side).to_image();
    for p in image.pixels_mut() {
        let alpha = u32::from(p[3]);
        for c in 0..3 {
            p[c] = ((u32::from(p[c]) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    let image = if side as usize == size {
        image
    } else {
        image::imageops::resize(&image, size as u32, size as u32, FilterType::CatmullRom)
    };
    let mut planes = vec![0u8; 3 * size * size];
    for (i, p) in image.pixels().enumerate() {
        for c in 0..3 {
            planes[c * size * size + i] = p[c];
        }
    }
    Ok(planes)
}
