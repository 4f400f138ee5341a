//! One pass over a JSON text: checks the whole grammar, keeps the known fields.
//!
//! It accepts exactly what `serde_json` accepts as a `Value` (RFC 8259; paired surrogates in
//! escapes; numbers that fit a double; 127 levels), which a differential test and the fuzz
//! target hold it to. It builds nothing: of a known field it notes where the value lies, of
//! anything else it only moves past. Text is copied only to undo the escapes of a known field.

use super::names::{After, Names};
use super::slots::{Items, Raw, Slots, Tag};
use super::strings::Style;

/// How deep arrays and objects may nest; the record itself is level 1.
pub(super) const DEPTH_MAX: u32 = 127;

/// An integer of fewer digits is certainly a finite double.
const FINITE_DIGITS_MAX: usize = 300;

/// The text leaves the grammar at [`Scanner::position`], or nests [too deep](Scanner::is_too_deep).
/// It carries nothing, so that results of the inner functions travel in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault;

pub(super) type Scan<T> = Result<T, Fault>;

pub(super) struct Scanner<'t> {
    pub(super) text: &'t str,
    pub(super) bytes: &'t [u8],
    pub(super) at: usize,
    names: &'t mut Names,
    /// The field whose array of objects is read element by element.
    items_field: Option<u8>,
    /// Texts that had escapes, end to end.
    pub(super) scratch: &'t mut String,
    is_too_deep: bool,
}

impl<'t> Scanner<'t> {
    pub fn new(
        text: &'t str,
        names: &'t mut Names,
        items_field: Option<u8>,
        scratch: &'t mut String,
    ) -> Self {
        Scanner {
            text,
            bytes: text.as_bytes(),
            at: 0,
            names,
            items_field,
            scratch,
            is_too_deep: false,
        }
    }

    /// Where the scan stopped, in bytes.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether the fault was the depth of nesting.
    pub fn is_too_deep(&self) -> bool {
        self.is_too_deep
    }

    /// Reads the whole text. False: it is valid JSON, but not an object.
    pub fn record(&mut self, top: &mut Slots, items: &mut Items) -> Scan<bool> {
        self.space();
        let is_object = self.peek() == Some(b'{');
        if is_object {
            self.at += 1;
            self.members(1, top, Some(items))?;
        } else {
            self.value(1, false)?;
        }
        self.space();
        if self.at == self.bytes.len() { Ok(is_object) } else { Err(Fault) }
    }

    /// The rest of an object after its brace, into `slots`.
    fn members(
        &mut self,
        depth: u32,
        slots: &mut Slots,
        mut items: Option<&mut Items>,
    ) -> Scan<()> {
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        let mut after = if items.is_some() { After::RECORD } else { After::ITEM };
        loop {
            let field = self.name(&mut after)?;
            self.colon()?;
            match (field, &mut items) {
                (None, _) => {
                    self.value(depth + 1, false)?;
                }
                (Some(field), Some(items)) if Some(field) == self.items_field => {
                    let raw = self.items(depth + 1, items)?;
                    slots.put(field, raw);
                }
                (Some(field), _) => {
                    let raw = self.value(depth + 1, true)?;
                    slots.put(field, raw);
                }
            }
            if self.closes(b'}')? {
                return Ok(());
            }
            self.space();
        }
    }

    /// The value of the items field: an array of objects, or whatever stands there instead.
    fn items(&mut self, depth: u32, items: &mut Items) -> Scan<Raw> {
        items.clear();
        if self.peek() != Some(b'[') {
            return self.value(depth, true);
        }
        self.open(depth)?;
        if self.take(b']') {
            return Ok(Raw::OTHER);
        }
        loop {
            let slots = items.next();
            if self.peek() == Some(b'{') {
                self.open(depth + 1)?;
                self.members(depth + 1, slots, None)?;
            } else {
                self.value(depth + 1, false)?;
                items.has_other = true;
            }
            if self.closes(b']')? {
                return Ok(Raw::OTHER);
            }
            self.space();
        }
    }

    /// A member's name, up to its closing quote; `after` follows along the known ones.
    #[inline]
    fn name(&mut self, after: &mut After) -> Scan<Option<u8>> {
        if !self.take(b'"') {
            return Err(Fault);
        }
        let start = self.at;
        if let Some((found, end)) = self.names.expected(*after, self.bytes, start) {
            self.at = end + 1;
            *after = After::found(found);
            return Ok(Some(found.field));
        }
        self.unexpected_name(start, after)
    }

    fn unexpected_name(&mut self, start: usize, after: &mut After) -> Scan<Option<u8>> {
        let found = match self.string()? {
            Style::Escaped => {
                // Looked up by its meaning; leaves nothing behind.
                let kept = self.scratch.len();
                self.escaped_string(start, true)?;
                let found = self.names.find(self.scratch.as_bytes(), kept, self.scratch.len());
                self.scratch.truncate(kept);
                found
            }
            Style::Plain | Style::Unescaped => self.names.find(self.bytes, start, self.at - 1),
        };
        if let Some(found) = found {
            self.names.expect(*after, found);
            *after = After::found(found);
        }
        Ok(found.map(|found| found.field))
    }

    /// Any value, up to its last byte. `keep`: the text of a string is wanted.
    #[inline]
    fn value(&mut self, depth: u32, keep: bool) -> Scan<Raw> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                let start = self.at;
                match self.string()? {
                    Style::Plain => Ok(Raw::new(Tag::Plain, start, self.at - 1)),
                    Style::Unescaped => Ok(Raw::new(Tag::Text, start, self.at - 1)),
                    Style::Escaped => {
                        let kept = self.scratch.len();
                        self.escaped_string(start, keep)?;
                        Ok(Raw::new(Tag::Unescaped, kept, self.scratch.len()))
                    }
                }
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{' | b'[') => self.nested(depth),
            Some(b'n') => self.literal("null", Raw::NULL),
            Some(b't') => self.literal("true", Raw::OTHER),
            Some(b'f') => self.literal("false", Raw::OTHER),
            _ => Err(Fault),
        }
    }

    /// An array or object nobody asked for.
    fn nested(&mut self, depth: u32) -> Scan<Raw> {
        let close = if self.peek() == Some(b'{') { b'}' } else { b']' };
        self.open(depth)?;
        if self.take(close) {
            return Ok(Raw::OTHER);
        }
        loop {
            if close == b'}' {
                if !self.take(b'"') {
                    return Err(Fault);
                }
                let start = self.at;
                if self.string()? == Style::Escaped {
                    self.escaped_string(start, false)?;
                }
                self.colon()?;
            }
            self.value(depth + 1, false)?;
            if self.closes(close)? {
                return Ok(Raw::OTHER);
            }
            self.space();
        }
    }

    /// Passes an opening bracket and the space after it.
    fn open(&mut self, depth: u32) -> Scan<()> {
        if depth > DEPTH_MAX {
            self.is_too_deep = true;
            return Err(Fault);
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// After a member or element: true at the closing bracket, false at a comma.
    #[inline]
    fn closes(&mut self, close: u8) -> Scan<bool> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(Fault),
        }
    }

    #[inline]
    fn colon(&mut self) -> Scan<()> {
        self.space();
        if !self.take(b':') {
            return Err(Fault);
        }
        self.space();
        Ok(())
    }

    fn literal(&mut self, literal: &str, raw: Raw) -> Scan<Raw> {
        let end = self.at + literal.len();
        if self.bytes.get(self.at..end) != Some(literal.as_bytes()) {
            return Err(Fault);
        }
        self.at = end;
        Ok(raw)
    }

    fn number(&mut self) -> Scan<Raw> {
        let start = self.at;
        self.take(b'-');
        let integer_start = self.at;
        self.digits()?;
        let integer_digits = self.at - integer_start;
        if integer_digits > 1 && self.bytes[integer_start] == b'0' {
            return Err(Fault);
        }
        let mut tag = Tag::Integer;
        let mut is_finite = integer_digits < FINITE_DIGITS_MAX;
        if self.take(b'.') {
            self.digits()?;
            tag = Tag::Float;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
            tag = Tag::Float;
            is_finite = false;
        }
        // Rare enough to ask the library whose range is promised.
        if !is_finite && serde_json::from_str::<f64>(&self.text[start..self.at]).is_err() {
            return Err(Fault);
        }
        Ok(Raw::new(tag, start, self.at))
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Scan<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault) }
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }
}
