//! Draws every figure with synthetic data into a folder: `cargo run --release -p growthpath-figures --example gallery -- FOLDER`.

#[allow(dead_code)]
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: gallery FOLDER");
        return ExitCode::from(2);
    };
    if let Err(e) = std::fs::create_dir_all(&folder) {
        eprintln!("cannot make {}: {e}", folder.display());
        return ExitCode::FAILURE;
    }
    for (name, figure) in samples::all() {
        let file = folder.join(name);
        let saved = figure
            .save_png(file.with_extension("png"))
            .and_then(|()| figure.save_svg(file.with_extension("svg")));
        if let Err(e) = saved {
            eprintln!("{name}: {e}");
            return ExitCode::FAILURE;
        }
        println!("{}.png and .svg", file.display());
    }
    ExitCode::SUCCESS
}
