//! What was run: configuration, commands, versions, dates.

use std::collections::{BTreeMap, BTreeSet};

use growthpath_figures::{Material, RunMaterial};
use serde_json::Value;

/// Settings of a run by dotted key, as text.
fn settings(run: &RunMaterial) -> BTreeMap<String, String> {
    fn flatten(at: &str, value: &Value, out: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| {
                flatten(&if at.is_empty() { k.clone() } else { format!("{at}.{k}") }, v, out);
            }),
            // Not set: as if the key were not there.
            Value::Null => {}
            Value::String(s) => drop(out.insert(at.to_owned(), s.clone())),
            // Probe times of another run are a long list.
            Value::Array(a) if a.len() > 12 => drop(out.insert(at.to_owned(), format!("{} values", a.len()))),
            other => drop(out.insert(at.to_owned(), other.to_string())),
        }
    }
    let mut out = BTreeMap::new();
    flatten("", &run.config, &mut out);
    out
}

/// Rows (key, value of each run) of the settings that differ, and rows (key, value) of those that do not.
pub fn configuration(m: &Material) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let all: Vec<BTreeMap<String, String>> = m.runs.iter().map(settings).collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(|s| s.keys()).collect();
    let (mut differing, mut common) = (Vec::new(), Vec::new());
    for key in keys {
        let values: Vec<&str> = all.iter().map(|s| s.get(key).map_or("–", String::as_str)).collect();
        if values.iter().all(|v| *v == values[0]) {
            common.push(vec![key.clone(), values[0].to_owned()]);
        } else {
            differing
                .push(std::iter::once(key.clone()).chain(values.into_iter().map(str::to_owned)).collect());
        }
    }
    (differing, common)
}

/// How a run was made.
pub struct Made {
    /// Its name.
    pub name: String,
    /// Device, versions, dates, size.
    pub about: String,
    /// The command line that made it, empty where it was not recorded.
    pub command: String,
}

/// How every run was made.
pub fn made(m: &Material) -> Vec<Made> {
    m.runs
        .iter()
        .map(|r| {
            let info = &r.info;
            let versions: Vec<String> = info.versions.iter().map(|(k, v)| format!("{k} {v}")).collect();
            let mut about = vec![info.device.clone(), versions.join(", ")];
            about.push(format!("begun {}", date(info.created_unix)));
            let status = format!("{:?}", info.status).to_lowercase();
            about.push(match info.finished_unix {
                Some(t) => format!("{status} {}", date(t)),
                None => status,
            });
            if let Some(n) = info.extra.get("parameters").and_then(Value::as_u64) {
                about.push(format!("{n} parameters"));
            }
            about.push(format!("in {}", growthpath_trace::shown_path(&r.dir)));
            let command = info.extra.get("command").and_then(Value::as_str).unwrap_or("").to_owned();
            Made { name: r.name.clone(), about: about.join("; "), command }
        })
        .collect()
}

/// `2026-11-26 17:03 UTC`.
pub fn date(unix: u64) -> String {
    // Days to a civil date, the year counted from March so that the leap day is its last.
    let (days, seconds) = ((unix / 86_400) as i64 + 719_468, unix % 86_400);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600, seconds % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_210_096, "2024-02-29 12:34 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(unix), text);
        }
    }
}
