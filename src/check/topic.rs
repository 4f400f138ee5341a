//! What a topic's settings mean for its records. Pure: the settings come in as Kafka names them.

use std::collections::BTreeMap;

use bytesize::ByteSize;

use super::Finding;
use crate::time::Span;

/// A batch and its one record take this much of `max.message.bytes` besides the value, at least.
const BATCH_OVERHEAD_BYTES: u64 = 68;

/// A topic's settings by name, as the broker describes them.
pub type TopicSettings = BTreeMap<String, String>;

/// What a topic of events has to offer.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// How far back records are read at a first start, and at a restart.
    pub reach: Span,
    /// `limits.record_bytes`
    pub record_bytes_max: u64,
}

/// What may hurt in the settings of a topic that is read, worst first.
pub fn judge(topic: &str, settings: &TopicSettings, needs: Needs) -> Vec<Finding> {
    let what = |setting: &str| format!("{topic} {setting}");
    let number = |name: &str| settings.get(name).and_then(|text| text.parse::<i64>().ok());
    let mut findings = Vec::new();
    let policy = settings.get("cleanup.policy").map_or("delete", String::as_str);
    if is_compacted(policy) {
        findings.push(Finding::warn(
            what("cleanup.policy"),
            policy,
            "compaction deletes records before their windows are over: reading again gives other \
             counts; use delete",
        ));
    }
    let is_deleted = policy.split(',').any(|part| part.trim() == "delete");
    if let Some(millis) = number("retention.ms").filter(|&millis| millis >= 0 && is_deleted) {
        let kept = Span::from_millis(millis);
        if kept < needs.reach {
            findings.push(Finding::warn(
                what("retention.ms"),
                kept.label(),
                format!(
                    "the longest window needs {}: a start reads so far back, and what is deleted \
                     is missing (complete = 0)",
                    needs.reach.label()
                ),
            ));
        }
    }
    if let Some(bytes) = number("retention.bytes").filter(|&bytes| bytes >= 0 && is_deleted) {
        findings.push(Finding::warn(
            what("retention.bytes"),
            format!("{} per partition", size(bytes.unsigned_abs())),
            format!(
                "deletes by size, whatever the time: make sure that it holds {} of the busiest \
                 partition",
                needs.reach.label()
            ),
        ));
    }
    if let Some(bytes) = number("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok())
        && bytes.saturating_sub(BATCH_OVERHEAD_BYTES) > needs.record_bytes_max
    {
        findings.push(Finding::warn(
            what("max.message.bytes"),
            size(bytes),
            format!(
                "a record above limits.record_bytes = {} counts as malformed; raise that if such \
                 records are meant",
                size(needs.record_bytes_max)
            ),
        ));
    }
    findings
}

/// What may hurt in the settings of the dead-letter topic.
pub fn judge_dead_letters(settings: &TopicSettings, record_bytes_max: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let policy = settings.get("cleanup.policy").map_or("delete", String::as_str);
    if is_compacted(policy) {
        findings.push(Finding::warn(
            "dead letters cleanup.policy",
            policy,
            "a compacted topic refuses records without a key, and reading would wait; use delete",
        ));
    }
    let bytes = settings.get("max.message.bytes").and_then(|text| text.parse::<u64>().ok());
    if let Some(bytes) = bytes.filter(|&bytes| bytes < record_bytes_max) {
        findings.push(Finding::warn(
            "dead letters max.message.bytes",
            size(bytes),
            format!(
                "a larger rejected record (up to {}) is written without its value",
                size(record_bytes_max)
            ),
        ));
    }
    findings
}

/// `kept 168h`, for the line about the topic.
pub fn kept(settings: &TopicSettings) -> Option<String> {
    let millis: i64 = settings.get("retention.ms")?.parse().ok()?;
    Some(match millis {
        ..0 => "kept for ever".to_owned(),
        millis => format!("kept {}", Span::from_millis(millis).label()),
    })
}

/// Who stamps records: decides what can be told from an event of the future.
pub fn stamps(times: &[(&str, &str)]) -> Option<Finding> {
    let of = |kind: &str| {
        let topics = times.iter().filter(|(_, found)| *found == kind);
        topics.map(|(topic, _)| *topic).collect::<Vec<_>>().join(", ")
    };
    let (create, append) = (of("CreateTime"), of("LogAppendTime"));
    match (create.is_empty(), append.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Finding::ok("record times", "set by the broker (LogAppendTime)")),
        (false, _) => Some(
            Finding::ok("record times", format!("set by the producers of {create} (CreateTime)"))
                .remark(
                    "an event counts as future by the time of its record: a producer whose clock \
                     is ahead sets both alike, and is not noticed; with \
                     message.timestamp.type=LogAppendTime it is",
                ),
        ),
    }
}

fn is_compacted(policy: &str) -> bool {
    policy.split(',').any(|part| part.trim() == "compact")
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { reach: Span::from_secs(90_000), record_bytes_max: 1 << 20 };

    fn settings(pairs: &[(&str, &str)]) -> TopicSettings {
        let defaults = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "1048588"),
        ];
        let all = defaults.iter().chain(pairs);
        all.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// The settings that are found fault with.
    fn check(pairs: &[(&str, &str)], expected: &[&str]) {
        let found: Vec<String> = judge("click", &settings(pairs), NEEDS)
            .into_iter()
            .map(|finding| finding.what.replace("click ", ""))
            .collect();
        assert_eq!(found, expected, "{pairs:?}");
    }

    #[test]
    fn kafkas_own_defaults_are_fine() {
        check(&[], &[]);
        assert_eq!(judge("click", &TopicSettings::new(), NEEDS), []);
    }

    #[test]
    fn what_is_deleted_too_early_is_named() {
        check(&[("retention.ms", "90000000")], &[]);
        check(&[("retention.ms", "89999999")], &["retention.ms"]);
        check(&[("retention.ms", "-1")], &[]);
        check(&[("retention.bytes", "1073741824")], &["retention.bytes"]);
        check(&[("cleanup.policy", "compact"), ("retention.ms", "1")], &["cleanup.policy"]);
        let both = [("cleanup.policy", "compact, delete"), ("retention.ms", "1")];
        check(&both, &["cleanup.policy", "retention.ms"]);
    }

    #[test]
    fn records_that_would_be_refused_by_size_are_named() {
        check(&[("max.message.bytes", "1048644")], &[]);
        check(&[("max.message.bytes", "1048645")], &["max.message.bytes"]);
    }

    #[test]
    fn a_dead_letter_topic_takes_every_reject() {
        let faults = |pairs: &[(&str, &str)]| judge_dead_letters(&settings(pairs), 1 << 20).len();
        assert_eq!(faults(&[]), 0);
        assert_eq!(faults(&[("cleanup.policy", "compact"), ("max.message.bytes", "1000")]), 2);
    }

    #[test]
    fn stamps_are_told_by_topic() {
        assert_eq!(stamps(&[]), None);
        let append = stamps(&[("click", "LogAppendTime")]).unwrap();
        assert_eq!(append.advice, "");
        let mixed = stamps(&[("click", "LogAppendTime"), ("buy", "CreateTime")]).unwrap();
        assert!(mixed.found.contains("buy") && !mixed.found.contains("click"), "{mixed:?}");
        assert!(mixed.advice.contains("future"));
    }

    #[test]
    fn retention_in_words() {
        assert_eq!(kept(&settings(&[])), Some("kept 168h".to_owned()));
        assert_eq!(kept(&settings(&[("retention.ms", "-1")])), Some("kept for ever".to_owned()));
        assert_eq!(kept(&TopicSettings::new()), None);
    }
}
