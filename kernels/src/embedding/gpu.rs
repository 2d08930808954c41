//! On a device: gather forward; backward by segments of equal tokens, which the host sorts.

use crate::error::{Error, Result, shape_error};
use crate::gpu::reduce::float;
use crate::gpu::{Buffer, Elem, Gpu, Grid, Slice, Staging, int};

/// Columns that a block of the gathers covers.
const COLUMNS: usize = 512;
/// Columns that a block of the scatter covers.
const SEGMENT_COLUMNS: usize = 128;
/// Most blocks along y.
const MAX_Y: usize = 65_535;

/// Rows of a batch by token: what [`backward`] adds in order.
#[derive(Default)]
struct Segments {
    /// Rows, sorted by token, in order within one.
    order: Vec<u32>,
    /// First place in `order` of each distinct token, and the token; then the end.
    table: Vec<u32>,
    /// Number of distinct tokens.
    count: u32,
}

impl Segments {
    fn new(tokens: &[u32], vocabulary: usize) -> Result<Self> {
        const OP: &str = "embedding";
        u32::try_from(tokens.len())
            .map_err(|_| shape_error(OP, "tokens", &[tokens.len()], "below 2^32".into()))?;
        let mut count = vec![0u32; vocabulary];
        for t in tokens {
            let slot = count.get_mut(*t as usize).ok_or_else(|| Error::Unsupported {
                op: OP,
                message: format!(
                    "token {t} lies outside the vocabulary of {vocabulary}: was the text encoded with another tokenizer?"
                ),
            })?;
            *slot += 1;
        }
        let mut out = Self { order: vec![0; tokens.len()], ..Self::default() };
        let mut at = 0;
        for (t, c) in count.iter_mut().enumerate() {
            if *c > 0 {
                out.table.extend([at, t as u32]);
                out.count += 1;
            }
            at += std::mem::replace(c, at);
        }
        out.table.push(at);
        for (row, t) in tokens.iter().enumerate() {
            let next = &mut count[*t as usize];
            out.order[*next as usize] = row as u32;
            *next += 1;
        }
        Ok(out)
    }
}

fn columns(op: &'static str, d: usize) -> Result<()> {
    if d == 0 || !d.is_multiple_of(4) {
        return Err(Error::Unsupported {
            op,
            message: format!("a width of {d} on a device: it takes multiples of 4"),
        });
    }
    Ok(())
}

/// Words before the tokens: the number of segments, and padding.
const HEADER: usize = 4;

/// One batch's tokens, targets and segments in device memory; its indices were checked on the way.
///
/// What differs between batches of one shape is data on the device: launches over them have the same arguments.
pub struct TokenBatch {
    /// Header, tokens, targets, rows by token, then the table of segments.
    words: Buffer,
    staging: [Staging; 2],
    turn: usize,
    seq_len: usize,
    vocabulary: usize,
    rows: usize,
}

impl TokenBatch {
    /// Room for `rows` tokens below `vocabulary`, in sequences of at most `rows`.
    ///
    /// # Errors
    /// Too little free memory.
    pub fn new(gpu: &Gpu, rows: usize, vocabulary: usize) -> Result<Self> {
        let words = HEADER + 5 * rows + 1;
        Ok(Self {
            words: gpu.zeros(Elem::U32, words)?,
            staging: [Staging::new(gpu, words)?, Staging::new(gpu, words)?],
            turn: 0,
            seq_len: 0,
            vocabulary,
            rows: 0,
        })
    }

    /// Send the next batch, in stream order and without waiting for it.
    ///
    /// # Errors
    /// Tokens that are no whole sequences or lie outside the vocabulary, targets of another number, too many rows.
    pub fn send(&mut self, tokens: &[u32], targets: &[u32], seq_len: usize) -> Result<()> {
        const OP: &str = "batch";
        if seq_len == 0 || tokens.is_empty() || !tokens.len().is_multiple_of(seq_len) {
            return Err(shape_error(OP, "tokens", &[tokens.len()], format!("whole sequences of {seq_len}")));
        }
        if targets.len() != tokens.len() {
            return Err(shape_error(OP, "targets", &[targets.len()], format!("[{}]", tokens.len())));
        }
        if let Some(t) = targets.iter().find(|t| **t as usize >= self.vocabulary) {
            return Err(Error::Unsupported {
                op: OP,
                message: format!("target {t} lies outside the vocabulary of {}", self.vocabulary),
            });
        }
        let s = Segments::new(tokens, self.vocabulary)?;
        let words = [&[s.count, 0, 0, 0], tokens, targets, &s.order, &s.table].concat();
        (self.seq_len, self.rows) = (seq_len, tokens.len());
        self.turn = 1 - self.turn;
        self.staging[self.turn].send(&words, self.words.all())
    }

    fn part(&self, start: usize, len: usize) -> Result<Slice<'_>> {
        if self.rows == 0 {
            return Err(shape_error("batch", "rows", &[0], "a batch that was sent".into()));
        }
        self.words.at(HEADER + start, len)
    }

    /// Number of tokens of the batch last sent.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Targets `start .. start + len`.
    ///
    /// # Errors
    /// A range past the end.
    pub fn targets(&self, start: usize, len: usize) -> Result<Slice<'_>> {
        self.part(self.rows, self.rows)?.at(start, len)
    }
}

/// `out[n] = wte[token] + wpe[n mod T]`.
///
/// # Shapes
/// `wte [V, d]`, `wpe [at least T, d]` float32; `out [N, d]`.
///
/// # Errors
/// Slices of other lengths or types.
pub fn forward(batch: &TokenBatch, wte: Slice<'_>, wpe: Option<Slice<'_>>, out: Slice<'_>) -> Result<()> {
    const OP: &str = "embedding";
    let (n, v) = (batch.rows, batch.vocabulary);
    let tokens = batch.part(0, n)?;
    let d = out.len() / n;
    columns(OP, d)?;
    float(OP, out)?;
    out.check(OP, "out", out.elem(), n * d)?;
    wte.check(OP, "wte", Elem::F32, v * d)?;
    wpe.map_or(Ok(()), |p| p.check(OP, "wpe", Elem::F32, p.len().max(batch.seq_len * d)))?;
    let args = [
        tokens.into(),
        wte.into(),
        wpe.into(),
        out.into(),
        int(OP, n)?.into(),
        int(OP, d)?.into(),
        int(OP, batch.seq_len)?.into(),
    ];
    let kernel = format!("embedding_fwd_{}", out.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation, the tokens when they were sent.
    unsafe { out.gpu().launch(&kernel, Grid::new([d.div_ceil(COLUMNS), n.min(MAX_Y), 1], 128), &args) }
}

/// `d_wte[token] += sum of d_out over the token's rows`: `d_wte` holds zeros, or what a tied head wrote.
///
/// # Shapes
/// `d_out [N, d]`; `d_wte [V, d]` float32.
///
/// # Errors
/// Slices of other lengths or types.
pub fn backward(batch: &TokenBatch, d_out: Slice<'_>, d_wte: Slice<'_>) -> Result<()> {
    const OP: &str = "embedding backward";
    let n = batch.rows;
    let (order, table, count) = (batch.part(2 * n, n)?, batch.part(3 * n, 2 * n + 1)?, batch.words.at(0, 1)?);
    let d = d_out.len() / n;
    columns(OP, d)?;
    float(OP, d_out)?;
    d_out.check(OP, "d_out", d_out.elem(), n * d)?;
    d_wte.check(OP, "d_wte", Elem::F32, batch.vocabulary * d)?;
    let args = [d_out.into(), order.into(), table.into(), count.into(), d_wte.into(), int(OP, d)?.into()];
    let gpu = d_out.gpu();
    // No more than there can be segments, and twice as many as are on the device at a time.
    let blocks = n.min(batch.vocabulary).min(16 * gpu.processors());
    let grid = Grid::flat([blocks, d.div_ceil(SEGMENT_COLUMNS), 1], [32, 8]);
    let kernel = format!("embedding_bwd_{}", d_out.elem().suffix());
    // SAFETY: as above; the segments were made of the same tokens, and there are at most as many as tokens.
    unsafe { gpu.launch(&kernel, grid, &args) }
}

/// `d_wpe[t] = sum over sequences of d_out[b, t]`; later positions keep what they hold.
///
/// # Shapes
/// `d_out [B * T, d]`, `d_wpe [at least T, d]` float32.
///
/// # Errors
/// Slices of other lengths or types.
pub fn positions(d_out: Slice<'_>, seq_len: usize, d: usize, d_wpe: Slice<'_>) -> Result<()> {
    const OP: &str = "position backward";
    columns(OP, d)?;
    float(OP, d_out)?;
    if seq_len == 0 || d_out.len() == 0 || !d_out.len().is_multiple_of(seq_len * d) {
        return Err(shape_error(OP, "d_out", &[d_out.len()], format!("[B * {seq_len}, {d}]")));
    }
    d_wpe.check(OP, "d_wpe", Elem::F32, d_wpe.len().max(seq_len * d))?;
    let args = [
        d_out.into(),
        d_wpe.into(),
        int(OP, d_out.len() / (seq_len * d))?.into(),
        int(OP, seq_len)?.into(),
        int(OP, d)?.into(),
    ];
    let kernel = format!("position_bwd_{}", d_out.elem().suffix());
    // SAFETY: every length was checked against the kernel's documentation.
    unsafe {
        d_out.gpu().launch(&kernel, Grid::new([d.div_ceil(COLUMNS), seq_len.min(MAX_Y), 1], 128), &args)
    }
}
