//! Compiles the unmodified `.cu` files with the host's C++ compiler, and generates the table of their kernels.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let folders = [here.join("../cuda"), here.join("fixtures")];
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").include(here.join("cpp")).file(here.join("cpp/runtime.cpp"));
    // No contraction and no fast math: an operation is what the source says, on every host.
    build.flag("-ffp-contract=off").flag("-Wno-unknown-pragmas").define("GROWTHPATH_EMULATION", None);
    if env::var_os("CARGO_FEATURE_SANITIZE").is_some() {
        build.flag("-fsanitize=address,undefined").flag("-fno-sanitize-recover=undefined").flag("-g");
        build.flag("-fno-omit-frame-pointer").opt_level(1);
        println!("cargo:rustc-link-lib=dylib=asan");
        println!("cargo:rustc-link-lib=dylib=ubsan");
    } else {
        build.opt_level(2);
    }

    let header = out.join("attention_stats.cuh");
    fs::write(&header, growthpath_statistics::cuda_header())
        .unwrap_or_else(|e| panic!("{}: {e}", header.display()));
    build.include(&out);

    let mut table = String::from("#include \"runtime.h\"\n");
    let mut calls = String::new();
    for folder in &folders {
        println!("cargo:rerun-if-changed={}", folder.display());
        build.include(folder);
        for source in cuda_files(folder) {
            let stem = source
                .file_stem()
                .and_then(|s| s.to_str())
                .expect("kernel files have plain names")
                .to_owned();
            let text = fs::read_to_string(&source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
            let mut glue = format!("#include \"runtime.h\"\n#include \"{}\"\n", source.display());
            let _ = writeln!(glue, "void register_{stem}(emu::Table& table) {{");
            for kernel in exports(&text) {
                let _ = writeln!(glue, "    table.add(\"{kernel}\", {kernel});");
            }
            glue.push_str("}\n");
            let path = out.join(format!("{stem}.cpp"));
            fs::write(&path, glue).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            build.file(path);
            let _ = writeln!(table, "void register_{stem}(emu::Table& table);");
            let _ = writeln!(calls, "    register_{stem}(table);");
        }
    }
    let _ = write!(table, "void emu::register_all(emu::Table& table) {{\n{calls}}}\n");
    let path = out.join("kernel_table.cpp");
    fs::write(&path, table).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    build.file(path).compile("growthpath_emu");
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-changed=build.rs");
}

fn cuda_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "cu")).collect();
    files.sort();
    files
}

/// Kernel names: first argument of a line `EXPORT_X(name, ...)`, or the name in `extern "C" __global__ ... name(`.
fn exports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with("EXPORT_") {
            let inside = line.split_once('(').map_or("", |(_, rest)| rest);
            names.push(inside.split([',', ')']).next().unwrap_or("").trim().to_owned());
        } else if line.starts_with("extern \"C\" __global__") {
            let head = line.rsplit_once("(").map_or(line, |_| line);
            // The parameter list opens after the last identifier that is not part of __launch_bounds__(n).
            let head = head.split_once("void ").map_or("", |(_, rest)| rest);
            let head = match head.strip_prefix("__launch_bounds__") {
                Some(rest) => rest.split_once(')').map_or("", |(_, rest)| rest),
                None => head,
            };
            names.push(head.split('(').next().unwrap_or("").trim().to_owned());
        }
    }
    names
}
