//! What can go wrong with Redis, and what to do about it.

use redis::{ErrorKind, RedisError};

use super::schema::Change;

/// The cause of a failed command, as a metric label and as a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorClass {
    /// `maxmemory` is reached and the policy may not evict.
    Oom,
    /// We talk to a replica: the primary has moved.
    ReadOnly,
    /// The data set is being read from disk.
    Loading,
    /// A node of a Cluster points to another one, and that one to a third: slots are on the move.
    Moved,
    /// A Cluster, or a replica's primary, is away for now.
    Unavailable,
    /// Too few replicas for `min-replicas-to-write`, or the disk refuses snapshots.
    Durability,
    /// Another client's script holds the server.
    Busy,
    /// Credentials or permissions are not enough.
    Auth,
    Timeout,
    Io,
    /// A key of ours holds a value of another type.
    Type,
    /// Another writer owns the prefix.
    Fenced,
    /// The server does not know the command, or will not take these keys together.
    Unsupported,
    Other,
}

impl ErrorClass {
    pub const COUNT: usize = 14;
    pub const ALL: [ErrorClass; ErrorClass::COUNT] = [
        ErrorClass::Oom,
        ErrorClass::ReadOnly,
        ErrorClass::Loading,
        ErrorClass::Moved,
        ErrorClass::Unavailable,
        ErrorClass::Durability,
        ErrorClass::Busy,
        ErrorClass::Auth,
        ErrorClass::Timeout,
        ErrorClass::Io,
        ErrorClass::Type,
        ErrorClass::Fenced,
        ErrorClass::Unsupported,
        ErrorClass::Other,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorClass::Oom => "oom",
            ErrorClass::ReadOnly => "readonly",
            ErrorClass::Loading => "loading",
            ErrorClass::Moved => "moved",
            ErrorClass::Unavailable => "unavailable",
            ErrorClass::Durability => "durability",
            ErrorClass::Busy => "busy",
            ErrorClass::Auth => "auth",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Io => "io",
            ErrorClass::Type => "type",
            ErrorClass::Fenced => "fenced",
            ErrorClass::Unsupported => "unsupported",
            ErrorClass::Other => "other",
        }
    }

    /// Whether waiting may help. An error we do not know is waited out too: it is counted and
    /// logged, while giving up would turn an outage into a crash.
    pub const fn is_transient(self) -> bool {
        !matches!(
            self,
            ErrorClass::Auth | ErrorClass::Type | ErrorClass::Fenced | ErrorClass::Unsupported
        )
    }

    /// Whether the connection is worthless: broken, in an unknown state, or with a server that
    /// is no longer the right one (a failover behind one name shows as READONLY).
    pub const fn needs_reconnect(self) -> bool {
        !matches!(
            self,
            ErrorClass::Oom | ErrorClass::Loading | ErrorClass::Durability | ErrorClass::Busy
        )
    }

    /// The class of a client-side error.
    pub fn of(error: &RedisError) -> ErrorClass {
        // Pipelines and transactions hide the server's words inside; the first one decides.
        if let Some(errors) = error.clone().into_server_errors() {
            // EXECABORT alone says nothing: the command that was refused in the queue does.
            let telling = errors.iter().find(|(_, error)| error.code() != "EXECABORT");
            return match telling.or(errors.first()) {
                Some((_, error)) => {
                    ErrorClass::of_reply(error.code(), error.details().unwrap_or(""))
                }
                None => ErrorClass::Other,
            };
        }
        match error.kind() {
            ErrorKind::Server(_) => {
                let code = error.code().unwrap_or("ERR");
                ErrorClass::of_reply(code, error.detail().unwrap_or(""))
            }
            ErrorKind::AuthenticationFailed => ErrorClass::Auth,
            _ if error.is_timeout() => ErrorClass::Timeout,
            ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => {
                ErrorClass::Io
            }
            _ => ErrorClass::Other,
        }
    }

    /// The class of an error reply: `code` is its first word.
    pub fn of_reply(code: &str, detail: &str) -> ErrorClass {
        match code {
            "OOM" => ErrorClass::Oom,
            "READONLY" => ErrorClass::ReadOnly,
            "LOADING" => ErrorClass::Loading,
            "MOVED" | "ASK" => ErrorClass::Moved,
            // Behind a proxy that hides a Cluster: every command of ours keeps to one slot where
            // we know that there are slots.
            "CROSSSLOT" => ErrorClass::Unsupported,
            "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" => ErrorClass::Unavailable,
            "NOREPLICAS" | "MISCONF" => ErrorClass::Durability,
            "BUSY" => ErrorClass::Busy,
            "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => ErrorClass::Auth,
            "WRONGTYPE" => ErrorClass::Type,
            "FENCED" => ErrorClass::Fenced,
            "ERR" if detail.contains("can't run this command") => ErrorClass::Auth,
            "ERR" if detail.starts_with("unknown command") => ErrorClass::Unsupported,
            "ERR" if detail.contains("max number of clients") => ErrorClass::Unavailable,
            _ => ErrorClass::Other,
        }
    }
}

/// A command that failed, and the key it was about where that is known.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub source: RedisError,
    pub key: Option<String>,
}

impl Refusal {
    pub fn class(&self) -> ErrorClass {
        ErrorClass::of(&self.source)
    }
}

impl From<RedisError> for Refusal {
    fn from(source: RedisError) -> Self {
        Refusal { source, key: None }
    }
}

/// Why the sink cannot go on: a person is needed.
#[derive(Debug, thiserror::Error)]
pub enum RedisSinkError {
    #[error("{0}")]
    Config(String),

    #[error(
        "the prefix `{prefix}` holds views of another configuration ({}); restore it, choose another `redis.prefix`, or delete the views with `nazar reset`",
        describe(changes)
    )]
    ConfigChanged {
        prefix: String,
        /// What differs; empty when the stored definitions cannot be read.
        changes: Vec<Change>,
    },

    #[error(
        "the bounded run under the prefix `{prefix}` has ended, nothing may follow it; choose another `redis.prefix`, or delete the views with `nazar reset`"
    )]
    Ended { prefix: String },

    #[error("another instance has taken over the prefix `{prefix}`: {holder}")]
    Fenced { prefix: String, holder: String },

    #[error(
        "Redis is a node of a Cluster, but does not tell where the slots are: grant its user `+cluster|slots`"
    )]
    Cluster,

    #[error("Redis refuses {} with {}: {source}", what(key), class.name())]
    Refused {
        class: ErrorClass,
        /// The key of the refused command, where known.
        key: Option<String>,
        source: RedisError,
    },
}

impl RedisSinkError {
    /// The class under which the error is counted, if Redis said it.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            RedisSinkError::Fenced { .. } => Some(ErrorClass::Fenced),
            RedisSinkError::Cluster => Some(ErrorClass::Moved),
            RedisSinkError::Refused { class, .. } => Some(*class),
            _ => None,
        }
    }
}

fn what(key: &Option<String>) -> String {
    key.as_ref().map_or("a command".to_owned(), |key| format!("a command on `{key}`"))
}

fn describe(changes: &[Change]) -> String {
    match changes {
        [] => "its hash differs".to_owned(),
        changes => changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn every_reply_has_its_class() {
        use ErrorClass::*;
        let table = [
            ("OOM command not allowed when used memory > 'maxmemory'.", Oom, true, false),
            ("READONLY You can't write against a read only replica.", ReadOnly, true, true),
            ("LOADING Redis is loading the dataset in memory", Loading, true, false),
            ("MOVED 3999 127.0.0.1:6381", Moved, true, true),
            ("ASK 3999 127.0.0.1:6381", Moved, true, true),
            ("CROSSSLOT Keys in request don't hash to the same slot", Unsupported, false, true),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Unavailable, true, true),
            ("CLUSTERDOWN The cluster is down", Unavailable, true, true),
            ("MASTERDOWN Link with MASTER is down", Unavailable, true, true),
            ("ERR max number of clients reached", Unavailable, true, true),
            ("NOREPLICAS Not enough good replicas to write.", Durability, true, false),
            ("MISCONF Redis is configured to save RDB snapshots", Durability, true, false),
            ("BUSY Redis is busy running a script.", Busy, true, false),
            ("NOAUTH Authentication required.", Auth, false, true),
            ("WRONGPASS invalid username-password pair", Auth, false, true),
            ("NOPERM this user has no permissions", Auth, false, true),
            ("ERR The user executing the script can't run this command", Auth, false, true),
            ("DENIED Redis is running in protected mode", Auth, false, true),
            ("WRONGTYPE Operation against a key", Type, false, true),
            ("FENCED leader=x", Fenced, false, true),
            ("ERR unknown command 'EVALSHA'", Unsupported, false, true),
            ("ERR something new", Other, true, true),
            ("SURPRISE", Other, true, true),
        ];
        for (line, class, transient, reconnect) in table {
            let found = ErrorClass::of(&reply(line));
            assert_eq!(found, class, "{line}");
            assert_eq!(found.is_transient(), transient, "{line}");
            assert_eq!(found.needs_reconnect(), reconnect, "{line}");
        }
    }

    #[test]
    fn errors_of_the_client_have_theirs() {
        use std::io::{Error, ErrorKind as Io};
        let io = |kind: Io| ErrorClass::of(&RedisError::from(Error::from(kind)));
        assert_eq!(io(Io::TimedOut), ErrorClass::Timeout);
        assert_eq!(io(Io::ConnectionRefused), ErrorClass::Io);
        assert_eq!(io(Io::BrokenPipe), ErrorClass::Io);
        let auth = RedisError::from((ErrorKind::AuthenticationFailed, "no"));
        assert_eq!(ErrorClass::of(&auth), ErrorClass::Auth);
        assert_eq!(ErrorClass::of(&(ErrorKind::Parse, "garbage").into()), ErrorClass::Io);
    }

    #[test]
    fn labels_are_distinct() {
        let names: std::collections::BTreeSet<_> =
            ErrorClass::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names.len(), ErrorClass::COUNT);
        for (index, class) in ErrorClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }
}
