//! What the environment says of the pretended device.

/// A number that the environment sets; a value that is none says so and is not obeyed.
pub(crate) fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    let number = value.parse().ok();
    if number.is_none() {
        eprintln!("host emulator: {name}={value} is not a number and is passed over");
    }
    number
}
