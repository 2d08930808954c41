//! What `growthpath analyze` prints: the verdict, why attention grew, what to change; tables after it, and every term
//! that they use explained.

use growthpath_analysis::diagnosis::Diagnosis;
use growthpath_analysis::read::{Analysis, LONG_INTERVAL};
use growthpath_trace::fixed;

use super::output::{number, table};
use super::words::{glossary, wrap};

/// A run's analysis, to be printed.
pub struct Shown<'a> {
    /// The numbers.
    pub a: &'a Analysis,
    /// The verdict; none without probes.
    pub d: Option<&'a Diagnosis>,
    /// Whether queries and keys are normalized: the theory does not apply.
    pub qk_norm: bool,
    /// Whether checks are printed too.
    pub verbose: bool,
}

type Term = (&'static str, &'static str);

const GROWTH_TERMS: [Term; 6] = [
    (
        "growth",
        "ln of the spread's ratio between the window's ends, mean over heads; x: the same as a factor",
    ),
    (
        "queries, keys, features",
        "what the change of W_Q, of W_K and of the attention inputs made of the growth; they add up to it (3.1). \
         A negative part held it back",
    ),
    ("spread", "RMS of a head's row-centred logits at the end; 0 is uniform attention"),
    ("entropy", "attention entropy over ln(row length) at the end; 1 is uniform attention"),
    (
        "turning",
        "1 - cosine between the logits of one probe and the next: the pattern changed rather than grew (3.2)",
    ),
    (
        "*",
        "some interval grew by more than 1 in ln: too long for its split to be trusted; probe more often (3.3)",
    ),
];

const VERDICT_TERMS: [Term; 4] = [
    (
        "commits",
        "the upper half is sharp and the loss relies on it; settles: the lower half's maturity stays high (8)",
    ),
    ("A..B", "known only to lie after step A and at step B at the latest, as far as was measured"),
    ("undecided", "brackets that overlap: which came first was not measured finely enough"),
    ("premature", "the upper half commits before the lower half settles"),
];

const WRITE_TERMS: [Term; 5] = [
    ("|w|^2", "mean squared norm of a layer's write to the stream; over |h|^2: of the stream before it"),
    ("common", "fraction of a write's energy that all tokens share"),
    ("maturity", "cosine of the layer's key moment with the one a lag earlier"),
    ("distinct", "fraction of the input's energy that tells tokens apart"),
    ("mostly from", "the write that supplies most of the energy which the layer's attention grows on (5.3)"),
];

const CHECK_TERMS: [Term; 4] = [
    ("correlation", "of predicted with measured parts, over intervals and heads (4.2)"),
    ("cumulative error", "largest |predicted - measured| growth of a layer over the window, in ln"),
    (
        "tightness",
        "how close a step's logit change came to its bound: from the keys' scatter (6.2), from norms (6.1)",
    ),
    ("coherent share", "growth by the weights over the most that their steps allowed (6.3)"),
];

impl Shown<'_> {
    /// The whole text.
    pub fn text(&self) -> String {
        let a = self.a;
        let mut out = self.head();
        if self.qk_norm {
            out += &wrap(
                "",
                "No verdict: this model normalizes queries and keys, its logits are not bilinear in W_Q and W_K, and \
                 no probes are taken. Losses, writes and the spread of every step are recorded.",
                0,
            );
        } else {
            out += &self.answer();
        }
        let split = a.accounting.intervals > 0;
        out += if split { "\nGrowth by layer\n" } else { "\nAttention by layer, at the end\n" };
        out += &if split { self.growth_table() } else { self.spread_table() };
        let mut terms: Vec<Term> = Vec::new();
        if self.d.is_some() {
            terms.extend(VERDICT_TERMS);
        }
        terms.extend(match split {
            true if a.accounting.long > 0 => &GROWTH_TERMS[..],
            true => &GROWTH_TERMS[..5],
            false => &GROWTH_TERMS[2..4],
        });
        if a.accounting.long > 0 {
            let (long, all) = (a.accounting.long, a.accounting.intervals);
            let text =
                format!("{long} of {all} intervals (a head each) grew by more than {LONG_INTERVAL} in ln");
            out += &wrap("* ", &text, 2);
        }
        if !split && !self.qk_norm {
            out += "note: no probe intervals in the window: growth and its parts are undefined; train with probes\n";
        }
        if self.verbose {
            out += "\nWhat the layers write at the end, and what attention grows on\n";
            out += &self.write_table();
            out.push('\n');
            out += &self.stream_table();
            out += &self.checks();
            terms.extend(WRITE_TERMS);
            terms.extend(CHECK_TERMS.iter().filter(|_| split));
        }
        out += &glossary(&terms);
        if !self.verbose {
            out += "More: --verbose (writes, prediction, bounds, self-checks), --signals, --json\n";
        }
        out
    }

    fn head(&self) -> String {
        let (a, w) = (self.a, self.a.window);
        let loss = match a.val_loss.is_finite() {
            true => format!(
                "validation loss{} {:.4} nats/token (perplexity {})",
                // Of a run that was cut off, or a window, the last measurement may lie far before the end.
                if a.val_step < w.end { format!(" at step {}", a.val_step) } else { String::new() },
                a.val_loss,
                number(a.val_perplexity)
            ),
            false => "no validation loss in the window".to_owned(),
        };
        wrap("", &format!("{}, steps {}..{}: {loss}", a.label, w.start, w.end), 2)
    }

    /// The verdict, why, and what to change.
    fn answer(&self) -> String {
        let mut out = String::new();
        if let Some(d) = self.d {
            out += &wrap("Verdict: ", &format!("{}.", d.sentence), 2);
        }
        out += &self.why();
        let Some(d) = self.d else { return out };
        if let Some(r) = &d.recommendation {
            out += &wrap("To change it: ", &format!("{}.", r.sentence), 2);
        }
        if let Some(s) = &d.settling {
            out += &wrap("Hindsight: ", &format!("{}.", s.sentence.trim_start_matches("in hindsight ")), 2);
        }
        for n in &d.notes {
            out += &wrap("note: ", n, 6);
        }
        out
    }

    /// Where the upper half's growth came from, in one sentence.
    fn why(&self) -> String {
        let layers = &self.a.accounting.layers;
        let upper = &layers[layers.len() / 2..];
        let mean = |f: fn(&growthpath_analysis::read::LayerSplit) -> f64| {
            upper.iter().map(f).sum::<f64>() / upper.len() as f64
        };
        let growth = mean(|l| l.growth);
        if !growth.is_finite() || self.a.accounting.intervals == 0 {
            return String::new();
        }
        let (q, k, f) = (mean(|l| l.query), mean(|l| l.key), mean(|l| l.features));
        let text = format!(
            "the upper half's attention grew x{} (ln {}): query weights {}, key weights {}, features {}{}.",
            number(growth.exp()),
            signed(growth),
            signed(q),
            signed(k),
            signed(f),
            self.supplier()
                .map_or(String::new(), |s| format!("; the energy that it grew on came mostly from {s}")),
        );
        wrap("Why: ", &text, 2)
    }

    /// The write with the largest mean share in the upper half's energy.
    fn supplier(&self) -> Option<String> {
        let half = self.a.layers.len() / 2;
        let upper: Vec<_> = self.a.energy_shares.iter().filter(|s| usize::from(s.layer) >= half).collect();
        let names = upper.first()?.shares.0.iter().map(|s| s.0.as_str());
        let mean = |name: &str| {
            let of = upper.iter().filter_map(|l| l.shares.0.iter().find(|s| s.0 == name)).map(|s| s.1);
            of.filter(|v| v.is_finite()).sum::<f64>() / upper.len() as f64
        };
        let (name, share) = names.map(|n| (n, mean(n))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        (share > 0.0).then(|| format!("{name} ({:.0} %)", 100.0 * share))
    }

    fn growth_table(&self) -> String {
        let a = self.a;
        let of = a.layers.iter().zip(&a.accounting.layers).rev();
        let rows: Vec<Vec<String>> = of
            .map(|(l, split)| {
                let star = if split.long > 0 { " *" } else { "" };
                let mut r = vec![format!("{}{star}", l.layer), number(l.growth_factor)];
                r.extend([split.growth, split.query, split.key, split.features].map(signed));
                r.extend([l.spread_last, l.entropy_last, split.turning].map(short));
                r
            })
            .collect();
        let head =
            ["layer", "growth x", "ln", "= queries", "+ keys", "+ features", "spread", "entropy", "turning"];
        table(&head, &rows)
    }

    fn spread_table(&self) -> String {
        let rows: Vec<Vec<String>> = (self.a.layers.iter().rev())
            .map(|l| vec![l.layer.to_string(), number(l.spread_last), number(l.entropy_last)])
            .collect();
        table(&["layer", "spread", "entropy"], &rows)
    }

    fn write_table(&self) -> String {
        let rows: Vec<Vec<String>> = (self.a.layers.iter().rev())
            .map(|l| {
                let numbers =
                    [l.attn_energy, l.ffn_energy, l.attn_ratio, l.ffn_ratio, l.attn_common, l.ffn_common];
                std::iter::once(l.layer.to_string()).chain(numbers.map(short)).collect()
            })
            .collect();
        let head = ["layer", "|w|^2 attn", "ffn", "|w|^2/|h|^2 attn", "ffn", "common attn", "ffn"];
        table(&head, &rows)
    }

    fn stream_table(&self) -> String {
        let rows: Vec<Vec<String>> = (self.a.layers.iter().rev())
            .map(|l| {
                let share = self.a.energy_shares.iter().find(|s| s.layer == l.layer);
                let top = share.and_then(|s| {
                    s.shares.0.iter().filter(|v| v.1.is_finite()).max_by(|x, y| x.1.total_cmp(&y.1)).cloned()
                });
                let top = top.map_or("-".into(), |(name, v)| format!("{name} {}", percent(v)));
                vec![l.layer.to_string(), short(l.maturity), short(l.distinct), top]
            })
            .collect();
        table(&["layer", "maturity", "distinct", "mostly from"], &rows)
    }

    /// Theory against measurement, bounds, identities.
    fn checks(&self) -> String {
        let a = self.a;
        let mut out = String::new();
        if a.accounting.intervals > 0 {
            let p = &a.prediction;
            let parts = [("queries", p.query), ("keys", p.key), ("features", p.features), ("total", p.total)];
            let rows: Vec<Vec<String>> = parts
                .iter()
                .map(|(name, part)| {
                    let r = part.correlation;
                    vec![
                        (*name).to_owned(),
                        if r.is_finite() { fixed(r, 5) } else { "-".to_owned() },
                        number(part.worst_cumulative),
                        part.worst_layer.map_or("-".into(), |l| l.to_string()),
                    ]
                })
                .collect();
            out += "\nTheory against measurement\n";
            out += &table(&["part", "correlation", "cumulative error", "in layer"], &rows);
            let b = &a.bound;
            let text = format!(
                "{} violations; tightness median {} (6.2), {} (6.1); coherent share {}",
                b.violations,
                number(b.tight.median),
                number(b.cheap.median),
                percent(b.coherent_share)
            );
            out += &wrap("Bounds: ", &text, 2);
        }
        let residual = if a.accounting.intervals > 0 {
            format!("parts add up to the growth within {} ln; ", number(a.accounting.max_residual))
        } else {
            String::new()
        };
        let text =
            format!("{residual}Euler identity (2.1) within {} (relative)", number(a.euler.max_rel_residual));
        out + &wrap("Self-checks: ", &text, 2)
    }
}

/// Two decimals and a sign, for columns that are added.
fn signed(v: f64) -> String {
    if v.is_finite() { growthpath_trace::signed(v, 2) } else { "-".to_owned() }
}

/// Three figures at most, in at most seven characters.
fn short(v: f64) -> String {
    let a = v.abs();
    match a {
        a if !a.is_finite() => "-".into(),
        0.0 => "0".into(),
        a if !(0.001..1e5).contains(&a) => format!("{v:.0e}"),
        a if a < 10.0 => format!("{v:.3}"),
        a if a < 1000.0 => format!("{v:.1}"),
        _ => format!("{v:.0}"),
    }
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{} %", fixed(100.0 * share, 0)) } else { "-".to_owned() }
}
