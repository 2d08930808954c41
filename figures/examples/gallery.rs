//! Draws every figure of synthetic runs into a folder, for print in one column and over the page:
//! `cargo run --release -p growthpath-figures --example gallery -- FOLDER`.

mod samples;

use std::path::PathBuf;
use std::process::ExitCode;

use growthpath_figures::{FIGURES, FigureError, Format, Width};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: gallery FOLDER");
        return ExitCode::from(2);
    };
    match draw(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn draw(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let runs = folder.join("runs");
    std::fs::create_dir_all(&runs)?;
    let material = samples::material(&runs);
    for figure in FIGURES {
        for (i, drawing) in figure.drawings(&material).iter().enumerate() {
            for (width, name) in [(Width::Column, "column"), (Width::Page, "page")] {
                let file = folder.join(format!("{}-{}-{name}", figure.name, i + 1));
                let save = |format: Format| -> Result<(), FigureError> {
                    drawing.save(file.with_extension(format.extension()), format, width)
                };
                [Format::Png, Format::Svg, Format::Pdf].into_iter().try_for_each(save)?;
                println!("{}.png, .svg, .pdf", file.display());
            }
        }
    }
    Ok(())
}
