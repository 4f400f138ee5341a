//! Prices: decimal text to whole minor units, exactly.

use super::{Result, unmapped};

const PRICE_MINOR_MAX: i128 = 1_000_000_000_000;
/// More digits than any price or rate has; keeps the arithmetic within 128 bits.
const DIGITS_MAX: usize = 18;

/// How text becomes minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Digits after the point that a minor unit has; 0: the text is in minor units already.
    pub decimals: u32,
    /// Conversion into another currency; rounded half up. Without it nothing is ever rounded.
    rate: Option<Decimal>,
}

impl Default for Money {
    fn default() -> Self {
        Self { decimals: 2, rate: None }
    }
}

/// `digits` × 10^−`scale`, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let fraction = fraction.trim_end_matches('0');
        let is_number = !whole.is_empty() && is_digits(whole) && is_digits(fraction);
        if !is_number || whole.len() + fraction.len() > DIGITS_MAX {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, scale: fraction.len() as u32 })
    }
}

impl Money {
    pub fn with_rate(self, text: &str) -> std::result::Result<Self, String> {
        let rate = Decimal::parse(text).filter(|rate| rate.digits > 0);
        let wrong = || format!("`{text}`: expected what one unit is worth, such as \"0.92\"");
        Ok(Self { rate: Some(rate.ok_or_else(wrong)?), ..self })
    }

    pub fn minor(&self, text: &str) -> Result<u64> {
        let refused = |why: &str| unmapped("bad_price", format!("price is {text:?}: {why}"));
        let Some(price) = Decimal::parse(text) else {
            return refused("expected an amount such as 489.07");
        };
        let (mut digits, mut scale) = (price.digits * 10i128.pow(self.decimals), price.scale);
        if let Some(rate) = self.rate {
            // 10^18 × 10^6 × 10^18 is still far from the end of 128 bits only after a cut.
            let Some(converted) = digits.checked_mul(rate.digits) else {
                return refused("it is too large");
            };
            (digits, scale) = (converted, scale + rate.scale);
        }
        let unit = 10i128.pow(scale);
        if self.rate.is_none() && digits % unit != 0 {
            return refused("it has a part of a minor unit (see `decimals`)");
        }
        let minor = (digits + unit / 2) / unit;
        match u64::try_from(minor) {
            Ok(minor) if i128::from(minor) <= PRICE_MINOR_MAX => Ok(minor),
            _ => refused("it is too large"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_becomes_minor_units_exactly() {
        let minor = |text: &str| Money::default().minor(text).ok();
        assert_eq!(minor("489.07"), Some(48_907));
        assert_eq!([minor("5"), minor("5.1"), minor("5.10000")], [Some(500), Some(510), Some(510)]);
        assert_eq!(
            [minor("0"), minor("0.00"), minor("10000000000")],
            [Some(0), Some(0), Some(1_000_000_000_000)]
        );
        for text in ["", "-5", "5.001", "1e3", "1,5", " 5", ".5", "10000000000.01", &"9".repeat(40)]
        {
            assert_eq!(minor(text), None, "{text}");
        }
        let whole = Money { decimals: 0, rate: None };
        assert_eq!((whole.minor("499").ok(), whole.minor("4.5").ok()), (Some(499), None));
    }

    #[test]
    fn a_rate_rounds_half_up() {
        let money = Money::default().with_rate("0.125").unwrap();
        // 0.12 × 0.125 = 0.015; 0.11 × 0.125 = 0.01375; 0.04 × 0.125 = 0.005
        assert_eq!(["0.12", "0.11", "0.04", "0.03"].map(|t| money.minor(t).unwrap()), [2, 1, 1, 0]);
        assert!(Money::default().with_rate("0").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn cents_come_back(cents in 0u64..=1_000_000_000_000) {
            let text = format!("{}.{:02}", cents / 100, cents % 100);
            prop_assert_eq!(Money::default().minor(&text), Ok(cents));
        }

        #[test]
        fn no_text_is_too_strange(text in "[0-9.eE+-]{0,60}", rate in "[0-9]{1,18}") {
            let _ = Money::default().minor(&text);
            if let Ok(money) = Money::default().with_rate(&rate) {
                let _ = money.minor(&text);
            }
        }
    }
}
