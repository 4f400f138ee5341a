//! Which partition a key belongs to: as Java producers decide it, so that records of other
//! producers with the same key would stand in the same log.

/// The partition that the default partitioner of Java producers chooses: murmur2 of the key.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7FFF_FFFF) % partitions.max(1)
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5BD1_E995;
    let mut hash = 0x9747_B28C ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        for (at, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_java_producers_send_them() {
        // Values of Kafka's own test of its murmur2.
        let hashes = ["21", "foobar", "a-little-bit-long-string", "abc"]
            .map(|s| murmur2(s.as_bytes()) as i32);
        assert_eq!(hashes, [-973932308, -790332482, -985981536, 479470107]);
    }
}
