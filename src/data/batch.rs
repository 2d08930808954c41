//! Sequences and what follows each token.

/// Sequences with their targets, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `rows x context`.
    pub inputs: Vec<u32>,
    /// The token after each input, `rows x context`.
    pub targets: Vec<u32>,
    /// Number of sequences.
    pub rows: usize,
    /// Tokens in each.
    pub context: usize,
}

impl Batch {
    /// Rows `range` as a batch of their own; rows past the end are left out.
    pub fn rows(&self, range: std::ops::Range<usize>) -> Self {
        let end = range.end.min(self.rows);
        let start = range.start.min(end);
        let cut = start * self.context..end * self.context;
        Self {
            inputs: self.inputs[cut.clone()].to_vec(),
            targets: self.targets[cut].to_vec(),
            rows: end - start,
            context: self.context,
        }
    }

    /// At most `count` of the rows, evenly spread over the batch.
    pub fn spread(&self, count: usize) -> Self {
        let count = count.min(self.rows);
        let mut out = Self { inputs: Vec::new(), targets: Vec::new(), rows: count, context: self.context };
        for i in 0..count {
            let row = i * self.rows / count;
            let cut = row * self.context..(row + 1) * self.context;
            out.inputs.extend(&self.inputs[cut.clone()]);
            out.targets.extend(&self.targets[cut]);
        }
        out
    }
}
