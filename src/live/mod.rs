//! A run as it grows: its curves for other programs' displays, while it is trained or after.

mod cut_off;
mod records;
mod scalars;
mod silence;
mod tail;

pub use cut_off::{cut_off, cut_off_words, no_rows_words, with_rows};
pub use records::{EventFile, RECORD_SUFFIX};
pub use scalars::{Sample, Scalars};
pub use silence::{Silence, silence};
pub use tail::{Growth, Tail};
