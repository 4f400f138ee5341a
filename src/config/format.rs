//! How each kind of value is written by people: durations, sizes, counts, words.
//!
//! A format reads what any layer may hold. Environment and command line know only strings,
//! so every format reads strings; the TOML file may use TOML's own numbers and booleans.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use config::ValueKind;

use super::error::{listed, nearest};
use super::secret::{REDACTED, Secret, is_secret_property, redact_url};
use crate::time::Span;

/// One way of writing values of type `T`.
pub(super) trait Format<T> {
    /// The value, or what would be right.
    fn read(&self, written: &ValueKind) -> Result<T, String>;
    /// The value as TOML, redacted. `name` is the last part of its key.
    fn show(&self, name: &str, value: &T) -> String;
    /// Whether a value of this name must not appear in messages.
    fn is_secret(&self, _name: &str) -> bool {
        false
    }
}

/// A string as TOML, on one line: the escapes of JSON are a part of TOML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

pub(super) struct Text;

impl Format<String> for Text {
    fn read(&self, written: &ValueKind) -> Result<String, String> {
        match written {
            ValueKind::String(text) => Ok(text.clone()),
            _ => Err("expected a string in quotes".to_owned()),
        }
    }

    fn show(&self, _name: &str, value: &String) -> String {
        quoted(value)
    }
}

/// A path; relative ones start at the working directory.
pub(super) struct File;

impl Format<PathBuf> for File {
    fn read(&self, written: &ValueKind) -> Result<PathBuf, String> {
        match written {
            ValueKind::String(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => Err("expected the path of a file, as a string".to_owned()),
        }
    }

    fn show(&self, _name: &str, value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }
}

/// A string that is never shown, or of which only the harmless part is.
pub(super) enum Hidden {
    Wholly,
    /// All but the user and password of a URL.
    Credentials,
}

impl Format<Secret> for Hidden {
    fn read(&self, written: &ValueKind) -> Result<Secret, String> {
        match written {
            ValueKind::String(text) if text.contains(REDACTED) => Err(format!(
                "{REDACTED} is what nazar prints in place of a secret; write the secret itself"
            )),
            ValueKind::String(text) => Ok(Secret::new(text)),
            _ => Err("expected a string in quotes".to_owned()),
        }
    }

    fn show(&self, _name: &str, value: &Secret) -> String {
        match self {
            _ if value.is_empty() => quoted(""),
            Hidden::Wholly => quoted(REDACTED),
            Hidden::Credentials => quoted(&redact_url(value.expose())),
        }
    }

    fn is_secret(&self, _name: &str) -> bool {
        true
    }
}

/// The value of a librdkafka property. librdkafka reads text; numbers and booleans are allowed
/// for ease.
pub(super) struct Property;

impl Format<String> for Property {
    fn read(&self, written: &ValueKind) -> Result<String, String> {
        match written {
            ValueKind::String(text) if text == REDACTED => Err(format!(
                "{REDACTED} is what nazar prints in place of a secret; write the secret itself"
            )),
            ValueKind::String(text) => Ok(text.clone()),
            ValueKind::I64(number) => Ok(number.to_string()),
            ValueKind::U64(number) => Ok(number.to_string()),
            ValueKind::Float(number) => Ok(number.to_string()),
            ValueKind::Boolean(flag) => Ok(flag.to_string()),
            _ => Err("expected a string, a number or a boolean".to_owned()),
        }
    }

    fn show(&self, name: &str, value: &String) -> String {
        quoted(if is_secret_property(name) { REDACTED } else { value })
    }

    fn is_secret(&self, name: &str) -> bool {
        is_secret_property(name)
    }
}

pub(super) struct Flag;

impl Format<bool> for Flag {
    fn read(&self, written: &ValueKind) -> Result<bool, String> {
        match written {
            ValueKind::Boolean(flag) => Ok(*flag),
            ValueKind::String(text) if text == "true" => Ok(true),
            ValueKind::String(text) if text == "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn show(&self, _name: &str, value: &bool) -> String {
        value.to_string()
    }
}

/// A whole number, with underscores if one likes.
pub(super) struct Count;

impl<T: TryFrom<u64> + Copy + std::fmt::Display> Format<T> for Count {
    fn read(&self, written: &ValueKind) -> Result<T, String> {
        let number = match written {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::U64(number) => Some(*number),
            ValueKind::String(text) => text.replace('_', "").parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| "expected a whole number, 0 or more, such as 10_000".to_owned())
    }

    fn show(&self, _name: &str, value: &T) -> String {
        grouped(&value.to_string())
    }
}

/// Digits in threes, from five digits on: `1000`, `10_000`, `2_000_000`.
fn grouped(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let head = digits.len() % 3;
    let mut out = digits[..head].to_owned();
    for (index, digit) in digits[head..].char_indices() {
        if index % 3 == 0 && !out.is_empty() {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes: `"64 MiB"`, `"1.5 GB"`, or a plain number.
pub(super) struct Bytes;

impl Format<u64> for Bytes {
    fn read(&self, written: &ValueKind) -> Result<u64, String> {
        let bytes = match written {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::U64(number) => Some(*number),
            ValueKind::String(text) => text.replace('_', "").parse().ok().map(|ByteSize(n)| n),
            _ => None,
        };
        bytes
            .filter(|&bytes| bytes <= 1 << 50)
            .ok_or_else(|| r#"expected a size such as "64 MiB", "4 GiB" or 1_048_576"#.to_owned())
    }

    fn show(&self, _name: &str, value: &u64) -> String {
        let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| *value > 0 && value.is_multiple_of(*unit)) {
            Some((unit, name)) => quoted(&format!("{} {name}", value / unit)),
            None => grouped(&value.to_string()),
        }
    }
}

/// A length of time in whole milliseconds: `"250ms"`, `"1m"`, `"1h 30m"`.
pub(super) struct Time;

/// Longer ones are typing errors, and sums of them must not overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

impl Format<Duration> for Time {
    fn read(&self, written: &ValueKind) -> Result<Duration, String> {
        let duration = match written {
            ValueKind::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match duration {
            Some(duration) if duration > LONGEST => Err("expected at most 3650 days".to_owned()),
            Some(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
                Err("expected whole milliseconds; nazar's time has no finer parts".to_owned())
            }
            Some(duration) => Ok(duration),
            None => {
                Err(r#"expected a duration with its unit, such as "250ms", "1m" or "24h""#.into())
            }
        }
    }

    fn show(&self, _name: &str, value: &Duration) -> String {
        quoted(&duration(*value))
    }
}

/// A duration as people write it.
pub(super) fn duration(value: Duration) -> String {
    if value.is_zero() { "0s".to_owned() } else { Span::from(value).label() }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Format<T> for Choice<T> {
    fn read(&self, written: &ValueKind) -> Result<T, String> {
        let words = || self.0.iter().map(|(word, _)| *word);
        let ValueKind::String(text) = written else {
            return Err(format!("expected {}", listed(words())));
        };
        if let Some((_, choice)) = self.0.iter().find(|(word, _)| word == text) {
            return Ok(*choice);
        }
        let hint = nearest(text, words()).map(|word| format!("; did you mean {word:?}?"));
        Err(format!("expected {}{}", listed(words()), hint.unwrap_or_default()))
    }

    fn show(&self, _name: &str, value: &T) -> String {
        let word = self.0.iter().find(|(_, choice)| choice == value).map(|(word, _)| *word);
        quoted(word.expect("every value of a choice is listed beside its key"))
    }
}

/// A list of words: an array, or one string with commas (as an environment variable holds it).
pub(super) struct Texts;

impl Format<Vec<String>> for Texts {
    fn read(&self, written: &ValueKind) -> Result<Vec<String>, String> {
        let expected =
            || r#"expected a list of strings, such as ["category", "seller"]"#.to_owned();
        match written {
            ValueKind::Array(items) => {
                items.iter().map(|item| Text.read(&item.kind).map_err(|_| expected())).collect()
            }
            ValueKind::String(text) if text.trim_start().starts_with('[') => {
                let array = format!("list = {text}").parse::<toml::Table>().ok();
                let list = array.and_then(|mut table| table.remove("list"));
                list.and_then(|list| list.try_into().ok()).ok_or_else(expected)
            }
            ValueKind::String(text) => Ok(text
                .split(',')
                .map(|word| word.trim().to_owned())
                .filter(|word| !word.is_empty())
                .collect()),
            _ => Err(expected()),
        }
    }

    fn show(&self, _name: &str, value: &Vec<String>) -> String {
        let words: Vec<String> = value.iter().map(|word| quoted(word)).collect();
        format!("[{}]", words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ValueKind {
        ValueKind::String(text.to_owned())
    }

    #[test]
    fn durations_carry_their_unit() {
        let read = |written: &str| Time.read(&text(written)).map(duration);
        assert_eq!(read("250ms").as_deref(), Ok("250ms"));
        assert_eq!(read("1h 30m").as_deref(), Ok("90m"));
        assert_eq!(read("1.5m").as_deref(), Ok("90s"));
        assert_eq!(read("1day").as_deref(), Ok("24h"));
        assert_eq!(read("0s").as_deref(), Ok("0s"));
        for wrong in ["10", "-1s", "1us", "20years", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Time.read(&ValueKind::I64(60)).is_err());
    }

    #[test]
    fn sizes_are_binary_or_decimal_as_written() {
        let read = |written: &str| Bytes.read(&text(written)).ok();
        assert_eq!(read("64 MiB"), Some(64 << 20));
        assert_eq!(read("64MB"), Some(64_000_000));
        assert_eq!(read("1.5 GiB"), Some(3 << 29));
        assert_eq!(read("1_024"), Some(1024));
        assert_eq!([read("-1"), read("many"), read("4 EiB")], [None; 3]);
        let show = |bytes| Bytes.show("", &bytes);
        assert_eq!(
            [show(64 << 20), show(3 << 29), show(1_000_000)].join(" "),
            r#""64 MiB" "1536 MiB" 1_000_000"#
        );
    }

    #[test]
    fn counts_are_grouped_and_bounded_by_their_type() {
        let read = |written: &str| -> Option<usize> { Count.read(&text(written)).ok() };
        assert_eq!([read("2_000_000"), read("-1"), read("1.0")], [Some(2_000_000), None, None]);
        assert_eq!(
            ["1000", "10000", "200000", "2000000"].map(grouped),
            ["1000", "10_000", "200_000", "2_000_000"]
        );
    }

    #[test]
    fn lists_of_words_are_arrays_or_commas() {
        let expected = Ok(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(Texts.read(&text("a, b")), expected);
        assert_eq!(Texts.read(&text(r#"["a", "b"]"#)), expected);
        assert_eq!(Texts.read(&text("")), Ok(vec![]));
        assert!(Texts.read(&text("[a]")).is_err());
    }

    #[test]
    fn what_was_redacted_is_not_read_back() {
        assert!(Hidden::Wholly.read(&text(REDACTED)).is_err());
        assert!(Hidden::Credentials.read(&text("redis://[redacted]@host")).is_err());
    }
}
