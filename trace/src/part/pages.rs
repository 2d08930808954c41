//! A walk over the page headers of a part before anything is decoded: a header may claim any size and any number
//! of values, and a decoder that believes it would allocate that much.

/// Largest uncompressed page accepted; the writer's stay below 1 MiB or so.
const MAX_PAGE_BYTES: i64 = 16 << 20;
/// Deepest nesting followed; real headers nest three levels.
const MAX_DEPTH: u32 = 8;

/// What is needed of one page header.
#[derive(Debug, Default)]
struct Header {
    kind: Option<i64>,
    uncompressed: Option<i64>,
    compressed: Option<i64>,
    values: Option<i64>,
}

/// Checks the pages of one column chunk: data pages only, sizes inside the chunk and below the limit, values that
/// add up to `rows`.
pub fn check(chunk: &[u8], rows: u64) -> Result<(), String> {
    walk(chunk, rows, MAX_PAGE_BYTES, false)
}

/// Checks the pages of a column chunk that another program wrote: as [`check`], but dictionary pages may come along, and
/// pages may be as large as `most` bytes.
pub fn check_foreign(chunk: &[u8], values: u64, most: i64) -> Result<(), String> {
    walk(chunk, values, most, true)
}

fn walk(chunk: &[u8], rows: u64, most: i64, dictionaries: bool) -> Result<(), String> {
    let mut cursor = Cursor { rest: chunk };
    let mut values = 0_u64;
    while !cursor.rest.is_empty() {
        let mut header = Header::default();
        cursor.structure(0, Some(0), &mut header).ok_or("a page header cannot be read")?;
        // 0 and 3: data pages of either version; 2: a dictionary, which we never write.
        let dictionary = dictionaries && header.kind == Some(2);
        if !dictionary && !matches!(header.kind, Some(0 | 3)) {
            return Err("it holds a page that is not a data page".to_owned());
        }
        if !header.uncompressed.is_some_and(|n| (0..=most).contains(&n)) {
            return Err("a page claims an impossible size".to_owned());
        }
        let claimed = header.values.and_then(|n| u64::try_from(n).ok()).filter(|&n| n <= rows);
        let claimed = claimed.ok_or("a page claims an impossible number of values")?;
        values += if dictionary { 0 } else { claimed };
        let body = header.compressed.and_then(|n| usize::try_from(n).ok());
        cursor.skip(body.ok_or("a page claims an impossible size")?).ok_or("a page runs past its column")?;
        if values > rows {
            break;
        }
    }
    if values == rows { Ok(()) } else { Err("the pages of a column do not hold one value a row".to_owned()) }
}

/// Reads the compact Thrift encoding; `None` wherever the bytes do not make sense.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn skip(&mut self, n: usize) -> Option<()> {
        self.rest = self.rest.get(n..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// One structure. `parent` is `Some(0)` for the header itself, the field number for a structure directly in it,
    /// `None` deeper down.
    fn structure(&mut self, depth: u32, parent: Option<i64>, header: &mut Header) -> Option<()> {
        let mut field = 0_i64;
        loop {
            let tag = self.byte()?;
            let kind = tag & 0x0f;
            if kind == 0 {
                return Some(());
            }
            field = if tag >> 4 == 0 { self.zigzag()? } else { field + i64::from(tag >> 4) };
            if let 4..=6 = kind {
                let value = Some(self.zigzag()?);
                match (parent, field) {
                    (Some(0), 1) => header.kind = value,
                    (Some(0), 2) => header.uncompressed = value,
                    (Some(0), 3) => header.compressed = value,
                    // Fields 5, 7 and 8: headers of data pages and dictionaries, whose first field counts values.
                    (Some(5 | 7 | 8), 1) => header.values = value,
                    _ => {}
                }
            } else {
                let inside = (parent == Some(0)).then_some(field);
                self.value(kind, depth + 1, inside, header)?;
            }
        }
    }

    /// Steps over a value that is not an integer field.
    fn value(&mut self, kind: u8, depth: u32, inside: Option<i64>, header: &mut Header) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.skip(length)
            }
            9 | 10 => {
                let tag = self.byte()?;
                let size = if tag >> 4 == 15 { self.varint()? } else { u64::from(tag >> 4) };
                // In lists a boolean takes a byte, so every element takes at least one.
                for _ in 0..size {
                    match tag & 0x0f {
                        1 | 2 => self.skip(1)?,
                        kind => self.value(kind, depth + 1, None, header)?,
                    }
                }
                Some(())
            }
            12 => self.structure(depth + 1, inside, header),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page header (version 1) with the given sizes, as a writer would encode it.
    fn header(kind: i64, uncompressed: i64, compressed: i64, values: i64) -> Vec<u8> {
        fn int(out: &mut Vec<u8>, value: i64) {
            let mut raw = ((value << 1) ^ (value >> 63)) as u64;
            while raw >= 0x80 {
                out.push(raw as u8 | 0x80);
                raw >>= 7;
            }
            out.push(raw as u8);
        }
        let mut out = Vec::new();
        for value in [kind, uncompressed, compressed] {
            out.push(0x15);
            int(&mut out, value);
        }
        out.push(0x2c); // field 5, structure
        out.push(0x15);
        int(&mut out, values);
        for _ in 0..3 {
            out.push(0x15);
            int(&mut out, 0);
        }
        out.extend([0, 0]);
        out
    }

    fn page(kind: i64, uncompressed: i64, body: usize, values: i64) -> Vec<u8> {
        let mut bytes = header(kind, uncompressed, body as i64, values);
        bytes.extend(vec![0xab; body]);
        bytes
    }

    #[test]
    fn honest_pages_pass_and_lies_do_not() {
        let two = [page(0, 40, 12, 10), page(0, 20, 7, 5)].concat();
        assert_eq!(check(&two, 15), Ok(()));
        assert!(check(&two, 14).is_err());
        assert!(check(&two, 16).is_err());
        assert!(check(&two[..two.len() - 1], 15).is_err());
        assert!(check(&page(2, 40, 12, 10), 10).unwrap_err().contains("not a data page"));
        assert!(check(&page(0, i64::from(i32::MAX), 12, 10), 10).unwrap_err().contains("size"));
        assert!(check(&page(0, -1, 12, 10), 10).unwrap_err().contains("size"));
        assert!(check(&page(0, 40, 12, i64::MAX), 10).unwrap_err().contains("number of values"));
        assert!(check(&page(0, 40, 12, -1), 10).unwrap_err().contains("number of values"));
        assert!(check(&header(0, 40, i64::MAX, 10), 10).unwrap_err().contains("runs past"));
        assert!(check(&[], 1).is_err());
    }

    #[test]
    fn nested_garbage_ends_early() {
        // Structures in structures without end, and a list that claims 2^63 elements.
        assert!(check(&[0x1c; 4096], 1).is_err());
        let mut list = vec![0x19, 0xf3];
        list.extend([0xff; 9]);
        list.push(0x01);
        assert!(check(&list, 1).is_err());
    }
}
