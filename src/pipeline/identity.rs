//! Whether the logs are still those that were read: what a start asks before it believes an offset.
//!
//! An offset says where in *a* log to go on. It does not say in which: a topic that was deleted
//! and made anew has the same name and counts from 0 again, a broker that was elected without
//! having all records takes back what others have read, and a changed address may lead to
//! another cluster. Clients do not learn what would tell (librdkafka keeps topic ids to itself),
//! so nazar asks the log: **the record before the cursor must be the one that was merged.**
//!
//! ```text
//!  stored with the state        the log now, at offset 41                  verdict
//!  ─────────────────────        ─────────────────────────────────          ───────────────
//!                        ┌────► the same record                            Same
//!  cursor 42,            ├────► another record                             Different
//!  fingerprint of 41  ───┼────► starts after 41                            GoneToRetention
//!                        ├────► ends at or before 41                       BeyondEnd
//!                        ├────► no record at 41, but later ones            Compacted
//!                        └────► no answer in time                          Unknown
//! ```
//!
//! With one fingerprint, a log that lost its tail looks like another log. An older fingerprint
//! beside the newest tells them apart: whatever lies before a record that is still the same is
//! the same. [`continuation`] decides; it is pure. [`verify_logs`] asks; it reads one record of
//! each partition, all at once, in bounded time. While a process runs, [`continuity`] watches
//! the ends of the logs for the same reason.
//!
//! A [`Fingerprint`] is taken of the last record of a batch, so it costs nothing per record, and
//! of at most a kilobyte of it, so it costs the same for large ones.

pub mod continuity;
pub mod verify;

pub use verify::verify_logs;

use crate::pipeline::batch::Batch;
use crate::pipeline::murmur3::murmur3_128;

/// More would tell apart records that differ late only. The time and the lengths count anyway.
const HASHED_BYTES_MAX: usize = 512;
/// By which a record is known again. Stored beside a cursor: its meaning may not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub offset: i64,
    /// The record's Kafka time.
    pub kafka_millis: Option<i64>,
    /// Of key and payload, their lengths, and whether they are there.
    pub hash: u64,
}

impl Fingerprint {
    pub fn new(
        offset: i64,
        kafka_millis: Option<i64>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> Self {
        let mut words = [0; 32];
        for (part, words) in [key, payload].into_iter().zip(words.chunks_exact_mut(16)) {
            let [low, _] =
                murmur3_128(part.map_or(&[], |part| &part[..part.len().min(HASHED_BYTES_MAX)]));
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            words[..8].copy_from_slice(&low.to_le_bytes());
            words[8..].copy_from_slice(&length.to_le_bytes());
        }
        Self { offset, kafka_millis, hash: murmur3_128(&words)[0] }
    }

    /// Of the last record that the reader is shown.
    pub fn of_last(batch: &Batch<'_>) -> Option<Self> {
        let last = batch.iter().next_back()?;
        Some(Self::new(last.offset(), last.timestamp_ms(), last.key(), last.payload()))
    }
}

/// What a log says about a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogVerdict {
    Same,
    Different {
        log_start: i64,
    },
    /// The record was deleted; whether it was the one cannot be told.
    GoneToRetention {
        log_start: i64,
    },
    /// The log does not reach as far: it is another, or lost its tail.
    BeyondEnd {
        log_start: i64,
        log_end: i64,
    },
    /// Records before and after the offset are there, but none at it: compaction took it.
    Compacted,
    /// No answer in time, and why.
    Unknown(String),
}

/// How a partition is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    GoOn {
        from: i64,
    },
    /// The records in `[from, to)` were deleted before they were read; go on at `to`.
    Gap {
        from: i64,
        to: i64,
    },
    /// The same log without the tail that was merged. What is written from `from` on is new;
    /// where the end was not reached, up to `reread_max` records count a second time.
    Truncated {
        from: i64,
        reread_max: i64,
    },
    /// Another log. It is read from its beginning, and nothing before it is covered.
    Anew {
        from: i64,
    },
    /// The log did not answer: nothing may be concluded, ask again.
    Ask,
}

/// Decides by the verdicts on a partition's fingerprints, newest first. `cursor` is the next
/// offset to be merged.
pub fn continuation(cursor: i64, verdicts: &[(Fingerprint, LogVerdict)]) -> Continuation {
    let Some((_, newest)) = verdicts.first() else { return Continuation::GoOn { from: cursor } };
    let (log_start, log_end) = match *newest {
        LogVerdict::Same | LogVerdict::Compacted => return Continuation::GoOn { from: cursor },
        LogVerdict::GoneToRetention { log_start } if log_start > cursor => {
            return Continuation::Gap { from: cursor, to: log_start };
        }
        LogVerdict::GoneToRetention { .. } => return Continuation::GoOn { from: cursor },
        LogVerdict::Unknown(_) => return Continuation::Ask,
        LogVerdict::Different { log_start } => (log_start, None),
        LogVerdict::BeyondEnd { log_start, log_end } => (log_start, Some(log_end)),
    };
    for (older, verdict) in &verdicts[1..] {
        match verdict {
            LogVerdict::Same => {
                let common = older.offset + 1;
                return match log_end {
                    Some(from) => Continuation::Truncated { from, reread_max: 0 },
                    None => Continuation::Truncated { from: common, reread_max: cursor - common },
                };
            }
            LogVerdict::Unknown(_) => return Continuation::Ask,
            _ => {}
        }
    }
    Continuation::Anew { from: log_start }
}

/// The state belongs to another Kafka cluster than the one that answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "kafka.brokers leads to the cluster {found}, but the state under {prefix:?} was read from \
     {stored}: offsets of one mean nothing in the other; correct kafka.brokers, or choose another \
     redis.prefix, or start anew with `nazar reset`"
)]
pub struct OtherCluster {
    pub stored: String,
    pub found: String,
    pub prefix: String,
}

/// Compares the cluster that was read with the one that answers. A cluster without an id, on
/// either side, is not refused: fingerprints remain.
pub fn check_cluster(
    stored: Option<&str>,
    found: Option<&str>,
    prefix: &str,
) -> Result<(), OtherCluster> {
    match (stored, found) {
        (Some(stored), Some(found)) if stored != found => Err(OtherCluster {
            stored: stored.to_owned(),
            found: found.to_owned(),
            prefix: prefix.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(offset: i64) -> Fingerprint {
        Fingerprint::new(offset, Some(1000), Some(b"key"), Some(b"payload"))
    }

    #[test]
    fn whatever_differs_in_a_record_differs_in_its_fingerprint() {
        let long = vec![b'x'; 2 * HASHED_BYTES_MAX];
        let records = [
            Fingerprint::new(7, None, None, None),
            Fingerprint::new(7, None, Some(b""), None),
            Fingerprint::new(7, None, None, Some(b"")),
            Fingerprint::new(7, None, Some(b"ab"), Some(b"c")),
            Fingerprint::new(7, None, Some(b"a"), Some(b"bc")),
            Fingerprint::new(7, None, Some(b"c"), Some(b"ab")),
            Fingerprint::new(7, Some(0), Some(b"ab"), Some(b"c")),
            Fingerprint::new(8, None, Some(b"ab"), Some(b"c")),
            Fingerprint::new(7, None, None, Some(&long)),
            Fingerprint::new(7, None, None, Some(&long[1..])),
        ];
        for (index, record) in records.iter().enumerate() {
            assert!(!records[..index].contains(record), "{index}");
        }
    }

    #[test]
    fn a_fingerprint_means_the_same_in_every_version() {
        assert_eq!(
            print(41).hash,
            1_950_687_778_260_534_526,
            "stored values would no longer match"
        );
    }

    #[test]
    fn each_verdict_has_its_continuation() {
        const CURSOR: i64 = 42;
        let decide = |verdict| continuation(CURSOR, &[(print(41), verdict)]);
        let retention = |log_start| LogVerdict::GoneToRetention { log_start };
        let go_on = Continuation::GoOn { from: CURSOR };
        assert_eq!(decide(LogVerdict::Same), go_on);
        assert_eq!(decide(LogVerdict::Compacted), go_on);
        assert_eq!(decide(retention(42)), go_on);
        assert_eq!(decide(retention(50)), Continuation::Gap { from: 42, to: 50 });
        assert_eq!(decide(LogVerdict::Different { log_start: 3 }), Continuation::Anew { from: 3 });
        let beyond = LogVerdict::BeyondEnd { log_start: 0, log_end: 9 };
        assert_eq!(decide(beyond), Continuation::Anew { from: 0 });
        assert_eq!(decide(LogVerdict::Unknown("away".into())), Continuation::Ask);
        assert_eq!(continuation(0, &[]), Continuation::GoOn { from: 0 }, "nothing was read yet");
    }

    #[test]
    fn an_older_record_that_is_still_there_tells_a_lost_tail_from_another_log() {
        let decide = |newest, older| continuation(42, &[(print(41), newest), (print(30), older)]);
        let beyond = LogVerdict::BeyondEnd { log_start: 0, log_end: 35 };
        let different = LogVerdict::Different { log_start: 0 };
        let truncated = |from, reread_max| Continuation::Truncated { from, reread_max };
        assert_eq!(decide(beyond.clone(), LogVerdict::Same), truncated(35, 0));
        assert_eq!(decide(different.clone(), LogVerdict::Same), truncated(31, 11));
        assert_eq!(decide(beyond.clone(), different.clone()), Continuation::Anew { from: 0 });
        assert_eq!(decide(beyond, LogVerdict::Unknown(String::new())), Continuation::Ask);
    }

    #[test]
    fn another_cluster_is_refused_by_both_names() {
        assert_eq!(check_cluster(None, Some("b"), "nazar"), Ok(()));
        assert_eq!(check_cluster(Some("b"), Some("b"), "nazar"), Ok(()));
        assert_eq!(check_cluster(Some("b"), None, "nazar"), Ok(()));
        let refused = check_cluster(Some("aaa"), Some("bbb"), "shop").unwrap_err().to_string();
        for part in ["aaa", "bbb", "\"shop\"", "`nazar reset`"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
