//! Examples at the end of every verb's help, in one place so that they can be checked together.

/// Verb and its examples, a command line each.
pub const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "demo",
        &["growthpath demo", "growthpath demo --data my.txt --out my-demo", "growthpath demo --language"],
    ),
    (
        "train",
        &[
            "growthpath train --out runs/gpt",
            "growthpath train --preset llama --data train.txt --tokenizer bpe:4096 --steps 1000 --out runs/llama",
            "growthpath train --intervene upper-qk --multiplier 0.25 --hold 0.06 --probe-like runs/gpt --out runs/slow",
            "growthpath train --set layers=4 --set ffn=geglu --out runs/small",
            "growthpath train --resume --out runs/gpt",
        ],
    ),
    (
        "study",
        &[
            "growthpath study --example > plan.toml",
            "growthpath study plan.toml --out study --jobs 2",
            "growthpath study plan.toml --out study --resume",
            "growthpath study plan.toml --out study --launcher slurm --sbatch=--partition=cpu",
        ],
    ),
    ("watch", &["growthpath watch runs/gpt", "growthpath watch runs/gpt --once"]),
    (
        "analyze",
        &[
            "growthpath analyze runs/gpt",
            "growthpath analyze runs/gpt --window 0..200 --verbose",
            "growthpath analyze runs/gpt --json",
        ],
    ),
    (
        "compare",
        &["growthpath compare runs/gpt runs/slow", "growthpath compare runs/gpt runs/slow --layers upper"],
    ),
    (
        "plot",
        &[
            "growthpath plot --figure list",
            "growthpath plot runs/gpt runs/llama --out figures",
            "growthpath plot runs/gpt --figure growth-shares,diagnosis --width column --format pdf",
            "growthpath plot runs/gpt runs/llama runs/slow --pair 1:3 --figure shapley",
            "growthpath plot runs/gpt --figure factors --window 0..200",
        ],
    ),
    (
        "report",
        &["growthpath report runs/gpt runs/llama", "growthpath report runs/gpt runs/slow --out slow.html"],
    ),
    (
        "inspect",
        &[
            "growthpath inspect runs/gpt/checkpoints/step-300",
            "growthpath inspect runs/gpt/checkpoints/step-0 runs/gpt/checkpoints/step-300 --heads",
        ],
    ),
    ("verify", &["growthpath verify runs/gpt", "growthpath verify runs/gpt --against runs/again"]),
    ("columns", &["growthpath columns", "growthpath columns heads"]),
    (
        "export",
        &[
            "growthpath export runs/gpt --table probe > probe.csv",
            "growthpath export runs/gpt --table steps --format jsonl",
        ],
    ),
    ("import", &["growthpath import runs/rewritten --out runs/imported"]),
    (
        "bench",
        &["growthpath bench --size micro", "growthpath bench --device cuda --precision bf16 --size 124m"],
    ),
    ("check-device", &["growthpath check-device"]),
    (
        "completions",
        &[
            "growthpath completions bash > /etc/bash_completion.d/growthpath",
            "growthpath completions --man | man -l -",
        ],
    ),
];

/// Names of the verbs.
pub fn verbs() -> impl Iterator<Item = &'static str> + Clone {
    EXAMPLES.iter().map(|e| e.0)
}

/// The command with its examples.
pub fn with_examples(mut command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        let Some((_, lines)) = EXAMPLES.iter().find(|e| e.0 == name) else { continue };
        let text = format!("Examples:\n  {}", lines.join("\n  "));
        command = command.mut_subcommand(name, |c| c.after_help(text));
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_verb_has_examples_in_the_order_of_the_list() {
        let command = with_examples(Cli::command());
        assert_eq!(
            command.get_subcommands().map(clap::Command::get_name).collect::<Vec<_>>(),
            verbs().collect::<Vec<_>>()
        );
        for verb in command.get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:"), "{}", verb.get_name());
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        for line in EXAMPLES.iter().flat_map(|e| e.1) {
            let words = line.split(['>', '|']).next().unwrap_or("").split_whitespace();
            let parsed = with_examples(Cli::command()).try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
