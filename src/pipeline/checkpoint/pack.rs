//! The envelope of blobs and manifest: a version, then a zstd frame with a checksum.

use std::io::Read;

/// The version of all formats in here. A reader knows its own version only: after an upgrade
/// that changes it, state is rebuilt from Kafka.
const VERSION: u8 = 1;

/// The fastest level: blobs are varints already, and the merger's machine has better to do.
const LEVEL: i32 = 1;

/// What a blob may unpack to: more than any [`Draft`](super::Draft) packs, and little enough to
/// refuse a blob that was made to fill the memory.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;

pub fn pack(content: &[u8]) -> Vec<u8> {
    let mut packed = vec![VERSION];
    let mut encoder =
        zstd::stream::write::Encoder::new(&mut packed, LEVEL).expect("level 1 exists");
    encoder.include_checksum(true).expect("a new encoder takes every option");
    std::io::Write::write_all(&mut encoder, content).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write");
    packed
}

/// `None`: not packed by this version, damaged, or too large.
pub fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (&version, frame) = packed.split_first()?;
    if version != VERSION {
        return None;
    }
    let mut content = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(frame).ok()?;
    decoder.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= UNPACKED_BYTES_MAX).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_and_damage_is_seen() {
        let content: Vec<u8> = (0..10_000u32).flat_map(|n| (n % 300).to_le_bytes()).collect();
        let packed = pack(&content);
        assert!(packed.len() < content.len() / 4);
        assert_eq!(unpack(&packed), Some(content));
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x10;
            // A few bits of a frame's header mean nothing; the content is never another one.
            assert!(unpack(&damaged).is_none_or(|content| Some(content) == unpack(&packed)));
        }
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
        assert_eq!(unpack(&[]), None);
    }
}
