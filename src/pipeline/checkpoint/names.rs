//! A segment of names: as they stand, in order of their numbers.

use crate::pipeline::codec::{CodecError, Reader, Writer};
use crate::pipeline::view::Name;

pub fn encode(names: &[Name]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(names.len() * 12);
    writer.usize(names.len());
    names.iter().for_each(|name| writer.str(name));
    writer.into_bytes()
}

pub fn decode(content: &[u8]) -> Result<Vec<Name>, CodecError> {
    let mut reader = Reader::new(content);
    let count = reader.count(1)?;
    let names = (0..count).map(|_| reader.str().map(Name::from)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(names)
}
