//! Writing generated images.

use std::path::Path;

use candle_core::Tensor;
use image::RgbImage;

use crate::error::{Error, Result};

/// `[b, 3, h, w]` in [-1, 1] as pictures.
fn pictures(images: &Tensor) -> Result<Vec<RgbImage>> {
    let (n, _, h, w) = images.dims4()?;
    let values: Vec<f32> = images.flatten_all()?.to_vec1()?;
    let byte = |v: f32| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
    let picture = |i: usize| {
        let v = &values[i * 3 * h * w..][..3 * h * w];
        RgbImage::from_fn(w as u32, h as u32, |x, y| {
            let at = y as usize * w + x as usize;
            image::Rgb([byte(v[at]), byte(v[h * w + at]), byte(v[2 * h * w + at])])
        })
    };
    Ok((0..n).map(picture).collect())
}

fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    picture.save(path).map_err(|e| Error::format(path, format!("cannot be written ({e})")))
}

/// All images in one picture, `columns` in a row, two white pixels between them.
///
/// # Errors
/// A path that cannot be written.
pub fn save_grid(images: &Tensor, columns: usize, path: &Path) -> Result<()> {
    const GAP: u32 = 2;
    let pictures = pictures(images)?;
    let (h, w) = (images.dim(2)? as u32 + GAP, images.dim(3)? as u32 + GAP);
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns) as u32;
    let mut grid = RgbImage::from_pixel(w * columns as u32 - GAP, h * rows - GAP, image::Rgb([255; 3]));
    for (i, p) in pictures.iter().enumerate() {
        let (x, y) = ((i % columns) as u32 * w, (i / columns) as u32 * h);
        image::imageops::replace(&mut grid, p, i64::from(x), i64::from(y));
    }
    save(&grid, path)
}

/// One PNG an image, `first`, `first + 1`, ... in `folder`.
///
/// # Errors
/// A path that cannot be written.
pub fn save_images(images: &Tensor, folder: &Path, first: usize) -> Result<()> {
    for (i, p) in pictures(images)?.iter().enumerate() {
        save(p, &folder.join(format!("{:06}.png", first + i)))?;
    }
    Ok(())
}
