//! Values of events, made from text: each is either valid by the rules of docs/EVENTS.md, or refused.

pub mod money;
pub mod time;

/// Why a row cannot become an event: a word to count by, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    pub reason: &'static str,
    pub why: String,
}

pub type Result<T> = std::result::Result<T, Unmapped>;

pub fn unmapped<T>(reason: &'static str, why: impl Into<String>) -> Result<T> {
    Err(Unmapped { reason, why: why.into() })
}

/// As `limits.id_bytes` of the daemon is by default.
const ID_BYTES_MAX: usize = 256;
/// Under this name the daemon counts what goes beyond its caps.
const RESERVED_ID: &str = "__other__";
const QUANTITY_MAX: u64 = 1_000_000;
const STATUSES: [&str; 6] =
    ["PENDING", "PROCESSING", "SHIPPED", "DELIVERED", "CANCELLED", "RETURNED"];

pub fn check_id(name: &str, text: &str) -> Result<()> {
    if text.len() > ID_BYTES_MAX {
        return unmapped(
            "bad_id",
            format!("{name} has {} bytes, {ID_BYTES_MAX} at most", text.len()),
        );
    }
    if text.chars().any(char::is_control) || text == RESERVED_ID {
        return unmapped("bad_id", format!("{name} is {text:?}"));
    }
    Ok(())
}

pub fn check_action(text: &str) -> Result<()> {
    match text {
        "add" | "remove" => Ok(()),
        _ => unmapped("bad_action", format!("action is {text:?}: expected add or remove")),
    }
}

pub fn check_status(text: &str) -> Result<()> {
    if STATUSES.contains(&text) {
        return Ok(());
    }
    let expected = STATUSES.join(", ");
    unmapped("bad_status", format!("status is {text:?}: expected one of {expected}"))
}

pub fn check_currency(text: &str) -> Result<()> {
    let is_code = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_code { Ok(()) } else { unmapped("bad_currency", format!("currency is {text:?}")) }
}

pub fn quantity(text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|number| (1..=QUANTITY_MAX).contains(number));
    number.ok_or_else(|| Unmapped {
        reason: "bad_quantity",
        why: format!("quantity is {text:?}: expected 1 to {QUANTITY_MAX}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_would_reject_is_refused() {
        let long = "x".repeat(257);
        for id in ["a\u{7}", "__other__", "\u{85}", &long] {
            assert_eq!(check_id("user_id", id).unwrap_err().reason, "bad_id");
        }
        assert!(check_id("user_id", &long[..256]).is_ok());
        assert!(check_action("add").is_ok() && check_action("Add").is_err());
        assert!(check_status("SHIPPED").is_ok() && check_status("shipped").is_err());
        assert!(check_currency("BRL").is_ok() && check_currency("R$").is_err());
        assert!(check_currency("").is_err() && check_currency("ABCDEFGHI").is_err());
        assert_eq!(quantity("3"), Ok(3));
        for text in ["0", "-1", "1.0", "1000001", ""] {
            assert!(quantity(text).is_err(), "{text}");
        }
    }
}
