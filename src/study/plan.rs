//! A study's plan: a TOML file of shared flags, arms and seeds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::input;

/// One arm: a name and the flags that set it apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Name in figures and tables; also its folder.
    pub name: String,
    /// Flags of `growthpath train`, as on its command line.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// A whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the study asks, in a sentence; stands above its tables.
    #[serde(default)]
    pub about: String,
    /// Flags that all arms share.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Seeds; every arm is trained with each.
    pub seeds: Vec<u64>,
    /// Pairs of arms to compare, by name: `[["gpt", "gpt+slow-qk"]]`.
    #[serde(default)]
    pub compare: Vec<[String; 2]>,
    /// The arms.
    pub arms: Vec<Arm>,
}

/// An annotated plan that runs as it is.
pub const EXAMPLE: &str = include_str!("example.toml");

impl Plan {
    /// Read a plan.
    ///
    /// # Errors
    /// A missing file, TOML that is not a plan, no arms or seeds, names that repeat or cannot be folders.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::format(path, "no such plan; `growthpath study --example` prints one"));
        }
        let text = input::read_text(path, input::SMALL_FILE)?;
        Self::parse(&text).map_err(|m| Error::format(path, m))
    }

    /// Parse a plan's text.
    ///
    /// # Errors
    /// In words, what is wrong and the mend.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let plan: Self = toml::from_str(text).map_err(|e| format!("is not a study plan: {e}"))?;
        if plan.arms.is_empty() || plan.seeds.is_empty() {
            return Err("a plan needs at least one arm and one seed".into());
        }
        let mut seeds = plan.seeds.clone();
        seeds.sort_unstable();
        if seeds.windows(2).any(|w| w[0] == w[1]) {
            return Err("a seed stands twice in `seeds`".into());
        }
        for (i, a) in plan.arms.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.".contains(c);
            if a.name.is_empty() || a.name.starts_with('.') || !a.name.chars().all(plain) {
                return Err(format!("arm name `{}`: use letters, digits, + - _ and .", a.name));
            }
            if plan.arms[..i].iter().any(|b| b.name == a.name) {
                return Err(format!("arm `{}` stands twice", a.name));
            }
        }
        for [a, b] in &plan.compare {
            if a == b {
                return Err(format!("`compare` sets `{a}` against itself"));
            }
        }
        for name in plan.compare.iter().flatten() {
            if !plan.arms.iter().any(|a| a.name == *name) {
                return Err(format!("`compare` names `{name}`, which is no arm of the plan"));
            }
        }
        Ok(plan)
    }

    /// Name of one run: its folder's.
    pub fn run_name(arm: &Arm, seed: u64) -> String {
        format!("{}-seed{seed}", arm.name)
    }

    /// Folder of one run.
    pub fn folder(out: &Path, arm: &Arm, seed: u64) -> PathBuf {
        out.join(Self::run_name(arm, seed))
    }

    /// Keep the plan beside its runs, as it was trained: `OUT/plan.toml`, which is returned.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, out: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        let path = out.join("plan.toml");
        let text = toml::to_string(self).map_err(|e| Error::format(&path, e.to_string()))?;
        let temporary = path.with_extension("partial");
        std::fs::write(&temporary, text).map_err(Error::io(&temporary))?;
        std::fs::rename(&temporary, &path).map_err(Error::io(&path))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        flags = ["--steps", "20", "--size", "nano"]
        seeds = [1, 2]
        compare = [["gpt", "gpt+slow-qk"]]
        [[arms]]
        name = "gpt"
        [[arms]]
        name = "gpt+slow-qk"
        flags = ["--intervene", "upper-qk"]
    "#;

    #[test]
    fn the_example_is_a_plan() {
        let plan = Plan::parse(EXAMPLE).unwrap();
        assert!(
            plan.arms.len() > 1 && plan.seeds.len() > 1 && !plan.compare.is_empty() && !plan.about.is_empty()
        );
    }

    #[test]
    fn a_plan_parses_and_mistakes_are_named() {
        let plan = Plan::parse(GOOD).unwrap();
        assert_eq!((plan.arms.len(), plan.seeds.len(), plan.compare.len()), (2, 2, 1));
        for (from, to, says) in [
            ("[1, 2]", "[1, 1]", "twice"),
            ("[1, 2]", "[]", "at least one"),
            ("name = \"gpt\"\n", "name = \"../x\"\n", "../x"),
            ("[\"gpt\", \"gpt+slow-qk\"]]", "[\"gpt\", \"x\"]]", "`x`"),
            ("seeds", "sedes", "sedes"),
            ("[\"gpt\", \"gpt+slow-qk\"]]", "[\"gpt\", \"gpt\"]]", "itself"),
        ] {
            let e = Plan::parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(e.contains(says), "{from} -> {to}: {e}");
        }
    }
}
