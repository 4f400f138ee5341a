//! The names of one dimension.
//!
//! ```text
//!   count, then each name:  ssss llll  [more]  suffix
//!     ssss   bytes shared with the name before, 0 to 15
//!     llll   bytes of the suffix; 15: and `more` of them
//! ```
//!
//! Names come in the order in which records touched them, so neighbours share what all names
//! of a shop share (`product-`) and little else: four bits are enough for that. They also bound
//! what a byte of input can grow to. Sorting would make shared parts longer, but cells would
//! have to be renumbered, and the names of a delivery are few bytes beside its cells.

use crate::pipeline::codec::{CodecError, Problem, Reader, Writer};
use crate::pipeline::delivery::Names;

const NIBBLE_MAX: usize = 15;

pub fn write(writer: &mut Writer, names: &Names) {
    writer.usize(names.len());
    let mut before = "";
    for name in names.iter() {
        let shared = shared_bytes(before, name);
        let suffix = &name[shared..];
        let short = suffix.len().min(NIBBLE_MAX);
        writer.u8((shared << 4 | short) as u8);
        if short == NIBBLE_MAX {
            writer.usize(suffix.len() - NIBBLE_MAX);
        }
        writer.raw(suffix.as_bytes());
        before = name;
    }
}

pub fn read(reader: &mut Reader<'_>) -> Result<Names, CodecError> {
    let count = reader.count(1)?;
    let mut names = Names::default();
    let mut name = String::new();
    for _ in 0..count {
        let head = reader.error(Problem::Malformed);
        let byte = usize::from(reader.u8()?);
        let (shared, short) = (byte >> 4, byte & NIBBLE_MAX);
        let more = if short == NIBBLE_MAX { reader.narrow::<usize>()? } else { 0 };
        let not_utf8 = reader.error(Problem::NotUtf8);
        let suffix = reader.raw(short.saturating_add(more))?;
        let suffix = std::str::from_utf8(suffix).map_err(|_| not_utf8)?;
        // Also false where it lies beyond the end.
        if !name.is_char_boundary(shared) {
            return Err(head);
        }
        name.truncate(shared);
        name.push_str(suffix);
        names.push(&name);
    }
    Ok(names)
}

/// How many bytes two names begin with in common, up to the end of a character.
fn shared_bytes(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take(NIBBLE_MAX).take_while(|(a, b)| a == b).count();
    (0..=equal).rev().find(|&at| b.is_char_boundary(at)).unwrap_or(0)
}
