//! Numbers, texts and byte strings as bytes: what the crate's binary formats are built of.
//!
//! ```text
//!   u64     LEB128: seven bits a byte, least first; the top bit says that more follow
//!   i64     zigzag (0, −1, 1, −2 … become 0, 1, 2, 3 …), then as u64
//!   bytes   their length as u64, then the bytes
//!   str     as bytes; must be UTF-8
//!   bool    a byte, 0 or 1
//!   option  a bool, then an i64 if it is 1
//! ```
//!
//! Every value has exactly one form: a number that is longer than it need be is refused. So
//! equal content gives equal bytes, and a format built on this can be compared and hashed.
//!
//! A [`Reader`] trusts nothing. It never panics, and it hands out only what the input holds:
//! texts and byte strings are slices of it. A format that reserves memory for `n` items reads
//! `n` by [`Reader::count`], which refuses more items than the bytes left can be, so that no
//! input makes its reader reserve more than a small multiple of its own length.
//!
//! There is no checksum here: bytes changed in place may decode to another value. Formats at
//! rest add one; what Redis or Kafka hands over is whole.

/// Where the input stops making sense, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct CodecError {
    /// Offset of the value that could not be read.
    pub at: usize,
    pub problem: Problem,
}

/// What is wrong with the bytes of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the input ends inside a value")]
    Truncated,
    /// A number longer than need be or of more than 64 bits, a bool of 2.
    #[error("a value is not in its one form")]
    Malformed,
    #[error("a number is out of range")]
    OutOfRange,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("more items are announced than the input can hold")]
    TooMany,
    #[error("bytes follow after the end")]
    Trailing,
}

/// Builds a value byte by byte.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn i64(&mut self, value: i64) {
        self.u64((value << 1 ^ value >> 63) as u64);
    }

    /// A length, a count or an index.
    pub fn usize(&mut self, value: usize) {
        self.u64(value as u64);
    }

    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// Whether there is a number, and the number.
    pub fn option(&mut self, value: Option<i64>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.i64(value);
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.usize(bytes.len());
        self.raw(bytes);
    }

    pub fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Bytes whose length the reader knows from elsewhere.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a value from its front. After an error its position is of no meaning.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.input.len() - self.at
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn u8(&mut self) -> Result<u8, CodecError> {
        let byte = *self.input.get(self.at).ok_or(self.error(Problem::Truncated))?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        match self.input.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_u64(),
        }
    }

    fn long_u64(&mut self) -> Result<u64, CodecError> {
        let mut value = 0;
        for (place, &byte) in self.input[self.at..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                // Of a tenth byte one bit is left; a last byte of zero adds nothing.
                let malformed = place == 9 && byte > 1 || place > 0 && byte == 0;
                if malformed {
                    return Err(self.error(Problem::Malformed));
                }
                self.at += place + 1;
                return Ok(value);
            }
        }
        let long = self.remaining() >= 10;
        Err(self.error(if long { Problem::Malformed } else { Problem::Truncated }))
    }

    pub fn i64(&mut self) -> Result<i64, CodecError> {
        let value = self.u64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number that has to fit a narrower type: `reader.narrow::<u16>()`.
    pub fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, CodecError> {
        let out_of_range = self.error(Problem::OutOfRange);
        T::try_from(self.u64()?).map_err(|_| out_of_range)
    }

    /// An index into a table of `len` entries.
    pub fn index(&mut self, len: usize) -> Result<usize, CodecError> {
        let out_of_range = self.error(Problem::OutOfRange);
        let index: usize = self.narrow()?;
        if index < len { Ok(index) } else { Err(out_of_range) }
    }

    /// The number of items that follow, each of which takes at least `bytes_min` bytes.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, CodecError> {
        let too_many = self.error(Problem::TooMany);
        let count = self.u64()?;
        let possible = self.remaining() / bytes_min.max(1);
        if count <= possible as u64 { Ok(count as usize) } else { Err(too_many) }
    }

    pub fn bool(&mut self) -> Result<bool, CodecError> {
        let malformed = self.error(Problem::Malformed);
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed),
        }
    }

    pub fn option(&mut self) -> Result<Option<i64>, CodecError> {
        Ok(if self.bool()? { Some(self.i64()?) } else { None })
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let out_of_range = self.error(Problem::Truncated);
        let len = self.u64()?;
        self.raw(usize::try_from(len).map_err(|_| out_of_range)?)
    }

    pub fn str(&mut self) -> Result<&'a str, CodecError> {
        let not_utf8 = self.error(Problem::NotUtf8);
        std::str::from_utf8(self.bytes()?).map_err(|_| not_utf8)
    }

    /// So many bytes as they stand.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        if len > self.remaining() {
            return Err(self.error(Problem::Truncated));
        }
        let bytes = &self.input[self.at..self.at + len];
        self.at += len;
        Ok(bytes)
    }

    /// Checks that nothing is left.
    pub fn finish(self) -> Result<(), CodecError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(Problem::Trailing)) }
    }

    /// An error at the value that comes next.
    pub fn error(&self, problem: Problem) -> CodecError {
        CodecError { at: self.at, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new();
        write(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn the_forms_are_the_published_ones() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(written(|writer| writer.u64(value)), bytes);
        }
        let zigzag = |value| written(|writer| writer.i64(value));
        assert_eq!([0, -1, 1, -2].map(zigzag), [[0], [1], [2], [3]].map(Vec::from));
        assert_eq!(written(|writer| writer.str("né")), b"\x03n\xc3\xa9");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let problem = |bytes: &[u8], read: fn(&mut Reader) -> Option<CodecError>| {
            let mut reader = Reader::new(bytes);
            reader.u8().unwrap();
            read(&mut reader).map(|error| (error.at, error.problem))
        };
        let at_1 = |problem| Some((1, problem));
        assert_eq!(problem(&[9], |r| r.u64().err()), at_1(Problem::Truncated));
        assert_eq!(problem(&[9, 0x80], |r| r.u64().err()), at_1(Problem::Truncated));
        assert_eq!(problem(&[9, 0x80, 0], |r| r.u64().err()), at_1(Problem::Malformed));
        let mut wide = [0xff; 11];
        wide[10] = 2;
        assert_eq!(problem(&wide, |r| r.u64().err()), at_1(Problem::Malformed));
        assert_eq!(problem(&[0xff; 30], |r| r.u64().err()), at_1(Problem::Malformed));
        assert_eq!(problem(&[9, 0x80, 2], |r| r.narrow::<u8>().err()), at_1(Problem::OutOfRange));
        assert_eq!(problem(&[9, 4], |r| r.index(4).err()), at_1(Problem::OutOfRange));
        assert_eq!(problem(&[9, 3], |r| r.index(4).err()), None);
        assert_eq!(problem(&[9, 2], |r| r.option().err()), at_1(Problem::Malformed));
        assert_eq!(problem(&[9, 2, 0, 0, 0], |r| r.count(2).err()), at_1(Problem::TooMany));
        assert_eq!(problem(&[9, 2, 0, 0, 0, 0], |r| r.count(2).err()), None);
        assert_eq!(problem(&[9, 1, 0xff], |r| r.str().err()), at_1(Problem::NotUtf8));
        assert_eq!(problem(&[9, 0], |r| r.clone().finish().err()), at_1(Problem::Trailing));
        // The length is read, its bytes are not there.
        let cut = problem(&[9, 2, 0], |r| r.bytes().err());
        assert_eq!(cut, Some((2, Problem::Truncated)));
        let error = CodecError { at: 7, problem: Problem::Truncated };
        assert_eq!(error.to_string(), "the input ends inside a value at byte 7");
    }

    proptest! {
        #[test]
        fn every_value_comes_back(
            unsigned: u64, shift in 0u32..64, signed: i64, text: String, bytes: Vec<u8>,
            option: Option<i64>,
        ) {
            let small = (unsigned >> shift, signed >> shift);
            let encoded = written(|writer| {
                writer.u64(small.0);
                writer.i64(small.1);
                writer.str(&text);
                writer.option(option);
                writer.bytes(&bytes);
            });
            let mut reader = Reader::new(&encoded);
            prop_assert_eq!(reader.u64(), Ok(small.0));
            prop_assert_eq!(reader.i64(), Ok(small.1));
            prop_assert_eq!(reader.str(), Ok(&*text));
            prop_assert_eq!(reader.option(), Ok(option));
            prop_assert_eq!(reader.bytes(), Ok(&*bytes));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        /// Whatever is read can be written again to the same bytes: one form for each value.
        #[test]
        fn a_number_has_one_form(bytes in prop::collection::vec(prop_oneof![0u8..3, 126u8..131, 253u8..], 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.u64() {
                prop_assert_eq!(&*written(|writer| writer.u64(value)), &bytes[..reader.position()]);
            }
        }
    }
}
