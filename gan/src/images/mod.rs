//! Images in and out.

mod dataset;
mod drawn;
mod grid;
mod load;

pub use dataset::Dataset;
pub use drawn::drawn_faces;
pub use grid::{save_grid, save_images};
pub use load::{load_folder, load_image};
