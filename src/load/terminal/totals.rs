//! The sums of a window, as lines.

use std::collections::BTreeMap;

use super::words::{grouped, major, time_of_day};
use crate::load::observed::Fields;

/// The fields of totals or of a history entry that are whole numbers, which all of them are.
pub type Numbers = BTreeMap<String, u64>;

pub fn numbers(fields: &Fields) -> Numbers {
    let number = |(name, text): (&String, &String)| Some((name.clone(), text.parse().ok()?));
    fields.iter().filter_map(number).collect()
}

/// 0 if it is absent, as sums are before the first record.
pub fn number(numbers: &Numbers, name: &str) -> u64 {
    numbers.get(name).copied().unwrap_or(0)
}

/// What visitors did.
pub fn activity(totals: &Numbers) -> String {
    let of = |name: &str| grouped(number(totals, name));
    format!("{} clicks  {} wishlists  {} orders", of("clicks"), of("wishlists"), of("orders"))
}

/// What the shop had of it.
pub fn results(totals: &Numbers, currency: &str) -> String {
    let of = |name: &str| number(totals, name);
    let conversion = match totals.get("conversion") {
        Some(basis_points) => format!("{:.2} %", *basis_points as f64 / 100.0),
        None => "no".to_owned(),
    };
    format!(
        "{} {currency}  ≈{} users  {conversion} conversion",
        major(of("revenue_minor"), currency),
        grouped(of("uniques"))
    )
}

/// A line for each closed window, or one that says why there is none.
pub fn closed(windows: &[Numbers], currency: &str) -> Vec<String> {
    let line = |entry: &Numbers| {
        let of = |name: &str| number(entry, name);
        format!(
            "  ending {}  {} events  {} clicks  {} orders  {} {currency}  ≈{} users",
            time_of_day(i64::try_from(of("window_end")).unwrap_or(0)),
            grouped(of("events")),
            grouped(of("clicks")),
            grouped(of("orders")),
            major(of("revenue_minor"), currency),
            grouped(of("uniques"))
        )
    };
    if windows.is_empty() {
        return vec!["  none yet: a window closes when no record can enter it any more".to_owned()];
    }
    windows.iter().map(line).collect()
}
