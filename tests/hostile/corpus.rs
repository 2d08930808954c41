//! The kept inputs of the fuzz targets: what once broke something, and one of each kind.

#[path = "../../fuzz/src/cases.rs"]
pub mod cases;

#[test]
fn kept_inputs_break_nothing() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut ran = 0;
    for (name, case) in cases::ALL {
        for kept in ["seeds", "regressions"] {
            let folder = root.join(kept).join(name);
            let mut files: Vec<_> =
                std::fs::read_dir(&folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
            files.sort();
            assert!(kept == "regressions" || !files.is_empty(), "{} has none", folder.display());
            for file in files {
                println!("{}", file.display());
                case(&std::fs::read(&file).unwrap());
                ran += 1;
            }
        }
    }
    assert!(ran >= cases::ALL.len());
}
