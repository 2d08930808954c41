//! How much memory there is: sizes that can never fit are refused before anything is allocated.

use std::path::Path;

/// Bytes that this process may still take, as far as the system tells; `None` where it does not.
pub fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    });
    match (machine, of_group(Path::new("/sys/fs/cgroup"))) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What a container's limit leaves.
fn of_group(folder: &Path) -> Option<u64> {
    let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

/// Bytes in the unit that reads best, for messages.
pub fn readable(bytes: u128) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.3e} PiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let told: Vec<String> = [7, 1536, 51 << 30, u128::MAX].map(readable).into();
        assert_eq!(told[..3], ["7 bytes", "1.5 KiB", "51.0 GiB"]);
        assert!(told[3].ends_with("PiB"));
    }

    #[test]
    fn a_containers_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_group(dir.path()), None);
        std::fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        std::fs::write(dir.path().join("memory.current"), "300\n").unwrap();
        assert_eq!(of_group(dir.path()), None);
        std::fs::write(dir.path().join("memory.max"), "1000\n").unwrap();
        assert_eq!(of_group(dir.path()), Some(700));
    }
}
