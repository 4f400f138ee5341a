//! Figures and names as people read them.

/// A name from a record must not be able to paint the terminal.
pub fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// `1234567` → `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Minor units as the currency is written, without its name: `12,345.67`.
pub fn major(minor: u64, currency: &str) -> String {
    match decimals(currency) {
        0 => grouped(minor),
        decimals => {
            let unit = 10u64.pow(decimals);
            let width = decimals as usize;
            format!("{}.{:0width$}", grouped(minor / unit), minor % unit)
        }
    }
}

/// How many decimals a currency has, by ISO 4217; those that are not named here have two.
fn decimals(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// `22:13:20`, in UTC.
pub fn time_of_day(ms: i64) -> String {
    let of_day = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// How old something is, in about three figures. What lies ahead of the clock is negative and is
/// shown so: two clocks differ.
pub fn age(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let tenths = ms.unsigned_abs().saturating_add(50) / 100;
    let seconds = tenths / 10;
    let shown = match seconds {
        0..=119 => format!("{seconds}.{} s", tenths % 10),
        120..=7_199 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        7_200..=172_799 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    };
    format!("{sign}{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped).join(" "), "0 999 1,000 1,234,567");
    }

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        let shown = ["USD", "JPY", "KWD"].map(|currency| major(1_234_005, currency));
        assert_eq!(shown, ["12,340.05", "1,234,005", "1,234.005"]);
        assert_eq!(major(5, "EUR"), "0.05");
    }

    #[test]
    fn ages_have_about_three_figures() {
        let shown = [0, 349, 60_400, 119_949, 119_950, 725_000, 11_520_000, 270_000_000].map(age);
        assert_eq!(
            shown,
            ["0.0 s", "0.3 s", "60.4 s", "119.9 s", "2m 00s", "12m 05s", "3h 12m", "3d 03h"]
        );
        assert_eq!(age(-1_500), "-1.5 s");
        assert_eq!(age(i64::MIN), "-106751991167d 07h");
    }

    #[test]
    fn times_of_day_are_those_of_any_day() {
        assert_eq!(time_of_day(1_700_000_000_000), "22:13:20");
        assert_eq!(time_of_day(-1), "23:59:59");
    }
}
