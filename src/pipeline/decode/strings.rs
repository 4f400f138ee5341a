//! The strings of a JSON text: where they end, and what their escapes mean.
//!
//! Strings are most of a record's bytes, so their ends are looked for eight bytes at a time.

use super::scan::{Fault, Scan, Scanner};

/// How a string is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Printable ASCII without escapes, as nearly all names and ids are.
    Plain,
    /// Without escapes.
    Unescaped,
    Escaped,
}

impl Scanner<'_> {
    /// Passes a string and its closing quote, from its first byte on. If it has escapes it
    /// stops at the first, and [`Self::escaped_string`] has to go on.
    #[inline]
    pub(super) fn string(&mut self) -> Scan<Style> {
        let mut style = Style::Plain;
        let mut byte = self.seek(beyond_plain, |byte| !(b' '..0x7f).contains(&byte))?;
        if byte >= 0x7f {
            style = Style::Unescaped;
            byte = self.special()?;
        }
        match byte {
            b'"' => {
                self.at += 1;
                Ok(style)
            }
            b'\\' => Ok(Style::Escaped),
            _ => Err(Fault),
        }
    }

    /// Passes the rest of a string that began at `start` and has its first backslash here,
    /// and its closing quote; appends its text to the scratch memory if it is to be kept.
    #[cold]
    pub(super) fn escaped_string(&mut self, start: usize, keep: bool) -> Scan<()> {
        let mut run = start;
        loop {
            let special = self.special()?;
            if keep {
                self.scratch.push_str(&self.text[run..self.at]);
            }
            match special {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    let char = self.escape()?;
                    if keep {
                        self.scratch.push(char);
                    }
                    run = self.at;
                }
                _ => return Err(Fault),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Scan<char> {
        let byte = self.peek().ok_or(Fault)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(Fault),
        })
    }

    /// Four hexadecimal digits, or two such escapes that make a surrogate pair.
    fn unicode_escape(&mut self) -> Scan<char> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(Fault);
                }
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(Fault);
                }
                0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00))
            }
            _ => first,
        };
        char::from_u32(code).ok_or(Fault)
    }

    fn hex4(&mut self) -> Scan<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or(Fault)?;
            self.at += 1;
        }
        Ok(code)
    }

    /// Moves to the next quote, backslash or control character, and returns it.
    fn special(&mut self) -> Scan<u8> {
        self.seek(specials, |byte| byte < b' ')
    }

    /// Moves to the next quote, backslash or byte that is `stop`, and returns it. `stops`
    /// says the same of eight bytes: the lowest one that stops has its high bit set.
    #[inline(always)]
    fn seek(&mut self, stops: impl Fn(u64) -> u64, stop: impl Fn(u8) -> bool) -> Scan<u8> {
        while let Some(eight) = self.bytes.get(self.at..self.at + 8) {
            let mut word = [0; 8];
            word.copy_from_slice(eight);
            let found = stops(u64::from_le_bytes(word));
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return Ok(self.bytes[self.at]);
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if byte == b'"' || byte == b'\\' || stop(byte) {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Fault)
    }
}

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES << 7;

/// Every byte of the word to `byte`.
const fn all(byte: u8) -> u64 {
    ONES * byte as u64
}

/// The high bit of the *lowest* byte that is a quote, a backslash or below 0x20 is set. Bits
/// above it may be set for nothing, by the borrow of a subtraction.
#[inline]
fn specials(word: u64) -> u64 {
    // Bytes from 0x80 on have their own high bit; `!word` takes it out.
    (quotes_and_controls(word) & !word) & HIGHS
}

/// The same, and any byte from 0x7f on stops as well.
#[inline]
fn beyond_plain(word: u64) -> u64 {
    (quotes_and_controls(word) | word | word.wrapping_add(ONES)) & HIGHS
}

/// Right for the lowest such byte among those below 0x80.
#[inline]
fn quotes_and_controls(word: u64) -> u64 {
    let quote = (word ^ all(b'"')).wrapping_sub(ONES);
    let backslash = (word ^ all(b'\\')).wrapping_sub(ONES);
    let control = word.wrapping_sub(all(b' '));
    quote | backslash | control
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every position, before a byte that stops and after ones that do not.
    fn check(stops: fn(u64) -> u64, harmless: &[u8], is_stop: fn(u8) -> bool) {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                for &filler in harmless {
                    let mut word = [filler; 8];
                    word[at] = byte;
                    let first = is_stop(byte).then_some(at);
                    let found = stops(u64::from_le_bytes(word));
                    assert_eq!((found != 0).then(|| found.trailing_zeros() as usize / 8), first);
                    word[7] = b'"';
                    let found = stops(u64::from_le_bytes(word)).trailing_zeros() as usize / 8;
                    assert_eq!(found, first.unwrap_or(7), "{byte:#x} at {at} among {filler:#x}");
                }
            }
        }
    }

    #[test]
    fn the_lowest_byte_that_stops_is_found_among_all_others() {
        let is_special = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
        check(specials, &[b' ', b'a', 0x7f, 0x80, 0xa2, 0xdc, 0xff], is_special);
        let is_beyond = |byte| byte < b' ' || byte == b'"' || byte == b'\\' || byte >= 0x7f;
        check(beyond_plain, b" !#[]a~", is_beyond);
    }
}
