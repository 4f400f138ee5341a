//! Lines of a bounded length, for JSONL.

use std::io::{self, BufRead};

use super::input::ROW_BYTES_MAX;

pub struct Lines<R> {
    inner: R,
    line: Vec<u8>,
    number: u64,
}

/// A line without its end. One that is too long is passed over, not kept.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, line: Vec::new(), number: 0 }
    }

    /// The number of the line that was read last, from 1 on.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let (mut has_begun, mut is_too_long) = (false, false);
        loop {
            let bytes = match self.inner.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                break;
            }
            has_begun = true;
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            is_too_long |= self.line.len() + part.len() > ROW_BYTES_MAX;
            if !is_too_long {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.inner.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !has_begun {
            return Ok(None);
        }
        self.number += 1;
        if is_too_long {
            return Ok(Some(Line::TooLong));
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let is_first = self.number == 1;
        let without_mark = line.strip_prefix("\u{feff}".as_bytes()).filter(|_| is_first);
        Ok(Some(Line::Whole(without_mark.unwrap_or(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(bytes: &[u8], buffer: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(io::BufReader::with_capacity(buffer, bytes));
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(match line {
                Line::Whole(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        }
        assert_eq!(lines.number(), all.len() as u64);
        all
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut bytes = b"\xef\xbb\xbfa\r\n".to_vec();
        bytes.extend(vec![b'x'; ROW_BYTES_MAX + 1]);
        bytes.extend(b"\nb");
        assert_eq!(lines(&bytes, 1000), [Some(b"a".to_vec()), None, Some(b"b".to_vec())]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// Whatever the buffer, it is what splitting the whole text would give.
        #[test]
        fn lines_are_those_of_the_text(text in "[a\n\r]{0,40}", buffer in 1usize..9) {
            let mut model: Vec<&str> = text.split('\n').collect();
            if model.last() == Some(&"") {
                model.pop();
            }
            let model: Vec<Option<Vec<u8>>> = model
                .into_iter()
                .map(|line| Some(line.strip_suffix('\r').unwrap_or(line).as_bytes().to_vec()))
                .collect();
            prop_assert_eq!(lines(text.as_bytes(), buffer), model);
        }
    }
}
