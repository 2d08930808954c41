#![no_main]

#[path = "../src/cases.rs"]
#[allow(dead_code)] // each target uses one of the cases
mod cases;

libfuzzer_sys::fuzz_target!(init: cases::spare_guarded(), |data: &[u8]| cases::run_json(data));
