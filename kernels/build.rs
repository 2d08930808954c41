//! With the `cuda` feature: gathers the CUDA sources, the header of the declared statistics, and their PTX where a compiler is
//! named or on the PATH.
//!
//! `GROWTHPATH_NVCC` names the compiler (`none`: embed no PTX; the device then compiles the sources with NVRTC).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Oldest architecture that the kernels' tensor-core instructions run on; the driver compiles PTX for newer ones.
const ARCHITECTURE: &str = "compute_80";
/// That of the warpgroups' instructions, in files whose names end in `_group`: devices of 9.0 alone.
const GROUP_ARCHITECTURE: &str = "compute_90a";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed=cuda");
    println!("cargo:rerun-if-env-changed=GROWTHPATH_NVCC");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("cuda");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let statistics = out.join("attention_stats.cuh");
    let text = growthpath_statistics::cuda_header();
    fs::write(&statistics, &text).unwrap_or_else(|e| panic!("{}: {e}", statistics.display()));
    let nvcc = compiler();
    if nvcc.is_none() {
        println!("cargo:warning=no nvcc: the CUDA kernels will be compiled by NVRTC on the device's machine");
    }
    let mut code = String::from("static SOURCES: &[Source] = &[\n");
    let mut headers = String::from("static HEADERS: &[(&str, &str)] = &[\n");
    let _ = writeln!(headers, "    (\"attention_stats.cuh\", {text:?}),");
    for path in files(&folder) {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let file = path.display();
        match path.extension().and_then(|e| e.to_str()) {
            Some("cuh") => {
                let _ = writeln!(headers, "    (\"{name}.cuh\", include_str!({:?})),", file.to_string());
            }
            Some("cu") => {
                let ptx = out.join(format!("{name}.ptx"));
                match &nvcc {
                    Some(nvcc) => to_ptx(nvcc, &out, &path, &ptx),
                    None => fs::write(&ptx, "").unwrap_or_else(|e| panic!("{}: {e}", ptx.display())),
                }
                let _ = writeln!(
                    code,
                    "    Source {{ name: {name:?}, text: include_str!({:?}), ptx: include_str!({:?}) }},",
                    file.to_string(),
                    ptx.display().to_string()
                );
            }
            _ => {}
        }
    }
    let path = out.join("sources.rs");
    fs::write(&path, format!("{code}];\n{headers}];\n"))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn compiler() -> Option<PathBuf> {
    match env::var("GROWTHPATH_NVCC") {
        Ok(name) if name == "none" => None,
        Ok(name) => Some(name.into()),
        Err(_) => Command::new("nvcc")
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
            .then(|| "nvcc".into()),
    }
}

fn to_ptx(nvcc: &Path, include: &Path, source: &Path, ptx: &Path) {
    let group = source.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("_group"));
    let architecture = if group { GROUP_ARCHITECTURE } else { ARCHITECTURE };
    let status = Command::new(nvcc)
        .args(["-ptx", "-std=c++17", &format!("-arch={architecture}"), "-I"])
        .args([include, "-o".as_ref(), ptx, source])
        .status()
        .unwrap_or_else(|e| panic!("{}: {e}", nvcc.display()));
    assert!(status.success(), "{} could not compile {}", nvcc.display(), source.display());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    files
}
