//! Exit codes: 2 for the command line and values on it, 1 for everything else.

use crate::support::*;

#[test]
fn bad_values_are_2() {
    let d = Dir::new();
    d.ok(&train("run", "12", &["--probe-every", "3"]));
    for args in [
        &["analyze", "run", "--sharpness-threshold", "7"][..],
        &["analyze", "run", "--maturity-threshold", "-1"],
        &["analyze", "run", "--reliance-confidence", "nan"],
        &["analyze", "run", "--window", "9..9"],
        &["compare", "run", "run", "--layers", "middle"],
        &["verify", "run", "--against", "run", "--tolerance", "nan"],
        &["verify", "run", "--against", "run", "--tolerance=-1"],
        &["plot", "run", "--figure", "none"],
        &["train", "--out", "x", "--tokenizer", "bpe:3", "--data", "text"],
        &["train", "--out", "x", "--tokenizer", "bpe:18446744073709551615", "--data", "text"],
        &["train", "--out", "x", "--threads", "0"],
    ] {
        d.fails(2, &[], args);
    }
}

#[test]
fn what_exists_already_is_1_for_every_verb() {
    let d = Dir::new();
    d.ok(&train("run", "3", &[]));
    std::fs::create_dir(d.path("full")).unwrap();
    std::fs::write(d.path("full/note"), "x").unwrap();
    let plan = "flags = [\"--size\", \"nano\", \"--steps\", \"3\"]\nseeds = [1]\n[[arms]]\nname = \"a\"\n";
    std::fs::write(d.path("plan.toml"), plan).unwrap();
    d.fails(1, &["run"], &train("run", "3", &[]));
    d.fails(1, &["full"], &train("full", "3", &[]));
    d.fails(1, &["full", "exists already"], &["study", "plan.toml", "--out", "full"]);
    d.fails(1, &["full", "exists already"], &["demo", "--out", "full"]);
}

#[test]
fn a_damaged_checkpoint_is_1() {
    let d = Dir::new();
    let made = |name: &'static str| {
        d.ok(&train(name, "6", &["--checkpoint-every", "3"]));
        std::fs::remove_dir_all(d.path(name).join("checkpoints/step-3")).unwrap();
        d.path(name).join("checkpoints/step-6")
    };
    let cut = made("cut").join("model.safetensors");
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    d.fails(1, &["model.safetensors"], &["inspect", "cut/checkpoints/step-6"]);
    let config = made("config").join("config.json");
    std::fs::write(config, "{").unwrap();
    d.fails(1, &["config.json"], &["inspect", "config/checkpoints/step-6"]);
    d.forget_its_end("cut");
    let o = d.run(&["train", "--resume", "--out", "cut", "--quiet"]);
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(o.status.code() != Some(2) && said.contains("model.safetensors"), "{said}");
}

/// A plan is a file: what is wrong in it is 1, what is added to it on the command line 2.
#[test]
fn a_plan_is_a_file() {
    let d = Dir::new();
    let plan = |name: &str, flags: &str, seeds: &str| {
        let text = format!("flags = [\"--size=nano\"{flags}]\nseeds = [{seeds}]\n[[arms]]\nname = \"a\"\n");
        std::fs::write(d.path(name), text).unwrap();
    };
    for (name, flags, seeds, says) in [
        ("none.toml", "", "", "one seed"),
        ("below.toml", "", "-1", "seeds"),
        ("rate.toml", ", \"--lr=-1\"", "1", "--lr must be a positive number"),
        ("own.toml", ", \"--seed=1\"", "1", "--seed=1 is no flag of a plan"),
    ] {
        plan(name, flags, seeds);
        d.fails(1, &[name, says], &["study", name]);
    }
    plan("good.toml", "", "1");
    d.fails(2, &["--lr must be a positive number"], &["study", "good.toml", "--", "--lr=-1"]);
    // Both are wrong: the file is mended first.
    d.fails(1, &["rate.toml"], &["study", "rate.toml", "--", "--lr=-2"]);
}

/// A flag that contradicts what is there is one of the command line.
#[test]
fn another_configuration_is_2_for_every_verb() {
    let d = Dir::new();
    d.ok(&train("run", "3", &[]));
    d.forget_its_end("run");
    d.fails(2, &["--steps asks for 30", "has 3"], &["train", "--resume", "--out", "run", "--steps", "30"]);
    let demo = ["demo", "--quiet", "--language", "--size", "nano", "--out", "demo"];
    d.ok(&[&demo[..], &["--steps", "4"]].concat());
    d.fails(2, &["gpt", "another configuration"], &[&demo[..], &["--resume", "--steps", "5"]].concat());
    let plan = "flags = [\"--size=nano\", \"--steps=3\"]\nseeds = [1]\n[[arms]]\nname = \"a\"\n";
    std::fs::write(d.path("plan.toml"), plan).unwrap();
    d.ok(&["study", "plan.toml", "--quiet"]);
    let again = ["study", "plan.toml", "--resume", "--", "--batch=3"];
    d.fails(2, &["another configuration"], &again);
}
