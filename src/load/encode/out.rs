//! Names, numbers and times as bytes, without allocating.

use crate::load::shopper::{Action, Deed};
use crate::load::workload::Key;

/// Where bytes are appended.
pub trait Out {
    fn put(&mut self, bytes: &[u8]);

    fn put_number(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The last `DIGITS` hexadecimal digits.
    fn put_hex<const DIGITS: usize>(&mut self, number: u64) {
        let digit =
            |at: usize| b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - at))) as usize & 15];
        self.put(&std::array::from_fn::<u8, DIGITS, _>(digit));
    }

    /// `number` in `DIGITS` decimal digits.
    fn put_padded<const DIGITS: usize>(&mut self, mut number: u64) {
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        self.put(&digits);
    }

    /// One user in eight has a number for a name.
    fn put_user(&mut self, user: u32) {
        if !user.is_multiple_of(8) {
            self.put(b"u");
        }
        self.put_number(user);
    }

    fn put_product(&mut self, product: u32) {
        self.put(b"p");
        self.put_number(product);
    }

    fn put_order(&mut self, order: u64) {
        self.put(b"o");
        self.put_hex::<16>(order);
    }
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The key of a deed's record.
pub fn write_key(out: &mut impl Out, key: Key, deed: &Deed) {
    match (key, &deed.action) {
        (Key::User, _) => out.put_user(deed.user),
        (Key::Product, Action::Click { product } | Action::Wishlist { product, .. }) => {
            out.put_product(*product);
        }
        (Key::Product, Action::Purchase { lines, .. }) => out.put_product(lines[0].product),
        (Key::Product, Action::Status { order, .. }) => out.put_order(*order),
    }
}

/// `"2026-11-21T09:15:00.250Z"`, by the usual conversion of days to a civil date.
pub fn write_rfc3339(out: &mut Vec<u8>, time_ms: i64) {
    let (days, in_day) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    out.put(b"\"");
    out.put_padded::<4>(unsigned(year));
    for (sign, number) in [
        ("-", month),
        ("-", day),
        ("T", seconds / 3600),
        (":", seconds / 60 % 60),
        (":", seconds % 60),
    ] {
        out.put(sign.as_bytes());
        out.put_padded::<2>(unsigned(number));
    }
    out.put(b".");
    out.put_padded::<3>(unsigned(millis));
    out.put(b"Z\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words_are_right() {
        let word = |ms| {
            let mut out = Vec::new();
            write_rfc3339(&mut out, ms);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(word(0), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(word(951_782_400_000), "\"2000-02-29T00:00:00.000Z\"");
        assert_eq!(word(1_735_689_599_999), "\"2024-12-31T23:59:59.999Z\"");
    }
}
