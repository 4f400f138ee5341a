//! The times of a record in one machine word, which the Kafka client carries to its acknowledgement
//! and back: so nothing is looked up or allocated for it.

const DELAY_BITS: u32 = 24;
/// Set where the delay is in steps of 2^[`COARSE_SHIFT`] microseconds.
const COARSE_FLAG: u64 = 1 << (DELAY_BITS - 1);
/// Delays from 8.4 s on are kept to a millisecond, up to 2 h 23 min.
const COARSE_SHIFT: u32 = 10;
/// 40 bits of microseconds: twelve days.
const INTENDED_MAX: u64 = (1 << (u64::BITS - DELAY_BITS)) - 1;

const _: () = assert!(usize::BITS == u64::BITS, "the client's word holds both times");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    pub fn new(intended_us: u64, sent_us: u64) -> Self {
        let delay = sent_us.saturating_sub(intended_us);
        let delay = match delay {
            delay if delay < COARSE_FLAG => delay,
            delay => COARSE_FLAG | (delay >> COARSE_SHIFT).min(COARSE_FLAG - 1),
        };
        Self(intended_us.min(INTENDED_MAX) << DELAY_BITS | delay)
    }

    pub fn intended_us(self) -> u64 {
        self.0 >> DELAY_BITS
    }

    pub fn sent_us(self) -> u64 {
        let delay = self.0 & ((1 << DELAY_BITS) - 1);
        let delay = match delay & COARSE_FLAG {
            0 => delay,
            _ => (delay & !COARSE_FLAG) << COARSE_SHIFT,
        };
        self.intended_us() + delay
    }

    pub fn into_word(self) -> usize {
        self.0 as usize
    }

    pub fn from_word(word: usize) -> Self {
        Self(word as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_come_back() {
        let back = |intended, sent| {
            let stamp = Stamp::from_word(Stamp::new(intended, sent).into_word());
            (stamp.intended_us(), stamp.sent_us())
        };
        assert_eq!(back(0, 0), (0, 0));
        assert_eq!(
            back(1_000_000_000_000, 1_000_000_000_007),
            (1_000_000_000_000, 1_000_000_000_007)
        );
        assert_eq!(back(5, 5 + 8_388_607), (5, 5 + 8_388_607));
        // Beyond, to a millisecond.
        let (intended, sent) = back(5, 5 + 60_000_000);
        assert_eq!(intended, 5);
        assert!(sent <= 60_000_005 && 60_000_005 - sent < 1024, "{sent}");
        // Never before it was intended.
        assert_eq!(back(9, 3), (9, 9));
    }
}
