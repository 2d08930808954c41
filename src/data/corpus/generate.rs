//! Writing the corpus.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::choice::Choice;
use super::language::{
    KEYS, LETTERS, Language, OPENING, REPEATS, START_COPY, START_GET, START_SET, START_SUBJECT, VALUE, WORD,
    passage_stop,
};
use super::{ByteClass, Corpus};

/// Generates exactly `bytes` bytes of the language from `seed`: the same text on every machine.
pub fn generate(seed: u64, bytes: usize) -> Corpus {
    let language = Language::new();
    let mut writer = Writer::new(seed, bytes);
    while writer.text.len() < bytes {
        writer.passage(&language);
    }
    writer.text.truncate(bytes);
    writer.nats.truncate(bytes);
    writer.classes.truncate(bytes);
    Corpus { text: writer.text, nats: writer.nats, classes: writer.classes }
}

/// `-ln p`, and 0 rather than -0 at p = 1.
fn surprise(p: f64) -> f64 {
    (1.0 / p).ln()
}

struct Writer {
    rng: ChaCha8Rng,
    text: String,
    nats: Vec<f32>,
    classes: Vec<ByteClass>,
}

impl Writer {
    fn new(seed: u64, bytes: usize) -> Self {
        let room = bytes + super::MAX_PASSAGE;
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            text: String::with_capacity(room),
            nats: Vec::with_capacity(room),
            classes: Vec::with_capacity(room),
        }
    }

    /// Uniform on [0, 1), 53 bits.
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform below `n`; `n` is at most 16 here, so rounding bias is below 2^-48.
    fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    fn byte(&mut self, byte: u8, nats: f64, class: ByteClass) {
        self.text.push(char::from(byte));
        self.nats.push(nats as f32);
        self.classes.push(class);
    }

    /// Text that the reader foresees entirely.
    fn forced(&mut self, text: &str, class: ByteClass) {
        for byte in text.bytes() {
            self.byte(byte, 0.0, class);
        }
    }

    fn pick(&mut self, choice: &Choice, class: ByteClass) -> usize {
        let u = self.uniform();
        let (index, chosen) = choice.pick(u);
        self.text.push_str(&chosen.text);
        self.nats.extend_from_slice(&chosen.nats);
        self.classes.extend(std::iter::repeat_n(class, chosen.text.len()));
        index
    }

    fn letter(&mut self) -> u8 {
        let letter = LETTERS[self.below(LETTERS.len())];
        self.byte(letter, (LETTERS.len() as f64).ln(), ByteClass::Fresh);
        letter
    }

    fn passage(&mut self, language: &Language) {
        let mut values: [Option<[u8; VALUE]>; KEYS] = [None; KEYS];
        for _ in 0..OPENING {
            self.forced("set ", ByteClass::Form);
            self.bind(&mut values);
            self.forced(" ", ByteClass::Form);
        }
        for done in 1.. {
            self.statement(language, &mut values);
            let stop = passage_stop(done);
            if self.uniform() < stop {
                self.byte(b'\n', surprise(stop), ByteClass::Form);
                return;
            }
            self.byte(b' ', surprise(1.0 - stop), ByteClass::Form);
        }
    }

    fn statement(&mut self, language: &Language, values: &mut [Option<[u8; VALUE]>; KEYS]) {
        match self.pick(&language.start, ByteClass::Grammar) {
            START_GET => self.recall(values),
            START_SET => self.bind(values),
            START_COPY => self.copy(),
            subject => {
                let plural = language.plural[subject - START_SUBJECT];
                self.pick(&language.verb[usize::from(plural)], ByteClass::Grammar);
                self.pick(&language.object, ByteClass::Grammar);
            }
        }
    }

    /// After `set `.
    fn bind(&mut self, values: &mut [Option<[u8; VALUE]>; KEYS]) {
        let key = self.below(KEYS);
        self.byte(b'A' + key as u8, (KEYS as f64).ln(), ByteClass::Fresh);
        self.forced("=", ByteClass::Form);
        values[key] = Some(std::array::from_fn(|_| self.letter()));
        self.forced(";", ByteClass::Form);
    }

    /// After `get `.
    fn recall(&mut self, values: &[Option<[u8; VALUE]>; KEYS]) {
        let bound: Vec<(u8, [u8; VALUE])> =
            (b'A'..).zip(values).filter_map(|(name, value)| value.map(|v| (name, v))).collect();
        // Two bindings open every passage, so at least one key is bound.
        let (name, value) = bound[self.below(bound.len())];
        self.byte(name, (bound.len() as f64).ln(), ByteClass::Recall);
        self.forced("=", ByteClass::Form);
        for letter in value {
            self.byte(letter, 0.0, ByteClass::Recall);
        }
        self.forced(";", ByteClass::Form);
    }

    /// After `copy `.
    fn copy(&mut self) {
        let word: [u8; WORD] = std::array::from_fn(|_| self.letter());
        for _ in 0..REPEATS {
            self.forced(" ", ByteClass::Form);
            for letter in word {
                self.byte(letter, 0.0, ByteClass::Recall);
            }
        }
        self.forced(";", ByteClass::Form);
    }
}
