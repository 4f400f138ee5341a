//! The scripts that decide, and what their answers mean.
//!
//! Bulk data stays outside (a script is slower at it and has no roll-back). Each script checks
//! the writer's token and the sequence number in meta, and everything else that may be refused,
//! before its first write. The `#!lua` line lets Redis refuse a script as a whole when memory
//! is full or the server is a replica, instead of half-way through.

use redis::{RedisError, Script, ScriptInvocation};

use super::error::{ErrorClass, RedisSinkError};
use super::link::Link;

pub struct Scripts {
    pub claim: Script,
    pub swap: Script,
    pub close: Script,
    pub put: Script,
    pub renew: Script,
    pub release: Script,
    pub manifest: Script,
    pub unlink: Script,
    pub promote: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Scripts {
            claim: Script::new(include_str!("lua/claim.lua")),
            swap: Script::new(include_str!("lua/swap.lua")),
            close: Script::new(include_str!("lua/close.lua")),
            put: Script::new(include_str!("lua/put.lua")),
            renew: Script::new(include_str!("lua/renew.lua")),
            release: Script::new(include_str!("lua/release.lua")),
            manifest: Script::new(include_str!("lua/manifest.lua")),
            unlink: Script::new(include_str!("lua/unlink.lua")),
            promote: Script::new(include_str!("lua/promote.lua")),
        }
    }
}

/// What a script answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did everything; the words that follow are its own.
    Done(Vec<String>),
    /// The history holds this window already.
    Old,
    /// Another configuration, by its hash, holds the prefix.
    Changed(String),
    /// A bounded run has ended here.
    Ended,
    /// Meta names another writer.
    Fenced(String),
    /// Another writer holds the lease.
    Held(String),
    /// Meta is gone, and with it the name of the writer.
    Gone,
    /// Meta or a staged key is not as we left it. Nothing was written.
    Stale(&'static str),
    /// A key of ours holds a value of another type.
    WrongType(String),
}

impl Answer {
    fn parse(words: Vec<String>) -> Answer {
        let mut words = words.into_iter();
        let word = words.next().unwrap_or_default();
        let mut detail = || words.next().unwrap_or_default();
        match word.as_str() {
            "OK" => Answer::Done(words.collect()),
            "OLD" => Answer::Old,
            "CHANGED" => Answer::Changed(detail()),
            "ENDED" => Answer::Ended,
            "FENCED" => match detail() {
                holder if holder.is_empty() => Answer::Stale("meta is gone"),
                holder => Answer::Fenced(holder),
            },
            "HELD" => Answer::Held(detail()),
            "GONE" => Answer::Gone,
            "SEQ" => Answer::Stale("the sequence number in meta is not ours"),
            "LOST" => Answer::Stale("a staged key is gone"),
            "TYPE" => Answer::WrongType(detail()),
            _ => Answer::Stale("a script answered with an unknown word"),
        }
    }
}

/// Runs a script by its hash, loading it where the server does not know it (any more).
pub async fn run(
    invocation: &ScriptInvocation<'_>,
    connection: &mut Link,
) -> Result<Answer, RedisError> {
    invocation.invoke_async(connection).await.map(Answer::parse)
}

/// A key of ours that holds something else, as an error.
pub fn wrong_type(key: String) -> RedisSinkError {
    let detail = "the key holds a value of another type".to_owned();
    RedisSinkError::Refused {
        class: ErrorClass::Type,
        key: Some(key),
        source: redis::make_extension_error("WRONGTYPE".to_owned(), Some(detail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let parse = |words: &[&str]| Answer::parse(words.iter().map(|&w| w.to_owned()).collect());
        assert_eq!(parse(&["OK", "7"]), Answer::Done(vec!["7".into()]));
        assert_eq!(parse(&["FENCED", "x"]), Answer::Fenced("x".into()));
        assert_eq!(parse(&["HELD", "x"]), Answer::Held("x".into()));
        assert_eq!(parse(&["FENCED", ""]), Answer::Stale("meta is gone"));
        assert!(matches!(parse(&["SEQ", "4"]), Answer::Stale(_)));
        assert!(matches!(parse(&[]), Answer::Stale(_)));
    }
}
